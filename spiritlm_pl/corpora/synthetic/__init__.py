"""Speech that eSpeak NG says: stories, sentences of a file, styles."""
