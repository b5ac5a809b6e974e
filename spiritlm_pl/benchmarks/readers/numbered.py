"""Wav files that begin with a number: of each two neighbours, the first is right, the second is wrong (slamkit)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from spiritlm_pl.benchmarks.items import ChoiceItem, Labels, Reading
from spiritlm_pl.benchmarks.readers.files import listed
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.generation.types import Speech

_STORY = re.compile(r"_(mutual|correct|incorrect)$")


def read_numbered(folder: Path, files: Mapping[Path, Sequence[Path]], sign: str) -> Reading:
    """Read pairs of neighbours, in each folder by itself.

    Numbers are paired from the first of all folders, 0 and 1 or 1 and 2, so that a missing file costs its own pair
    alone and does not turn right and wrong of the following ones around.

    Args:
        folder: folder that was given, for messages.
        files: audio files by folder, of which each is a voice.
        sign: character after the number.

    Raises:
        ValueError: if a number is given twice in a folder, it cannot be told which neighbours are pairs, or the files
            are those of a StoryCloze, which begin with a number, too.
    """
    pattern = re.compile(rf"(\d+){re.escape(sign)}")
    stories = [path for inner in files.values() for path in inner if _STORY.search(path.stem)]
    if stories:
        raise ValueError(f"{folder} must hold pairs by their numbers, but {stories[0].name} is of a StoryCloze")
    numbered: dict[Path, dict[int, Path]] = {}
    extra: list[str] = []
    for place, inner in files.items():
        for path in inner:
            match = pattern.match(path.name)
            if match is None:
                extra.append(str(path.relative_to(folder)))
                continue
            other = numbered.setdefault(place, {}).setdefault(int(match[1]), path)
            if other != path:
                raise ValueError(f"numbers must be unique in a folder, but {other} and {path.name} have the same")
    first = _first_number(folder, [number for inner in numbered.values() for number in inner])
    items: list[ChoiceItem] = []
    skipped: list[Skipped] = []
    for place, pairs in numbered.items():
        voice = "" if place == folder else str(place.relative_to(folder))
        for start in sorted({number - (number - first) % 2 for number in pairs}):
            item_id = f"{voice}/{start}" if voice else str(start)
            right, wrong = pairs.get(start), pairs.get(start + 1)
            if right is None or wrong is None:
                missing = start if right is None else start + 1
                reason = f"pair {start}{sign}, {start + 1}{sign} of {place} lacks the file of number {missing}"
                skipped.append(Skipped(item_id, str(right or wrong), reason))
                continue
            labels: Labels = {"id": item_id, "voice": voice or None}
            names = (right.stem, wrong.stem)
            items.append(ChoiceItem(item_id, (), (Speech(right),), (Speech(wrong),), labels, names))
    if not items:
        raise ValueError(f"{folder} must hold pairs of neighbouring numbers, but holds none: {skipped[0].reason}")
    notes = ["types and frequencies are not told in this layout, nor which pairs are the same in other voices"]
    if extra:
        notes.append(f"{folder} holds {len(extra)} audio files without a number: {listed(sorted(extra))}")
    return Reading(items, "numbers", skipped, notes)


def _first_number(folder: Path, numbers: Sequence[int]) -> int:
    """Return the number at which the first pair begins.

    Raises:
        ValueError: if the smallest and the largest number are both right, or both wrong.
    """
    first, last = min(numbers), max(numbers)
    if (last - first) % 2 == 0:
        raise ValueError(
            f"numbers of {folder} must begin with a right file and end with a wrong one, but go from {first} to "
            f"{last}: the first or the last file is missing, so that right and wrong cannot be told apart"
        )
    return first
