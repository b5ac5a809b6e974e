"""What ends an answer beside the end of a document: a token that opens another modality, or a text in the answer.

Shapes: B batch, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiritlm_pl.generation.stream import FORCED
from spiritlm_pl.generation.types import FinishReason, OutputModality
from spiritlm_pl.vocabulary import Vocabulary

Decode = Callable[[list[int]], str]
Progress = Callable[[int, int], None]  # given the number of tokens done and the largest number


@dataclass(frozen=True)
class Stops:
    """What ends an answer.

    Attributes:
        ids: ids that end an answer and are no part of it; they are allowed in every modality.
        texts: texts that end an answer as soon as it holds one of them, which stays in it.
        decode: function from text ids to text, needed for `texts`; None without them.
        num_text: number of text ids, which are the first ones.
    """

    ids: frozenset[int] = frozenset()
    texts: tuple[str, ...] = ()
    decode: Decode | None = None
    num_text: int = 0

    def holds_text(self, tokens: Sequence[int]) -> bool:
        """Whether new tokens hold one of the texts."""
        if not self.texts:
            return False
        assert self.decode is not None
        said = self.decode([token for token in tokens if token < self.num_text])
        return any(text in said for text in self.texts)

    def until(self, tokens: list[int]) -> list[int]:
        """Return new tokens up to the first end and with it; all of them if there is none."""
        end = next((place for place, token in enumerate(tokens) if token in self.ids), None)
        found = tokens if end is None else tokens[: end + 1]
        if self.holds_text(found):
            return next(found[:count] for count in range(1, len(found) + 1) if self.holds_text(found[:count]))
        return found

    def finished(self, tokens: Sequence[int]) -> tuple[list[int], FinishReason]:
        """Return new tokens, as `until` does, without the id that ends them, and whether they have an end."""
        if tokens and tokens[-1] in self.ids:
            return list(tokens[:-1]), "stop"
        return list(tokens), "stop" if self.holds_text(tokens) else "length"


def change_tokens(vocabulary: Vocabulary, output: OutputModality) -> frozenset[int]:
    """Return the ids that open another modality than that of an answer.

    Raises:
        ValueError: if an answer may have any modality, so that a change does not end it.
    """
    if output not in FORCED:
        raise ValueError(f"ends_at_change must be left out unless output is text or speech, but output is {output!r}")
    return frozenset(token for token, modality in vocabulary.opened_by().items() if modality is not FORCED[output])


class OwnEnds:
    """Criterion of `generate` that ends every row at its own limit or at a text in it, and reports progress.

    Args:
        prompt_length: number of tokens of the prompts, padding included.
        limits: largest number of new tokens of each row (B).
        stops: texts that end a row; its ids are those of the generation's own criterion.
        progress: function called with the number of tokens done and the largest number; None for none.
    """

    def __init__(self, prompt_length: int, limits: Sequence[int], stops: Stops, progress: Progress | None) -> None:
        """Keep the limits; no row has ended yet."""
        self.prompt_length, self.limits, self.progress = prompt_length, torch.tensor(limits), progress
        self.stops, self.stopped = stops, torch.zeros(len(limits), dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        """Whether each row (B) of tokens (B, T) has ended."""
        done = input_ids.shape[1] - self.prompt_length
        if self.progress:
            self.progress(done, int(self.limits.max()))
        if self.stops.texts:
            for row, tokens in enumerate(input_ids[:, self.prompt_length :].tolist()):
                self.stopped[row] = self.stopped[row] or self.stops.holds_text(tokens)
        return ((self.limits <= done) | self.stopped).to(input_ids.device)
