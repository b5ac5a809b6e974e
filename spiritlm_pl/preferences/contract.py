"""Contract of scorers: which of several continuations of a prompt is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
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

    @property
    def digests(self) -> tuple[str, ...]:
        """A digest of each continuation with its prompt; it begins with a letter that no table takes for a number."""
        texts = (f"{list(self.prompt)} {list(answer)}" for answer in self.answers)
        return tuple(f"x{sha256(text.encode()).hexdigest()[:16]}" for text in texts)

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


@runtime_checkable
class KeptScorer(ContinuationScorer, Protocol):
    """Scorer whose scores are kept, so that an interrupted run goes on; those of other scorers are computed anew."""

    def identity(self) -> str:
        """Return a text that is another one whenever the scores of the same continuations could be others.

        It holds the options, and hashes of all that is read; `spiritlm_pl.preferences.identity.content_hash` makes
        those of files and folders. The model and its vocoder need not be in it.
        """
        ...
