"""Prompts of a few-shot benchmark: the same shots before every item, drawn anew for each seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.few_shot.drawing import Drawing, draws_of, names_of
from spiritlm_pl.benchmarks.few_shot.examples import Corpus, Example
from spiritlm_pl.benchmarks.few_shot.prepared import chosen
from spiritlm_pl.benchmarks.few_shot.template import ShotTemplate
from spiritlm_pl.benchmarks.items import Labels, PromptItem, Reading
from spiritlm_pl.benchmarks.readers.files import listed, unique_name
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.generation.types import Piece, Speech


class Texts:
    """Texts that may be asked for, or labels that there are, which count as one value in the identity of an item."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Keep the texts and their hash."""
        self.texts = tuple(texts)
        self.digest = sha256("\n".join(self.texts).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        """Return the hash of the texts."""
        return f"Texts({self.digest})"


@dataclass(frozen=True, eq=False)
class ShotItem(PromptItem):
    """Prompt after shots, with what its judge needs.

    Attributes:
        template: form of the prompt, by which the answer is read.
        texts: texts of all examples that may be asked for, or all labels of the corpus.
        language: language of what is said, as a code such as "en"; empty if it is not known.
        recording: recording of the example that is asked for; None if it is not needed.
    """

    template: ShotTemplate = field(kw_only=True)
    texts: Texts = field(kw_only=True)
    language: str = ""
    recording: Path | None = None


def read_prompts(
    corpus: Corpus, drawing: Drawing, template: ShotTemplate, stop: Callable[[], Speech], reference: str
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
        raise ValueError(f"split must be given, as {corpus.layout} has no test split, but only {names_of(corpus)}")
    chosen(tests, tuple(corpus.splits), "split")
    read = {name: corpus.splits[name]() for name in dict.fromkeys(tests)}
    shots, notes = draws_of(corpus, drawing, read)
    used = {_file_of(shot) for draw in shots for shot in draw}
    asked = [(name, one) for name, split in read.items() for one in split.examples if _file_of(one) not in used]
    _check_fields(template, [*(one for _, one in asked), *(shot for draw in shots for shot in draw)], reference)
    if drawing.items is not None and drawing.items < len(asked):
        places = random.Random("items").sample(range(len(asked)), drawing.items)
        asked = [asked[place] for place in sorted(places)]
    texts = [one.text for _, one in asked]
    if reference == "label":
        every = [one for split in read.values() for one in split.examples]
        texts = sorted({one.label for one in (*every, *(shot for draw in shots for shot in draw))})
    spoken = stop() if template.speaks_stop else None
    skipped = [one for split in read.values() for one in split.skipped]
    items, unread = _items(asked, shots, template, drawing.cache, spoken, reference, Texts(texts))
    notes += [note for split in read.values() for note in split.notes]
    return Reading(items, corpus.layout, [*skipped, *unread], notes)


def _items(
    asked: Sequence[tuple[str, Example]],
    shots: Sequence[Sequence[Example]],
    template: ShotTemplate,
    cache: Path,
    stop: Speech | None,
    reference: str,
    texts: Texts,
) -> tuple[list[ShotItem], list[Skipped]]:
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
    items = []
    for seed, draw in enumerate(drawn):
        shown = {shot.label for shot in shots[seed]}
        for name, split, one, prompt in prompts:
            labels: Labels = {"seed": seed, "item": name, "split": split}
            if reference == "label":
                labels |= {"label_in_shots": int(one.label in shown), "num_labels": len(texts.texts)}
            items.append(
                ShotItem(
                    f"seed{seed}/{name}",
                    prompt,
                    template.output,
                    tuple(draw),
                    getattr(one, reference),
                    labels,
                    one.language,
                    one.file(cache) if listened else None,
                    template=template,
                    texts=texts,
                )
            )
    return items, skipped


def _filled(template: ShotTemplate, spans: Any, one: Example, cache: Path, stop: Speech | None) -> Iterator[Piece]:
    speech = Speech(one.file(cache)) if "audio" in template.fields else Speech()
    yield from template.filled(spans, speech, {"text": one.text, "label": one.label}, stop)


def _check_fields(template: ShotTemplate, examples: Sequence[Example], reference: str) -> None:
    for name in sorted({*template.fields, reference} - {"audio"}):
        lacking = [one.id for one in examples if not getattr(one, name).strip()]
        if lacking:
            raise ValueError(
                f"examples must have a {name}, which the template asks for, but there is none for {listed(lacking)}"
            )


def _file_of(example: Example) -> str:
    if isinstance(example.audio, Path):
        return str(example.audio)
    return f"{example.audio.recording.sources[0].source} {example.audio.start:.4f}"
