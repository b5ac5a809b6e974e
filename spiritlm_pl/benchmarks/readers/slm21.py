"""sWUGGY and sBLIMP (ZeroSpeech 2021): words beside non-words, and grammatical beside ungrammatical sentences.

Layouts, told apart by themselves:

    sLM21    {lexical,syntactic}/{dev,test}/ with gold.csv and wav files, at any depth (`sLM21.dataset.zip`)
    hub      Parquet files with columns of audio, positive and negative; without voices, types or frequencies
    numbers  wav files that begin with a number and "_" (sWUGGY) or "+" (sBLIMP), in a folder a voice (slamkit): of
             each two neighbours, the first is right

sBLIMP's `id` is unique only within (type, subtype). The official scorer pairs the i-th right row with the i-th wrong
one; pairs are found by voice, type, subtype and id here, and a note says so if the order would give others.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from spiritlm_pl.benchmarks.items import ChoiceItem, Labels, Reading
from spiritlm_pl.benchmarks.readers.cells import whole_number
from spiritlm_pl.benchmarks.readers.files import files_by_folder, is_audio, unique_name
from spiritlm_pl.benchmarks.readers.gold import GoldFormat, Mode, check_mode, read_gold
from spiritlm_pl.benchmarks.readers.numbered import read_numbered
from spiritlm_pl.benchmarks.readers.parquet import check_cache, extract_audio, num_rows, parquet_columns, parquet_files
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.plain_tables import column_names
from spiritlm_pl.generation.types import Speech

TASKS = ("lexical", "syntactic")
SPLITS = ("dev", "test")
OLD_ARCHIVE = "zerospeech2021-dataset"
_Files: TypeAlias = Mapping[Path, Sequence[Path]]
_Cells: TypeAlias = Mapping[str, str]


def _word_labels(right: _Cells, wrong: _Cells) -> Labels:
    frequency = whole_number(right["frequency"], "frequency")
    if frequency is None:
        frequency = whole_number(wrong["frequency"], "frequency")
    return {"id": right["id"], "frequency": frequency, "length": whole_number(right["length"], "length")}


def _sentence_labels(right: _Cells, wrong: _Cells) -> Labels:
    del wrong  # it has the same key
    return {"type": right["type"], "subtype": right["subtype"], "id": right["id"]}


_WORDS = GoldFormat(layout="sLM21", key=("id",), columns=("frequency", "length"), text="word", labels=_word_labels)
_SENTENCES = GoldFormat(
    layout="sLM21", key=("type", "subtype", "id"), text="transcription", labels=_sentence_labels, in_order=True
)


def read_swuggy(
    folder: str | Path, split: str = "dev", mode: Mode = "speech", cache: str | Path | None = None
) -> Reading:
    """Read sWUGGY.

    Args:
        folder: folder of the data, or one above it.
        split: "dev" or "test", for a folder that has both.
        mode: "speech" for the recordings; "text" for the words, as far as the table has them for non-words.
        cache: folder to which audio in Parquet files is written; None if there is none.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no known layout; the message names what is missing.
    """
    return _read(Path(folder), "lexical", split, mode, cache, _WORDS, "_")


def read_sblimp(
    folder: str | Path, split: str = "dev", mode: Mode = "speech", cache: str | Path | None = None
) -> Reading:
    """Read sBLIMP.

    Args:
        folder: folder of the data, or one above it.
        split: "dev" or "test", for a folder that has both.
        mode: "speech" for the recordings, "text" for their transcriptions, each once.
        cache: folder to which audio in Parquet files is written; None if there is none.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no known layout; the message names what is missing.
    """
    return _read(Path(folder), "syntactic", split, mode, cache, _SENTENCES, "+")


def _read(
    folder: Path, task: str, split: str, mode: Mode, cache: str | Path | None, form: GoldFormat, sign: str
) -> Reading:
    check_mode(mode)
    if split not in SPLITS:
        raise ValueError(f"split must be dev or test, but is {split!r} instead")
    files = files_by_folder(folder)
    found = _gold_folders(files, task, split, form)
    if len(found) > 1:
        raise ValueError(f"{folder} must hold {task}/{split} once, but holds {', '.join(map(str, sorted(found)))}")
    if found:
        return read_gold(found[0] / "gold.csv", files[found[0]], form, mode)
    if hub := [path for path in parquet_files(files) if {"positive", "negative"} <= set(parquet_columns(path))]:
        _no_text(mode, folder)
        return read_parquet_pairs(hub, check_cache(cache, "audio lies in Parquet files"))
    numbered = {place: [one for one in inner if is_audio(one)] for place, inner in files.items()}
    if any(re.match(rf"\d+{re.escape(sign)}", path.name) for inner in numbered.values() for path in inner):
        _no_text(mode, folder)
        return read_numbered(folder, numbered, sign)
    raise ValueError(_what_is_missing(folder, files, task, split, sign))


def _gold_folders(files: _Files, task: str, split: str, form: GoldFormat) -> list[Path]:
    """Return the folders with a table of this task and split; a single table of these columns fits any path."""
    tables = [place for place, inner in files.items() if any(path.name == "gold.csv" for path in inner)]
    found = [place for place in tables if place.resolve().parts[-2:] == (task, split)]
    if not found and len(tables) == 1 and not _is_of_another(tables[0], task, split):
        needed = {*form.key, *form.columns}
        found = [place for place in tables if needed <= set(column_names(place / "gold.csv"))]
    return found


def _is_of_another(place: Path, task: str, split: str) -> bool:
    """Return whether the path of a folder names another task or split."""
    *_, first, last = ("", *place.resolve().parts)
    return (last in SPLITS and last != split) or (first in TASKS and first != task)


def _no_text(mode: Mode, folder: Path) -> None:
    if mode == "text":
        raise ValueError(f"mode must be speech, since only gold.csv has texts, and {folder} has none")


def _what_is_missing(folder: Path, files: _Files, task: str, split: str, sign: str) -> str:
    names = {place.resolve().parts[-2:] for place in files}
    if (task, split) in names or any(OLD_ARCHIVE in place.resolve().parts for place in files):
        return (
            f"{folder} must hold {task}/{split}/gold.csv, but has none: the older archive {OLD_ARCHIVE}.zip is without "
            "gold.csv, sLM21.dataset.zip has it"
        )
    tables = [str(place / path.name) for place, inner in files.items() for path in inner if path.name == "gold.csv"]
    has = f"it has {', '.join(tables)}" if tables else f"it has {sum(map(len, files.values()))} other files"
    return (
        f"{folder} must hold {task}/{split}/gold.csv, Parquet files with columns positive and negative, or wav files "
        f"that begin with a number and {sign!r}, but {has}"
    )


def read_parquet_pairs(paths: Sequence[Path], cache: Path) -> Reading:
    """Read pairs from Parquet files with columns positive and negative, whose rows have no further labels."""
    items: list[ChoiceItem] = []
    skipped: list[Skipped] = []
    columns = ("positive", "negative")
    stems = [path.stem for path in paths]
    seen: dict[str, int] = {}
    for path in paths:
        name = path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem}"
        for row, found in enumerate(extract_audio(path, columns, range(num_rows(path)), cache)):
            item_id = unique_name(f"{name}/{row}", seen)
            right, wrong = found["positive"], found["negative"]
            if isinstance(right, str) or isinstance(wrong, str):
                reason = f"row {row} of {path} {right if isinstance(right, str) else wrong}"
                skipped.append(Skipped(item_id, str(path), reason))
                continue
            names = (f"{item_id}/positive", f"{item_id}/negative")
            items.append(ChoiceItem(item_id, (), (Speech(right),), (Speech(wrong),), {"id": item_id}, names))
    if not items:
        raise ValueError(f"{paths[0]} must hold pairs of audio, but none can be read" + _why(skipped))
    return Reading(items, "hub", skipped, ["voices, types and frequencies are not told in this layout"])


def _why(skipped: Sequence[Skipped]) -> str:
    return f": {skipped[0].reason}" if skipped else ""
