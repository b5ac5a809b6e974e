"""Sources of corpora: folders, tables, Kaldi, lhotse, and public corpora with a reader of their own."""
