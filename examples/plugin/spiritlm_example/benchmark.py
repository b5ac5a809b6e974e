"""A benchmark: `spiritlm benchmark run tone_pairs PAIRS OUT`, of texts of which the first of each line is right."""

from collections.abc import Sequence
from pathlib import Path

from spiritlm_pl.benchmarks.averages.means import by_id, share
from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.benchmarks.items import ChoiceItem, ChoiceLine, Figure, Reading
from spiritlm_pl.generation.types import Text


def read_pairs(folder: str | Path) -> Reading:
    """Read the lines of `pairs.tsv`, each with a right and a wrong text between which a tab stands."""
    lines = (Path(folder) / "pairs.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t") for line in lines]
    items = [
        ChoiceItem(str(number), (), (Text(right),), (Text(wrong),)) for number, (right, wrong) in enumerate(texts, 1)
    ]
    return Reading(items, "pairs")


def average(lines: Sequence[ChoiceLine], variant: str) -> list[Figure]:
    """Return the share of lines whose right text is the likelier one, with its interval."""
    return [share("all", by_id(lines, variant, ()))]


TONE_PAIRS = ChoiceBenchmark(
    Info(
        title="Pairs of tones",
        measures="texts of tones that the corpus has",
        licence="Apache-2.0",
        source="a file of yours",
        needs="language model",
        size="any",
    ),
    read_pairs,
    average,
)
