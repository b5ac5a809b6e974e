"""What sWUGGY and sBLIMP share: their splits, and the entries of `index.json`.

ZeroSpeech's toolkit finds the files of the benchmark by that index.
"""

from collections.abc import Sequence
from typing import Any

from spiritlm_pl.benchmarks.items import Labels

SPLITS = ("dev", "test")


def index_entry(task: str, split: str, rows: Sequence[Labels]) -> dict[str, Any]:
    """Describe one split of a task for `index.json`.

    Args:
        task: "lexical" or "syntactic".
        split: "dev" or "test".
        rows: rows of its `gold.csv`.
    """
    folder = f"{task}/{split}"
    names = [f"{folder}/{row['filename']}.wav" for row in rows]
    audio = {"item_type": "filelist_item", "file_type": "wav", "relative_path": True, "files_list": names}
    gold = {"item_type": "file_item", "file_type": "csv", "relative_path": True, "file": f"{folder}/gold.csv"}
    return {f"{task}_{split}": {"items": {"wav_list": audio, "gold": gold}}}
