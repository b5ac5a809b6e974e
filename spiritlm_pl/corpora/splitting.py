"""Train, validation and test by transcript, so that no sentence is in two of them."""

import logging
import random
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from lhotse import MonoCut

from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.corpora.text.transcripts import spoken_form

logger = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
_NAMES = {  # words of the names of parts, in this order: test_dev93 is for validation
    "validation": re.compile(r"dev(?:el|elopment|set|test)?|val|valid|validation"),
    "test": re.compile(r"test(?:set|ing|clean|other)?|eval(?:set|uation)?"),
    "train": re.compile(r"train(?:set|ing|clean|other)?"),
}


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise ValueError unless both are in [0, 1) and leave something to train on."""
    for name, value in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), but is {value} instead")
    if validation_fraction + test_fraction >= 1:
        total = validation_fraction + test_fraction
        raise ValueError(f"validation_fraction + test_fraction must be below 1, but is {total} instead")


def assign_splits(keys: Iterable[Key], validation_fraction: float, test_fraction: float, seed: int) -> dict[Key, str]:
    """Draw a split for every distinct key, in exact proportions.

    Every split whose fraction is above 0 gets at least one key, as long as there are keys enough.

    Raises:
        ValueError: if the fractions are out of range.
    """
    check_fractions(validation_fraction, test_fraction)
    distinct = list(dict.fromkeys(keys))
    random.Random(seed).shuffle(distinct)
    names: list[str] = []
    for name, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        wanted = max(round(len(distinct) * fraction), int(fraction > 0))
        names += [name] * min(wanted, len(distinct) - len(names) - 1)  # one at least to train on
    return dict(zip(distinct, names + ["train"] * (len(distinct) - len(names)), strict=True))


def transcript_key(cut: MonoCut) -> str:
    """What two utterances of the same sentence have in common; one without words has nothing in common with others."""
    return spoken_form(cut.supervisions[0].text or "") or f"#{cut.id}"


def split_by_transcript(
    cuts: Sequence[MonoCut], validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[MonoCut]]:
    """Distribute cuts over train, validation and test; cuts of the same words go together."""
    keys = [transcript_key(cut) for cut in cuts]
    splits = assign_splits(keys, validation_fraction, test_fraction, seed)
    result: dict[str, list[MonoCut]] = {name: [] for name in SPLITS}
    for cut, key in zip(cuts, keys, strict=True):
        result[splits[key]].append(cut)
    return result


def drop_shared_transcripts(splits: Mapping[str, Sequence[MonoCut]]) -> tuple[dict[str, list[MonoCut]], list[Skipped]]:
    """Keep splits that a corpus brings, but leave out cuts whose words are also in a later split.

    Test is kept whole, validation loses what is in test, train what is in either.
    """
    seen: dict[str, str] = {}
    kept: dict[str, list[MonoCut]] = {}
    skipped = []
    for name in reversed(SPLITS):
        kept[name] = []
        for cut in splits.get(name, ()):
            other = seen.setdefault(transcript_key(cut), name)
            if other == name:
                kept[name].append(cut)
            else:
                path = cut.recording.sources[0].source
                skipped.append(Skipped(cut.id, str(path), f"the same words are in the {other} split"))
    return {name: kept[name] for name in SPLITS}, skipped


def spread_evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, from all over them: corpora lie in order of their speakers."""
    if most >= len(items):
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def split_of_part(part: str) -> str | None:
    """Split that a part of a corpus stands for by a word of its name: dev-clean is validation; None for others."""
    words = re.findall("[a-z]+", part.lower())
    return next((split for split, name in _NAMES.items() if any(map(name.fullmatch, words))), None)


def by_split(parts: Mapping[str, list[Item]]) -> dict[str, list[Item]] | list[Item]:
    """Items by split where the names of parts tell what is held out; else all in a row, to be split anew.

    Parts whose names tell nothing (XL beside DEV and TEST) are trained on.
    """
    named = {part: split_of_part(part) for part in parts}
    unnamed = [part for part, split in named.items() if split is None]
    splits = {split or "train" for split in named.values()}
    if splits == {"train"} or "train" not in splits:
        if len(parts) > 1:
            logger.warning("parts %s do not tell what is held out: all are split anew", ", ".join(parts))
        return [item for of_part in parts.values() for item in of_part]
    if unnamed:
        logger.warning("names of parts %s tell no split: they are trained on", ", ".join(unnamed))
    result: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for part, split in named.items():
        result[split or "train"] += parts[part]
    return result
