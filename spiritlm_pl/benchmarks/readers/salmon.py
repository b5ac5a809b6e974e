"""SALMon: recordings that are consistent in an acoustic property, or fit their words, beside ones that do not.

Layouts, told apart by themselves:

    zip  a folder a part with sample_<i>_<k>.wav, k = 0 right and 1 wrong; the numbers i have gaps
    hub  Parquet files with columns task, ind, positive_audio, negative_audio, in which parts may come several times
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from spiritlm_pl.benchmarks.averages.salmon import PARTS
from spiritlm_pl.benchmarks.items import ChoiceItem, Labels, Reading
from spiritlm_pl.benchmarks.readers.files import files_by_folder, is_audio, listed
from spiritlm_pl.benchmarks.readers.parquet import (
    check_cache,
    extract_audio,
    label_rows,
    parquet_columns,
    parquet_files,
)
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.generation.types import Speech

_FILE = re.compile(r"sample_(\d+)_([01])")
_COLUMNS = ("task", "ind", "positive_audio", "negative_audio")
_Files: TypeAlias = Mapping[Path, Sequence[Path]]


def read(folder: str | Path, parts: Sequence[str] | None = None, cache: str | Path | None = None) -> Reading:
    """Read the pairs of SALMon.

    Args:
        folder: folder of the parts, one above it, or a single part.
        parts: names of the parts to read; None for all that are there.
        cache: folder to which audio in Parquet files is written; None if there is none.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no known layout, or lacks a part; the message names what is missing.
    """
    files, root = files_by_folder(folder), Path(folder)
    parts = [parts] if isinstance(parts, str) else parts
    samples = {
        place: [one for one in inner if is_audio(one)]
        for place, inner in files.items()
        if any(_FILE.fullmatch(path.stem) for path in inner)
    }
    hub = [path for path in parquet_files(files) if set(_COLUMNS) <= set(parquet_columns(path))]
    if not samples and not hub:
        raise ValueError(
            f"{root} must hold folders such as gender_consistency with sample_<i>_0.wav and sample_<i>_1.wav, or "
            f"Parquet files with columns {', '.join(_COLUMNS)}, but has none of them among "
            f"{sum(map(len, files.values()))} files"
        )
    found = _of_folders(samples, parts) if samples else _of_parquet(hub, parts, cache)
    present = {str(item.labels["part"]) for item in found.items}
    if missing := [part for part in parts or () if part not in present]:
        raise ValueError(f"{root} must hold {', '.join(missing)}, but has only {', '.join(sorted(present)) or 'none'}")
    if not found.items:
        why = f": {found.skipped[0].reason}" if found.skipped else ""
        raise ValueError(f"{root} must hold pairs that can be read, but holds none{why}")
    absent = [part for part in PARTS if part not in present]
    notes = [f"{root} lacks {listed(absent)}"] if absent and parts is None else []
    return Reading(found.items, found.layout, found.skipped, [*found.notes, *notes])


def _of_folders(samples: _Files, parts: Collection[str] | None) -> Reading:
    items: list[ChoiceItem] = []
    skipped: list[Skipped] = []
    extra: list[str] = []
    places: dict[str, Path] = {}
    for place, inner in samples.items():
        part = place.resolve().name
        if parts is not None and part not in parts:
            continue
        if part in places:
            raise ValueError(f"a part must be there once, but {places[part]} and {place} are both {part}")
        places[part] = place
        pairs: dict[int, dict[str, Path]] = {}
        for path in inner:
            if match := _FILE.fullmatch(path.stem):
                pairs.setdefault(int(match[1]), {})[match[2]] = path
            else:
                extra.append(f"{part}/{path.name}")
        for number, pair in sorted(pairs.items()):
            item_id = f"{part}/{number}"
            if len(pair) < 2:
                [path] = pair.values()
                side = "wrong" if "0" in pair else "right"
                skipped.append(Skipped(item_id, str(path), f"pair {number} of {place} lacks its {side} recording"))
            else:
                items.append(_item(part, str(number), pair["0"], pair["1"], (pair["0"].stem, pair["1"].stem)))
    notes = [f"{len(extra)} audio files belong to no pair: {listed(extra)}"] if extra else []
    return Reading(items, "zip", skipped, notes)


def _item(part: str, number: str, right: Path, wrong: Path, stems: tuple[str, str]) -> ChoiceItem:
    labels: Labels = {"part": part, "id": number}
    names = (f"{part}/{stems[0]}", f"{part}/{stems[1]}")
    return ChoiceItem(f"{part}/{number}", (), (Speech(right),), (Speech(wrong),), labels, names)


def _of_parquet(paths: Sequence[Path], parts: Collection[str] | None, cache: str | Path | None) -> Reading:
    cached = check_cache(cache, "audio lies in Parquet files")
    items: list[ChoiceItem] = []
    skipped: list[Skipped] = []
    seen: set[tuple[str, str]] = set()
    repeated = 0
    for path in paths:
        wanted: list[tuple[int, str, str]] = []
        for row, cells in enumerate(label_rows(path, ("task", "ind"))):
            if cells["task"] is None or cells["ind"] is None:
                skipped.append(Skipped(f"{path.name}:{row}", str(path), f"row {row} of {path} has no task or ind"))
                continue
            key = (str(cells["task"]), str(cells["ind"]))
            if parts is not None and key[0] not in parts:
                continue
            repeated += key in seen
            if key not in seen:
                seen.add(key)
                wanted.append((row, *key))
        audio = extract_audio(path, _COLUMNS[2:], [row for row, _, _ in wanted], cached)
        for (row, part, number), found in zip(wanted, audio, strict=True):
            right, wrong = found["positive_audio"], found["negative_audio"]
            if isinstance(right, Path) and isinstance(wrong, Path):
                items.append(_item(part, number, right, wrong, (f"sample_{number}_0", f"sample_{number}_1")))
            else:
                reason = next(one for one in (right, wrong) if isinstance(one, str))
                skipped.append(Skipped(f"{part}/{number}", str(path), f"row {row} of {path} {reason}"))
    notes = [f"{repeated} pairs come several times and are taken once"] if repeated else []
    return Reading(items, "hub", skipped, notes)
