"""Splits into train, validation and test by transcript, so that no sentence is in two of them."""

import logging
import random
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from lhotse import MonoCut

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.corpora.text.transcripts import spoken_form

logger = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
_NAMES = {  # words in the names of parts; the first split that fits counts, so that test_dev93 is for validation
    "validation": re.compile(r"dev(?:el|elopment|set|test)?|val|valid|validation"),
    "test": re.compile(r"test(?:set|ing|clean|other)?|eval(?:set|uation)?"),
    "train": re.compile(r"train(?:set|ing|clean|other)?"),
}


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise ValueError unless both fractions are in [0, 1) and leave a share for training."""
    for name, value in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), but is {value} instead")
    if validation_fraction + test_fraction >= 1:
        total = validation_fraction + test_fraction
        raise ValueError(f"validation_fraction + test_fraction must be below 1, but is {total} instead")


def assign_splits(keys: Iterable[Key], validation_fraction: float, test_fraction: float, seed: int) -> dict[Key, str]:
    """Draw a split for every distinct key at random, in exact proportions.

    Every split whose fraction is above 0 gets at least one key, if there are enough keys.

    Args:
        keys: keys to distribute; repeated ones count once.
        validation_fraction: share of keys in the validation split.
        test_fraction: share of keys in the test split.
        seed: seed of the draw.

    Raises:
        ValueError: if the fractions are out of range.
    """
    check_fractions(validation_fraction, test_fraction)
    distinct = list(dict.fromkeys(keys))
    random.Random(seed).shuffle(distinct)
    names: list[str] = []
    for name, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        wanted = max(round(len(distinct) * fraction), int(fraction > 0))
        names += [name] * min(wanted, len(distinct) - len(names) - 1)  # at least one key is left for training
    return dict(zip(distinct, names + ["train"] * (len(distinct) - len(names)), strict=True))


def transcript_key(cut: MonoCut) -> str:
    """Return a key that is the same for utterances of the same sentence, and unique for an utterance without words."""
    return spoken_form(cut.supervisions[0].text or "") or f"#{cut.id}"


def split_by_transcript(
    cuts: Sequence[MonoCut], validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[MonoCut]]:
    """Distribute cuts over train, validation and test at random; cuts of the same words stay together."""
    keys = [transcript_key(cut) for cut in cuts]
    splits = assign_splits(keys, validation_fraction, test_fraction, seed)
    result: dict[str, list[MonoCut]] = {name: [] for name in SPLITS}
    for cut, key in zip(cuts, keys, strict=True):
        result[splits[key]].append(cut)
    return result


def drop_shared_transcripts(splits: Mapping[str, Sequence[MonoCut]]) -> tuple[dict[str, list[MonoCut]], list[Skipped]]:
    """Keep the splits of a corpus, but leave out cuts whose words are also in a later split.

    The test split is kept whole; validation loses the sentences of test, and train those of either.
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
    """Return at most `most` items, taken at even distances, since corpora are often sorted by speaker."""
    if most >= len(items):
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def split_of_part(part: str) -> str | None:
    """Return the split that a part of a corpus stands for by its name (dev-clean is validation); None for others."""
    words = re.findall("[a-z]+", part.lower())
    return next((split for split, name in _NAMES.items() if any(map(name.fullmatch, words))), None)


def by_split(parts: Mapping[str, list[Item]]) -> dict[str, list[Item]] | list[Item]:
    """Group items by split if the names of the parts tell which are held out; else return all items, to be split anew.

    Parts whose names tell no split (such as XL beside DEV and TEST) become training data.
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
