"""The benchmark of one direction: several tries for an answer, and files of predictions beside the summary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.answers import AnswerBenchmark
from spiritlm_pl.benchmarks.contract import Line, RunSettings, Scorer
from spiritlm_pl.benchmarks.items import AnswerLine, PromptItem
from spiritlm_pl.benchmarks.stsp.figures import confusion
from spiritlm_pl.benchmarks.stsp.items import WAY, Direction, SentimentItem, predicted
from spiritlm_pl.benchmarks.stsp.judging import classifier_of, said
from spiritlm_pl.benchmarks.stsp.predictions import write_predictions
from spiritlm_pl.generation.settings import SPEECH_TOKENS, GenerationSettings, frames_of_paper
from spiritlm_pl.generation.types import Answer, OutputModality

if TYPE_CHECKING:
    from spiritlm_pl.generation.prompt import Prompt
    from spiritlm_pl.generation.spirit_lm import SpiritLM

TRIES = 3


@dataclass(frozen=True)
class SentimentBenchmark(AnswerBenchmark):
    """Benchmark of kept sentiments.

    The option `tries` says how often a prompt is asked, each time with other random numbers, until the answer is not
    empty; 3 as published.

    Args:
        direction: modality of prompts and of answers.
    """

    direction: Direction = Direction("speech", "speech")

    @property
    def options(self) -> tuple[str, ...]:
        """Names of all options."""
        return (*super().options, "tries")

    def scorer(self, model: "SpiritLM", settings: RunSettings, options: Mapping[str, Any]) -> Scorer:
        """Return a function that answers prompts together and judges the answers.

        Raises:
            ValueError: if the model has no vocoder for spoken answers, or an option is wrong.
        """
        tries = options.get("tries", TRIES)
        if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
            raise ValueError(f"tries must be a number of at least 1, but are {tries!r} instead")
        longest = {"max_new_tokens": _speech_limit(model)} if self.direction.answer == "speech" else {}
        score = super().scorer(model, settings, longest | dict(options))
        device = str(model.model.device)

        def checked(items: Sequence[SentimentItem]) -> Sequence[Line | Exception]:
            for item in items:
                classifier_of(item, device)  # a judge that cannot be loaded costs no answers
            return score(items)

        return checked

    def answers(
        self,
        model: "SpiritLM",
        items: Sequence[PromptItem],
        prompts: "Sequence[Prompt]",
        output: OutputModality,
        sampling: GenerationSettings,
        options: Mapping[str, Any],
    ) -> list[Answer]:
        """Answer prompts; an empty answer is tried again with other random numbers, unless it is greedy."""
        found = super().answers(model, items, prompts, output, sampling, options)
        for number in range(1, 1 if sampling.greedy else options.get("tries", TRIES)):
            left = [place for place, item in enumerate(items) if said(item, found[place]) is None]
            if not left:
                break
            again = super().answers(
                model,
                [items[place] for place in left],
                [prompts[place] for place in left],
                output,
                replace(sampling, seed=sampling.seed + number),
                options,
            )
            for place, answer in zip(left, again, strict=True):
                found[place] = answer
        return found

    def as_wrong(self, item: SentimentItem, ways: Sequence[str]) -> Line:
        """Return the line that an item would have if the model had not answered."""
        return asdict(AnswerLine(item.id, item.labels, {WAY: (0.0, 1.0)}, {"pred": ""}))

    def write_files(self, folder: Path, lines: Sequence[Line]) -> None:
        """Write prediction files and the confusion matrix beside the summary.

        Args:
            folder: folder of the results.
            lines: lines of all items that were judged.
        """
        read = [AnswerLine.from_dict(line) for line in lines]
        write_predictions(folder / "predictions", read)
        pairs = [(str(line.labels["label"]), predicted(line)) for line in read]
        confusion(pairs, self.info.title).savefig(folder / "confusion.png", dpi=130)


def _speech_limit(model: "SpiritLM") -> int:
    """Return the largest number of new tokens of speech: 300, after text, too, where `GenerationSettings` has 200."""
    layout = model.vocabulary.layout
    return frames_of_paper(SPEECH_TOKENS, layout) * layout.tokens_per_frame
