"""Facts about a benchmark, which are told before anything is imported that computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Info:
    """Facts about a benchmark, which `spiritlm benchmark list` shows.

    Attributes:
        title: full name, as papers write it.
        measures: what it measures, in one phrase.
        licence: licence of its data.
        source: where its data is fetched from.
        needs: parts of a model that it needs, such as "language model, speech tokenizer".
        size: amount of data in words, such as "10,000 pairs".
        sets: named sets that it belongs to, such as "zero_shot" and "paper".
        data: name of its data in the file of a set, where several benchmarks read one folder; None for its own name.
        published: way of counting that the published figures use, of those that `figures` returns.
        unit: what the figures are, such as "accuracy, %".
        chance: figure of a model that guesses; None if there is none.
        higher_is_better: whether a higher figure is a better one.
    """

    title: str
    measures: str
    licence: str
    source: str
    needs: str
    size: str
    sets: tuple[str, ...] = ()
    data: str | None = None
    published: str = "mean"
    unit: str = "accuracy, %"
    chance: float | None = 50.0
    higher_is_better: bool = True


def check_options(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise a ValueError if an option is not one of those that a benchmark knows."""
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ValueError(f"options must be among {', '.join(known) or 'none'}, but are {', '.join(unknown)}")
