"""Sources of `spiritlm prepare preferences`: what a file or a folder holds, told by what lies in it."""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spiritlm_pl.cli.batch.items import asked, pieces, read_items
from spiritlm_pl.runtime.found import found_at

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM
    from spiritlm_pl.preferences.sources import FoundPairs, FoundPrompts

Direction = Literal["speech_to_speech", "text_to_text", "text_to_speech", "speech_to_text"]


class PreferenceSource:
    """Source of pairs or of prompts, of any kind.

    Args:
        source: file or folder.
        split: split of a corpus; None for train.
        directions: from which modality to which; None for speech to speech.
        prompt_seconds: length of the beginnings of recordings, in seconds.
        prompt_words: number of words of the beginnings of texts.
        first: number of prompts or pairs that are taken; None for all.
        output: modality of the continuations of JSON lines; None for any.
        seed: seed of the choice of other endings.
        benchmark: name of the benchmark whose folder it is; None for none.
    """

    def __init__(
        self,
        source: str,
        split: str | None,
        directions: tuple[Direction, ...] | None,
        prompt_seconds: float,
        prompt_words: int,
        first: int | None,
        output: Literal["text", "speech", "any"] | None,
        seed: int,
        benchmark: str | None = None,
    ) -> None:
        """Check that there is such a file or folder, and that the options have an effect."""
        if not Path(source).exists():
            raise FileNotFoundError(f"SOURCE must be a file of JSON lines or a folder, but {found_at(source)}")
        if first is not None and first < 1:
            raise ValueError(f"first must be at least 1, but is {first} instead")
        self.lines = Path(source).is_file() and Path(source).suffix.lower() in (".jsonl", ".json")
        for name, value in (("split", split), ("directions", directions)):
            if value is not None and (self.lines or benchmark is not None):
                told = "whose lines tell what they hold" if self.lines else f"as {benchmark} and its options tell them"
                raise ValueError(f"{name} must be left out for {source}, {told}, but is {value}")
        if directions is not None and not directions:
            raise ValueError("directions must name one or more, but are empty")
        self.source, self.first, self.seed, self.benchmark = source, first, seed, benchmark
        self.split, self.directions = split or "train", directions or ("speech_to_speech",)
        self.prompt_seconds, self.prompt_words = prompt_seconds, prompt_words
        if output is not None and not self.lines:
            raise ValueError("output must be left out unless SOURCE is JSON lines: directions tell it")
        self.prompted, _, answered = self.directions[0].partition("_to_")
        self.answered: Any = (output or "any") if self.lines else answered
        self.is_units = not self.lines and (Path(source) / self.split / "manifest.json").is_file()

    def pairs(self, model: "SpiritLM", options: dict[str, Any]) -> "FoundPairs":
        """Return pairs of what is right and what is wrong in the source."""
        from spiritlm_pl.data.unit_corpus import UnitCorpus
        from spiritlm_pl.preferences.sources import FoundPairs, benchmark_pairs, ending_pairs, given_pairs

        if self.benchmark is not None:
            found = benchmark_pairs(model, self.benchmark, Path(self.source), options)
            _tell(found.notes)
        elif self.lines:
            prompt = partial(asked, key="prompt", vocabulary=model.vocabulary)
            found = given_pairs(model, read_items([self.source]), prompt, pieces, self.source)
        elif self.is_units:
            found = ending_pairs(model, UnitCorpus(self.source, self.split), self.directions, self.seed)
        else:
            raise ValueError(
                f"SOURCE must be JSON lines of pairs or a tokenised corpus with the split {self.split}, or come with a "
                f"scorer or a benchmark, but is {self.source}"
            )
        return FoundPairs(found.pairs[: self.first], found.skipped)

    def prompts(self, model: "SpiritLM") -> "FoundPrompts":
        """Return the prompts of the source, encoded."""
        from spiritlm_pl.benchmarks.continuations.prompts import read_beginnings, read_text_beginnings
        from spiritlm_pl.data.unit_corpus import UnitCorpus
        from spiritlm_pl.preferences.sources import FoundPrompts, encode_prompts, recorded_prompts, story_prompts
        from spiritlm_pl.vocabulary import Modality

        if len(self.directions) > 1:
            raise ValueError(f"directions must be one with a scorer, but are {', '.join(self.directions)}")
        if self.lines:
            items = list(read_items([self.source]))[: self.first]
            made = ((item["id"], partial(asked, item, "prompt", model.vocabulary)) for item in items)
            return encode_prompts(model, made, self.answered, self.source)
        if self.is_units:
            modality = Modality.TEXT if self.prompted == "text" else Modality.SPEECH
            units = UnitCorpus(self.source, self.split)
            found = story_prompts(model, units, modality, self.answered, self.seed)
            taken = dict([*found.prompts.items()][: self.first])
            return FoundPrompts(taken, found.skipped)
        if self.prompted == "text":
            reading = read_text_beginnings(self.source, self.prompt_words, self.first, self.split)
        else:
            reading = read_beginnings(self.source, self.prompt_seconds, self.first, self.split)
        _tell(reading.notes)
        return recorded_prompts(model, reading, self.answered, self.source)


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        print(note, file=sys.stderr)
