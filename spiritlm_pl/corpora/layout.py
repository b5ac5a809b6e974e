"""Names and description of a corpus folder, for those who do not read its cuts and so do not wait for lhotse."""

from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.checksums import read_object, values_of

SPLITS = ("train", "validation", "test")
INFO_FILE = "corpus.json"
SKIPPED_FILE = "skipped.jsonl"
ALIGNMENT_FILE = "alignment.json"  # report of `spiritlm align`
UNALIGNED_FILE = "unaligned.jsonl"
ALIGNED = "aligned"  # key of the number of utterances with word times, in both reports
FROM_PREPARE = "from_prepare"  # key in the report of `align` of how many of these have the times of `prepare`


def read_info(folder: str | Path) -> dict[str, Any] | None:
    """Return the contents of `corpus.json`; None if there is no complete corpus."""
    path = Path(folder) / INFO_FILE
    return read_object(path) if path.is_file() else None


def aligned_by_prepare(folder: str | Path) -> int:
    """Return how many utterances of a corpus have the word times that `spiritlm prepare` gave them.

    Raises:
        ValueError: if `corpus.json` or `alignment.json` is damaged.
    """
    report = _report(folder)
    if FROM_PREPARE in report:
        return _count(report, FROM_PREPARE, Path(folder) / ALIGNMENT_FILE)
    # Earlier versions did not count it, and left `corpus.json` as `prepare` had written it.
    return _count(read_info(folder) or {}, ALIGNED, Path(folder) / INFO_FILE)


def aligned_later(folder: str | Path) -> int:
    """Return how many utterances of a corpus have word times of `spiritlm align`, which `prepare` cannot give again.

    Raises:
        ValueError: if `corpus.json` or `alignment.json` is damaged.
    """
    report = _report(folder)
    return max(0, _count(report, ALIGNED, Path(folder) / ALIGNMENT_FILE) - aligned_by_prepare(folder)) if report else 0


def _report(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / ALIGNMENT_FILE
    return read_object(path) if path.is_file() else {}


def _count(values: dict[str, Any], key: str, path: Path) -> int:
    with values_of(path):
        return int(values.get(key, 0))
