"""Benchmarks that compare the log-likelihoods of a right and a wrong hypothesis."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.contract import Info, Line, RunSettings, Scorer, check_options
from spiritlm_pl.benchmarks.items import ChoiceItem, ChoiceLine, Figure, Reading
from spiritlm_pl.benchmarks.scoring import VARIANTS, ChoiceScorer
from spiritlm_pl.benchmarks.speech_store import SpeechStore
from spiritlm_pl.storage.user_cache import cache_folder

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

CACHE = Path("~/.cache/spiritlm-pl/benchmark-audio")  # of recordings in Parquet files, and of stories that are cut


@dataclass(frozen=True)
class ChoiceBenchmark:
    """Benchmark of pairs of hypotheses.

    Args:
        info: facts about the benchmark.
        reader: function that reads a folder; its keyword arguments are the options.
        averages: function from lines and a way of counting (see `VARIANTS`) to figures.
        id_labels: labels that together tell which lines are of one item, such as those of a word in several voices;
            empty if each line is an item of its own.
    """

    info: Info
    reader: Callable[..., Reading]
    averages: Callable[[Sequence[ChoiceLine], str], list[Figure]]
    id_labels: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options, which are those of the reader."""
        return tuple(signature(self.reader).parameters)[1:]

    def read(self, folder: Path, options: Mapping[str, Any]) -> Reading:
        """Read the pairs of a folder; audio that must be taken out of other files goes to `CACHE` unless told.

        Raises:
            ValueError: if an option is not one of the reader's, or the folder has no layout that is known.
        """
        check_options(options, self.options)
        cache = {"cache": cache_folder(CACHE)} if "cache" in self.options else {}
        return self.reader(folder, **(cache | dict(options)))

    def scorer(self, model: "SpiritLM", settings: RunSettings, options: Mapping[str, Any]) -> Scorer:
        """Return a function that scores pairs together."""
        scorer = ChoiceScorer(model, settings.batch_tokens)
        store = SpeechStore(model.codec, settings.speech_tokens)

        def score(items: Sequence[ChoiceItem]) -> list[Line | Exception]:
            found: list[Line | Exception] = []
            encoded = []
            for item in store.with_tokens(items):
                try:
                    if isinstance(item, Exception):
                        raise item
                    encoded.append((len(found), scorer.encode(item)))
                    found.append({})
                except Exception as error:  # of this item alone: its audio, its text or its length
                    found.append(error)
            for (place, _), line in zip(encoded, scorer.score([one for _, one in encoded]), strict=True):
                if any(math.isnan(score) for pair in line.scores.values() for score in pair):
                    found[place] = ValueError("scores must be numbers, but some of the model's are not")
                else:
                    found[place] = asdict(line)
            return found

        return score

    def figures(self, lines: Sequence[Line]) -> dict[str, list[Figure]]:
        """Return the figures of each way of counting, over the lines that have it, as the figures' counts tell."""
        read = [ChoiceLine.from_dict(line) for line in lines]
        counted = {name: [line for line in read if name in line.scores] for name in VARIANTS}
        return {name: self.averages(some, name) for name, some in counted.items() if some}

    def as_wrong(self, item: ChoiceItem, ways: Sequence[str]) -> Line:
        """Return the line that an item would have if the model had been wrong, in each of some ways of counting."""
        return asdict(ChoiceLine(item.id, item.names, item.labels, dict.fromkeys(ways, (-1.0, 0.0)), (1, 1)))
