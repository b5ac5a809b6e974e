"""Contract of scorers: which of several continuations of a prompt is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM


@dataclass(frozen=True)
class Candidates:
    """Continuations of one prompt.

    Attributes:
        id: id that no other prompt has.
        prompt: token ids of the prompt.
        answers: token ids of each continuation, without the end.
        stopped: for each continuation, whether the model ended it by itself.
    """

    id: str
    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    stopped: tuple[bool, ...]

    def to_line(self) -> dict[str, Any]:
        """Return plain values for a line of JSON, without the id."""
        return {"prompt": self.prompt, "answers": self.answers, "stopped": self.stopped}

    @classmethod
    def from_line(cls, values: dict[str, Any]) -> "Candidates":
        """Read a line."""
        answers = tuple(tuple(answer) for answer in values["answers"])
        return cls(str(values["id"]), tuple(values["prompt"]), answers, tuple(values["stopped"]))


@runtime_checkable
class ContinuationScorer(Protocol):
    """Scores continuations; its options are the arguments of its class, each with a default or named in the call."""

    def __call__(self, model: "SpiritLM", candidates: Sequence[Candidates]) -> list[list[float | None]]:
        """Score all continuations of some prompts.

        Args:
            model: model that they are of.
            candidates: prompts with their continuations.

        Returns:
            For each prompt the score of each continuation, higher is better; None for one that cannot be scored.
        """
        ...
