"""Texts for language models, from files as users have them: plain text, JSON lines, Parquet, and Arrow datasets."""
