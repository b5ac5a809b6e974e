"""Names within a corpus folder, for those that need no more of it."""

SPLITS = ("train", "validation", "test")
INFO_FILE = "corpus.json"
SKIPPED_FILE = "skipped.jsonl"
