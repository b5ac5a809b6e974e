"""Prompts of STSP: what a judge is asked about each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from spiritlm_pl.benchmarks.items import AnswerLine, PromptItem
from spiritlm_pl.benchmarks.stsp.judges import JudgeSource
from spiritlm_pl.benchmarks.stsp.labels import LabelMap

Side: TypeAlias = Literal["speech", "text"]
WAY = "kept"  # way of counting: the sentiment of the prompt is kept in the answer


@dataclass(frozen=True)
class Direction:
    """Modality of prompts and of answers."""

    prompt: Side
    answer: Side

    @property
    def name(self) -> str:
        """Name of the direction, such as "speech to text"."""
        return f"{self.prompt} to {self.answer}"

    @property
    def file(self) -> str:
        """Name of the file of its shots without suffix, such as "s2t"."""
        return f"{self.prompt[0]}2{self.answer[0]}"


@dataclass(frozen=True, eq=False)
class SentimentItem(PromptItem):
    """Prompt with a sentiment, and what it is judged by.

    Attributes:
        judge: judge of the answer.
        names: map from the judge's classes to labels.
        original: sample that the prompt is of, in the modality of the answer: a file of audio, or a text; None if there
            is none.
    """

    judge: JudgeSource | None = None
    names: LabelMap = field(default_factory=LabelMap)
    original: Path | str | None = None


def predicted(line: AnswerLine) -> str:
    """Return the label that the judge has given to an answer; empty for an answer of nothing."""
    return line.texts.get("pred", "")


def reference_label(values: Mapping[str, Any], names: LabelMap) -> tuple[str | None, str]:
    """Return the label of a reference, and the name that it was told by.

    Args:
        values: what is told of a sample, with `sentiment`, `emotion` or both.
        names: map from names to labels.
    """
    keys = ("sentiment", "emotion") if names.kind == "sentiment" else ("emotion",)
    name = next((values[key] for key in keys if values.get(key) not in (None, "")), None)
    return names.label(name), "no name" if name is None else repr(name)
