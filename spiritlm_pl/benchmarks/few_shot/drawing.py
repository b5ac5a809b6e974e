"""Drawing of shots from a training split, and the choice of the items that are asked."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.few_shot.examples import Corpus, Example, Split
from spiritlm_pl.benchmarks.few_shot.prepared import chosen
from spiritlm_pl.storage.user_cache import cache_folder

CACHE = Path("~/.cache/spiritlm-pl/benchmark-audio")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Which examples are asked, and which are drawn as shots.

    Args:
        split: split, or several, to ask; None for those of the corpus whose names begin with test.
        shots_split: split that shots are drawn from; None for the training split.
        shots: number of shots.
        shot_seeds: number of draws of shots; every item is asked once after each.
        shot_seconds: longest recording of a shot in seconds; None for any.
        balanced: whether labels take turns among the shots; else they are as frequent as in the split.
        items: number of items, drawn at random, the same ones after each draw of shots; None for all.
        cache: folder to which parts of recordings and spoken words are written.
    """

    split: str | Sequence[str] | None = None
    shots_split: str | None = None
    shots: int = 10
    shot_seeds: int = 3
    shot_seconds: float | None = None
    balanced: bool = False
    items: int | None = None
    cache: Path = CACHE

    def __post_init__(self) -> None:
        """Check the options."""
        several = [self.split] if isinstance(self.split, str | None) else self.split
        if not isinstance(several, list | tuple) or not all(isinstance(name, str | None) for name in several):
            raise ValueError(f"split must be a name, or a list of names, but is {self.split!r} instead")
        check_texts(shots_split=self.shots_split)
        for name, lowest in (("shots", 0), ("shot_seeds", 1), ("items", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < lowest):
                raise ValueError(f"{name} must be a whole number from {lowest}, but is {value!r} instead")
        seconds = self.shot_seconds
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise ValueError(f"shot_seconds must be above 0, but is {seconds!r} instead")
        if not isinstance(self.balanced, bool):
            raise ValueError(f"balanced must be true or false, but is {self.balanced!r} instead")

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Drawing":
        """Return the drawing of a reader's options, of which others are passed over."""
        check_texts(cache=options["cache"])
        known = {one.name: options[one.name] for one in fields(cls) if one.name in options}
        return cls(**(known | {"cache": cache_folder(options["cache"] or CACHE)}))

    @property
    def num_draws(self) -> int:
        """Number of draws; one is enough where there is nothing to draw."""
        return self.shot_seeds if self.shots else 1


def check_texts(**options: Any) -> None:
    """Raise a ValueError if an option is neither a text nor left out."""
    for name, value in options.items():
        if not isinstance(value, str | None):
            raise ValueError(f"{name} must be a text, but is {value!r} instead")


def draws_of(corpus: Corpus, drawing: Drawing, read: dict[str, Split]) -> tuple[list[list[Example]], list[str]]:
    """Return the shots of each draw, and what is to be told of them."""
    if not drawing.shots:
        return [[]], ["no shots: the model is only given the items"]
    name = drawing.shots_split or corpus.train
    if name is None:
        raise ValueError(
            f"shots_split must be given, as {corpus.layout} has no training split, but only {names_of(corpus)}"
        )
    chosen([name], tuple(corpus.splits), "shots_split")
    pool = read[name] if name in read else corpus.splits[name]()
    draws = [list(_draw(pool.examples, drawing, seed)) for seed in range(drawing.num_draws)]
    fewest = min(map(len, draws))
    if fewest < drawing.shots:
        why = f": {pool.skipped[0].reason}" if pool.skipped else ""
        limit = "" if drawing.shot_seconds is None else f" of at most {drawing.shot_seconds:g} s"
        raise ValueError(f"shots must be at most the {fewest} examples{limit} of {name}, but are {drawing.shots}{why}")
    each = f", the same {drawing.shots} before every item of a draw" if drawing.num_draws > 1 else ""
    notes = [f"shots are drawn from {name} {drawing.num_draws} times{each}"]
    if pool.skipped and name not in read:
        notes.append(f"{len(pool.skipped)} examples of {name} cannot be shots, the first as {pool.skipped[0].reason}")
    if name in read:
        notes.append(f"{name} is asked, too; examples that are shots of a draw are not asked")
    return draws, notes


def _draw(pool: Sequence[Example], drawing: Drawing, seed: int) -> list[Example]:
    draw = random.Random(f"shots {seed}")
    order: list[Example] = draw.sample(pool, len(pool))
    if drawing.balanced:
        by_label: dict[str, list[Example]] = {}
        for example in order:
            by_label.setdefault(example.label, []).append(example)
        turns = chain.from_iterable(zip_longest(*by_label.values()))
        order = [example for example in turns if example is not None]
    found: list[Example] = []
    for example in order:
        if len(found) == drawing.shots:
            break
        if drawing.shot_seconds is not None:
            seconds = example.seconds()
            if seconds is None or seconds > drawing.shot_seconds:
                continue
        found.append(example)
    return draw.sample(found, len(found))  # those of a rare label are not always the last ones


def names_of(corpus: Corpus) -> str:
    """Return the names of a corpus's splits for a message."""
    return ", ".join(corpus.splits) or "none"
