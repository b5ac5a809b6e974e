"""ProsAudit: pauses where they belong beside pauses within words or phrases.

A folder has `gold.csv` (filename, id, type, correct, and perhaps voice) with its wav files beside it. A pair is a right
and a wrong row of the same type, id and voice; where ids are of single rows, the i-th right and the i-th wrong row are
a pair, as the official scorer forms them.
"""

from collections.abc import Mapping
from pathlib import Path

from spiritlm_pl.benchmarks.items import Labels, Reading
from spiritlm_pl.benchmarks.readers.files import files_by_folder, listed
from spiritlm_pl.benchmarks.readers.gold import GoldFormat, read_gold
from spiritlm_pl.corpora.plain_tables import column_names

COLUMNS = ("filename", "id", "type", "correct")


def _labels(right: Mapping[str, str], wrong: Mapping[str, str]) -> Labels:
    if right["type"] != wrong["type"]:
        raise ValueError(f"its rows are of different types, {right['type']} and {wrong['type']}")
    return {"type": right["type"], "id": right["id"]}


_FORM = GoldFormat(layout="ProsAudit", key=("type", "id"), text=None, labels=_labels, in_order=True)


def read(folder: str | Path, split: str | None = None) -> Reading:
    """Read the pairs of ProsAudit.

    Args:
        folder: folder of the data, or one above it.
        split: part of a folder's path that is to be read, such as "dev", for data with several tables; None if there is
            one.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no table, or several, or a table without pairs that can be read.
    """
    files = files_by_folder(folder)
    tables = [place for place, inner in files.items() if any(path.name == "gold.csv" for path in inner)]
    found = [place for place in tables if split is None or split in place.resolve().parts]
    fit = [place for place in found if set(COLUMNS) <= set(column_names(place / "gold.csv"))]
    if len(fit) == 1 or (not fit and len(found) == 1):
        place = (fit or found)[0]
        return read_gold(place / "gold.csv", files[place], _FORM, "speech")
    of_split = "" if split is None else f" of {split}"
    if fit:
        names = listed([str(place / "gold.csv") for place in fit])
        raise ValueError(f"{folder} must hold one gold.csv{of_split}, but holds {names}: give a split, or one folder")
    has = f"only {listed([str(place / 'gold.csv') for place in tables])}" if tables else "none"
    raise ValueError(f"{folder} must hold a gold.csv{of_split} with columns {', '.join(COLUMNS)}, but has {has}")
