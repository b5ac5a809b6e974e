"""Items of benchmarks that compare log-likelihoods: a context, possibly empty, and hypotheses that may follow it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.generation.types import Piece

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
        items: items that can be scored, in the order of the files.
        layout: name of the layout that the folder was found to have, such as "sLM21".
        skipped: items that the folder names but that cannot be read, each with its reason.
        notes: sentences about what was found besides, such as files that no table names.
    """

    items: Sequence[ChoiceItem]
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


@dataclass(frozen=True)
class Figure:
    """One figure of a summary, such as the accuracy over all pairs.

    Attributes:
        name: name of the figure, such as "all", "in_vocab" or "by_type".
        value: measured value in percent.
        low: lower end of the 95 % interval in percent; None if it cannot be told.
        high: upper end of the 95 % interval in percent; None if it cannot be told.
        count: number of independent items (pairs, ids or stories) that the figure is measured on.
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
