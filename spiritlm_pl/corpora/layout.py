"""Names and description of a corpus folder, for those who do not read its cuts and so do not wait for lhotse."""

from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.checksums import read_object

SPLITS = ("train", "validation", "test")
INFO_FILE = "corpus.json"
SKIPPED_FILE = "skipped.jsonl"


def read_info(folder: str | Path) -> dict[str, Any] | None:
    """Return the contents of `corpus.json`; None if there is no complete corpus."""
    path = Path(folder) / INFO_FILE
    return read_object(path) if path.is_file() else None
