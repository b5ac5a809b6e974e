"""Synthetic corpora spoken by eSpeak NG: stories, the sentences of a file, and styles."""
