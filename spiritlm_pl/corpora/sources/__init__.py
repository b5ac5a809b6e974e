"""Where corpora come from: folders, tables, Kaldi, lhotse, and corpora that have a reader of their own."""
