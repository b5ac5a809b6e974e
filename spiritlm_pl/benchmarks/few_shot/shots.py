"""Prompts of a few-shot benchmark: the same shots before every item, drawn anew for each seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.few_shot.examples import Corpus, Example, Split
from spiritlm_pl.benchmarks.few_shot.prepared import chosen
from spiritlm_pl.benchmarks.few_shot.template import Template
from spiritlm_pl.benchmarks.items import PromptItem, Reading
from spiritlm_pl.benchmarks.readers.files import listed, unique_name
from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.generation.types import Piece, Speech

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
        """Check the numbers."""
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
        known = {one.name: options[one.name] for one in fields(cls) if one.name in options}
        return cls(**(known | {"cache": Path(options["cache"] or CACHE).expanduser()}))

    @property
    def num_draws(self) -> int:
        """Number of draws; one is enough where there is nothing to draw."""
        return self.shot_seeds if self.shots else 1


class Texts:
    """Texts that a recogniser may expect, which count as one value in the identity of an item."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Keep the texts and their hash."""
        self.texts = tuple(texts)
        self.digest = sha256("\n".join(self.texts).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        """Return the hash of the texts."""
        return f"Texts({self.digest})"


@dataclass(frozen=True, eq=False)
class ShotItem(PromptItem):
    """Prompt after shots, with what a judge of speech needs.

    Attributes:
        recording: recording of the example that is asked for; None if it is not needed.
        texts: texts of all examples that may be asked for.
    """

    recording: Path | None = None
    texts: Texts = field(default_factory=lambda: Texts(()))


def read_prompts(
    corpus: Corpus, drawing: Drawing, template: Template, stop: Callable[[], Speech], reference: str
) -> Reading:
    """Read the items of a benchmark, each after the shots of each draw.

    Args:
        corpus: corpus with the splits.
        drawing: which examples are asked and drawn.
        template: form of the prompts.
        stop: function that makes the speech of the word that ends answers, where the template speaks it.
        reference: field of the examples that answers are compared with: text or label.

    Raises:
        ValueError: if a split is missing, or has too few examples.
    """
    tests = [drawing.split] if isinstance(drawing.split, str) else list(drawing.split or corpus.tests)
    if not tests:
        raise ValueError(f"split must be given, as {corpus.layout} has no test split, but only {_names(corpus)}")
    chosen(tests, tuple(corpus.splits), "split")
    read = {name: corpus.splits[name]() for name in dict.fromkeys(tests)}
    shots, notes = _draws(corpus, drawing, read)
    used = {_file_of(shot) for draw in shots for shot in draw}
    asked = [(name, one) for name, split in read.items() for one in split.examples if _file_of(one) not in used]
    _check_fields(template, [*(one for _, one in asked), *(shot for draw in shots for shot in draw)], reference)
    if drawing.items is not None and drawing.items < len(asked):
        places = random.Random("items").sample(range(len(asked)), drawing.items)
        asked = [asked[place] for place in sorted(places)]
    spoken = stop() if template.speaks_stop else None
    skipped = [one for split in read.values() for one in split.skipped]
    items, unread = _items(asked, shots, template, drawing.cache, spoken, reference)
    notes += [note for split in read.values() for note in split.notes]
    return Reading(items, corpus.layout, [*skipped, *unread], notes)


def _draws(corpus: Corpus, drawing: Drawing, read: dict[str, Split]) -> tuple[list[list[Example]], list[str]]:
    """Return the shots of each draw, and what is to be told of them."""
    if not drawing.shots:
        return [[]], ["no shots: the model is only given the items"]
    name = drawing.shots_split or corpus.train
    if name is None:
        raise ValueError(
            f"shots_split must be given, as {corpus.layout} has no training split, but only {_names(corpus)}"
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


def _items(
    asked: Sequence[tuple[str, Example]],
    shots: Sequence[Sequence[Example]],
    template: Template,
    cache: Path,
    stop: Speech | None,
    reference: str,
) -> tuple[list[ShotItem], list[Skipped]]:
    texts = Texts([one.text for _, one in asked] if template.answer == "audio" else ())
    listened = template.answer == "audio"
    drawn = [[tuple(_filled(template, template.shot, one, cache, stop)) for one in draw] for draw in shots]
    prompts: list[tuple[str, str, Example, tuple[Piece, ...]]] = []
    skipped: list[Skipped] = []
    seen: dict[str, int] = {}
    for split, one in asked:
        name = unique_name(one.id, seen)
        try:
            prompts.append((name, split, one, tuple(_filled(template, template.query, one, cache, stop))))
        except Exception as error:  # whatever a decoder raises is that of this recording
            skipped.append(Skipped(name, str(_file_of(one)), f"{_file_of(one)}: {error}"))
    items = [
        ShotItem(
            f"seed{seed}/{name}",
            prompt,
            template.output,
            tuple(draw),
            getattr(one, reference),
            {"seed": seed, "item": name, "split": split},
            one.file(cache) if listened else None,
            texts,
        )
        for seed, draw in enumerate(drawn)
        for name, split, one, prompt in prompts
    ]
    return items, skipped


def _filled(template: Template, spans: Any, one: Example, cache: Path, stop: Speech | None) -> Iterator[Piece]:
    speech = Speech(one.file(cache)) if "audio" in template.fields else Speech()
    yield from template.filled(spans, speech, {"text": one.text, "label": one.label}, stop)


def _check_fields(template: Template, examples: Sequence[Example], reference: str) -> None:
    for name in sorted({*template.fields, reference} - {"audio"}):
        lacking = [one.id for one in examples if not getattr(one, name).strip()]
        if lacking:
            raise ValueError(
                f"examples must have a {name}, which the template asks for, but {listed(lacking)} have none"
            )


def _file_of(example: Example) -> str:
    if isinstance(example.audio, Path):
        return str(example.audio)
    return f"{example.audio.recording.sources[0].source} {example.audio.start:.4f}"


def _names(corpus: Corpus) -> str:
    return ", ".join(corpus.splits) or "none"
