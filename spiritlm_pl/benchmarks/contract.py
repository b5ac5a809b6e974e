"""Contract of a benchmark: what `spiritlm benchmark run` asks of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from spiritlm_pl.benchmarks.info import Info as Info
from spiritlm_pl.benchmarks.info import check_options as check_options
from spiritlm_pl.benchmarks.items import Figure, Reading

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

Line: TypeAlias = dict[str, Any]  # result of an item: its `id` and plain values for JSON
Scorer: TypeAlias = Callable[[Sequence[Any]], Sequence[Line | Exception]]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of a run that do not change its results.

    Attributes:
        batch_tokens: largest number of tokens in a batch, padding included.
        batch_size: number of answers that are generated together.
        speech_tokens: folder in which speech tokens of audio files are kept; None to keep none.
        answers: folder to which spoken answers are written as audio; None to write none.
    """

    batch_tokens: int = 4096
    batch_size: int = 16
    speech_tokens: Path | None = None
    answers: Path | None = None


class Benchmark(Protocol):
    """Benchmark of a model.

    The command calls `read` once, `scorer` once for the items that are not done yet, and `figures` at the end with the
    lines of all items, also of those that an earlier run has scored.

    A benchmark whose figures are neither means of points nor ratios of sums over all items may have a method
    `compared(first, second, way)`, too, from the lines of two models to a `Comparison` (averages/compare.py) in
    percentage points, whose difference is that of its figures.
    """

    info: Info

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that `read` and `scorer` take."""
        ...

    def read(self, folder: Path, options: Mapping[str, Any]) -> Reading:
        """Read the items of a folder, each with an `id` of its own.

        Args:
            folder: folder of the benchmark's data.
            options: options by name, such as the split.

        Raises:
            ValueError: if an option is not one of the benchmark's, or the folder has no layout that is known; the
                message names what is missing.
        """
        ...

    def scorer(self, model: "SpiritLM", settings: RunSettings, options: Mapping[str, Any]) -> Scorer:
        """Return a function that scores items.

        The function takes a sequence of items, and returns for each a line, or the reason why it has none.

        Args:
            model: model that is measured.
            settings: settings of the run.
            options: options by name, the same that `read` was given.

        Raises:
            ValueError: if the model lacks a part that the benchmark needs.
        """
        ...

    def figures(self, lines: Sequence[Line]) -> dict[str, list[Figure]]:
        """Return figures by way of counting, from the lines of at least one item."""
        ...
