"""Items and results of benchmarks.

Some compare log-likelihoods of hypotheses after a context, possibly empty; others have a model answer a prompt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.generation.types import OutputModality, Piece

Labels: TypeAlias = dict[str, str | int | float | None]


@dataclass(frozen=True, eq=False)
class ChoiceItem:
    """Right and wrong hypothesis after a context.

    Attributes:
        id: id that no other item of the benchmark has.
        context: pieces that both hypotheses follow; empty if they stand alone, as the words of sWUGGY do.
        right: pieces of the right hypothesis.
        wrong: pieces of the wrong hypothesis.
        labels: groups of the item that scores are averaged in, such as its voice, frequency or type.
        names: names of the right and of the wrong hypothesis, such as the stems of their files.
    """

    id: str
    context: tuple[Piece, ...]
    right: tuple[Piece, ...]
    wrong: tuple[Piece, ...]
    labels: Labels = field(default_factory=dict)
    names: tuple[str, str] = ("right", "wrong")


@dataclass(frozen=True)
class Reading:
    """Items of a benchmark as they lie in a folder.

    Attributes:
        items: items that can be scored, each with an `id` of its own, in the order of the files.
        layout: name of the layout that the folder was found to have, such as "sLM21".
        skipped: items that the folder names but that cannot be read, each with its reason.
        notes: sentences about what was found besides, such as files that no table names.
    """

    items: Sequence[Any]
    layout: str
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ChoiceLine:
    """Result of an item, as it is written to `items.jsonl`.

    Attributes:
        id: id of the item.
        names: names of the right and of the wrong hypothesis.
        labels: labels of the item.
        scores: for each way of counting (see `VARIANTS` in scoring.py), the score of the right and of the wrong
            hypothesis in nats; a way that the model or the item does not have is missing.
        num_tokens: number of scored tokens of the right and of the wrong hypothesis.
    """

    id: str
    names: tuple[str, str]
    labels: Labels
    scores: dict[str, tuple[float, float]]
    num_tokens: tuple[int, int]

    def points(self, variant: str) -> float:
        """Return 1 if the right hypothesis has the higher score, one half for a tie, else 0."""
        right, wrong = self.scores[variant]
        return 0.5 if right == wrong else float(right > wrong)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ChoiceLine":
        """Read a line of `items.jsonl`."""
        scores = {name: (pair[0], pair[1]) for name, pair in values["scores"].items()}
        (right, wrong), (first, second) = values["names"], values["num_tokens"]
        return cls(values["id"], (right, wrong), values["labels"], scores, (first, second))


@dataclass(frozen=True, eq=False)
class PromptItem:
    """Prompt that a model answers.

    Attributes:
        id: id that no other item of the benchmark has.
        prompt: pieces that the model continues.
        output: modality of the answer.
        shots: solved examples before the prompt, each with pieces of its own; the first ones are left out if all of
            them do not fit into the model's context.
        reference: right answer as text; empty if the benchmark has none.
        labels: groups of the item that figures are told for, such as its split, or what a judge needs, such as the
            sentiment.
    """

    id: str
    prompt: tuple[Piece, ...]
    output: OutputModality
    shots: tuple[tuple[Piece, ...], ...] = ()
    reference: str = ""
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerLine:
    """Result of an answered prompt, as it is written to `items.jsonl`.

    Attributes:
        id: id of the item.
        labels: labels of the item.
        counts: for each way of counting, what counts and out of how much, such as 2 wrong words out of 10 words, or 1
            right answer out of 1; figures are ratios of their sums.
        texts: texts by name, such as the reference, the answer and what a judge has made of it.
        tokens: token ids of the answer.
        finish_reason: "stop" if the model ended by itself, "length" if it reached the largest number of tokens.
        num_shots: number of solved examples that fitted before the prompt.
    """

    id: str
    labels: Labels
    counts: dict[str, tuple[float, float]]
    texts: dict[str, str]
    tokens: tuple[int, ...] = ()
    finish_reason: str = "stop"
    num_shots: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AnswerLine":
        """Read a line of `items.jsonl`."""
        known = {name: values[name] for name in cls.__dataclass_fields__}
        counts = {way: (part, whole) for way, (part, whole) in values["counts"].items()}
        return cls(**(known | {"counts": counts, "tokens": tuple(values["tokens"])}))


@dataclass(frozen=True)
class Figure:
    """One figure of a summary, such as the accuracy over all pairs.

    Attributes:
        name: name of the figure, such as "all", "in_vocab" or "by_type".
        value: measured value, in percent unless the benchmark has another unit.
        low: lower end of the 95 % interval, in the unit of the value; None if it cannot be told.
        high: upper end of the 95 % interval, in the unit of the value; None if it cannot be told.
        count: number of independent items (pairs, ids, stories or prompts) that the figure is measured on.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    count: int


def check_unique(items: Iterable[Any], folder: Path) -> None:
    """Raise a ValueError if two items have one id, of which only one would have a line in the results."""
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise ValueError(f"ids must be unique, but {folder} holds {item.id} twice")
        seen.add(item.id)
