"""Judgement of answers: the label that a judge gives to each, and the one that it gives to the original sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from spiritlm_pl.benchmarks.answers import Judge, Judged, check_speaks, spoken_answer, written_answer
from spiritlm_pl.benchmarks.items import PromptItem
from spiritlm_pl.benchmarks.stsp.items import WAY, Direction, SentimentItem
from spiritlm_pl.benchmarks.stsp.judges import HearingJudge, ReadingJudge, open_judge
from spiritlm_pl.benchmarks.stsp.samples import SEPARATOR
from spiritlm_pl.corpora.audio import SAMPLE_RATE, load_waveform
from spiritlm_pl.generation.types import Answer, Text

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM


def said(item: PromptItem, answer: Answer) -> str | tuple[Tensor, int] | None:
    """Return what is judged of an answer: its text, or its waveform (S,) with the rate in Hz; None if it is empty.

    A text after written shots ends where they do, at the end of a line.

    Args:
        item: prompt that was answered.
        answer: answer of the model.
    """
    if item.output == "speech":
        speech = spoken_answer(answer)
        if speech is None or not isinstance(speech.audio, Tensor) or not len(speech.audio):
            return None
        return speech.waveform, speech.sample_rate
    text = written_answer(answer)
    written = item.shots and all(isinstance(piece, Text) for piece in (*item.shots[0], *item.prompt))
    return (text.split(SEPARATOR)[0].strip() if written else text) or None


@dataclass(frozen=True)
class SentimentJudging:
    """Maker of the judge of a direction's answers.

    Args:
        direction: modality of prompts and of answers.
    """

    direction: Direction

    def __call__(self, model: "SpiritLM") -> Judge:
        """Return a function that judges answers.

        Raises:
            ValueError: if the answers cannot be heard, as the model has no vocoder.
        """
        if self.direction.answer == "speech":
            check_speaks(model)
        device = str(model.model.device)
        originals: dict[str, str] = {}  # class of each original, of which several prompts may be

        def judge(items: Sequence[PromptItem], answers: Sequence[Answer]) -> list[Judged | Exception]:
            found: list[Judged | Exception] = []
            for item, answer in zip(items, answers, strict=True):
                assert isinstance(item, SentimentItem)
                try:
                    found.append(_judged(item, answer, classifier_of(item, device), originals))
                except Exception as error:  # of this answer alone
                    found.append(error)
            return found

        return judge


def classifier_of(item: SentimentItem, device: str) -> HearingJudge | ReadingJudge:
    """Return the classifier that judges a prompt's answer, which is loaded once.

    Raises:
        ValueError: if it cannot be loaded.
    """
    assert item.judge is not None
    return open_judge(item.judge, device)


def _judged(
    item: SentimentItem, answer: Answer, classifier: HearingJudge | ReadingJudge, originals: dict[str, str]
) -> Judged:
    what = said(item, answer)
    pred = "" if what is None else _label(item, _class(classifier, what))
    counts = {WAY: (float(pred == item.reference), 1.0)}
    texts = {"pred": pred}
    if item.original is not None:
        key = str(item.original)
        if key not in originals:
            originals[key] = _class(classifier, _original(item.original))
        texts["original"] = _label(item, originals[key])
    return Judged(counts, texts)


def _label(item: SentimentItem, name: str) -> str:
    label = item.names.label(name)
    assert label is not None  # classes are checked when the prompts are read
    return label


def _class(classifier: HearingJudge | ReadingJudge, what: str | tuple[Tensor, int]) -> str:
    if isinstance(what, str):
        assert isinstance(classifier, ReadingJudge)  # the side of the judge follows from that of the answers
        return classifier.read(what)
    assert isinstance(classifier, HearingJudge)
    return classifier.hear(*what)


def _original(original: Path | str) -> str | tuple[Tensor, int]:
    return original if isinstance(original, str) else (load_waveform(original), SAMPLE_RATE)
