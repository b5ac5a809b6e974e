"""Contracts of modules: members that callbacks need of the module that they watch; checked once, at `setup`.

Shapes: B batch, F F0 frames, P pitch codes.
"""

from typing import Any, Protocol

from torch import Tensor

from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer
from spiritlm_pl.vocabulary import Vocabulary


class ExportingModule(Protocol):
    """Has something to export after training; `ExportNetwork` calls it."""

    def export(self, folder: str) -> None:
        """Write a folder; every rank calls, since shards have to be gathered, and rank zero writes."""
        ...


class WritingModule(Protocol):
    """Trains a language model that samples and choices are taken of; `GenerateSamples` and `EvaluateChoice` read it.

    Attributes:
        network: causal language model of `transformers`, once the module is configured.
        vocabulary: layout of the token ids, once the module is set up.
        text_tokenizer: file or folder of the text tokenizer; None where the callback has to name one.
    """

    network: Any
    vocabulary: Vocabulary
    text_tokenizer: str | None


class TokenizingModule(Protocol):
    """Runs a speech tokenizer in `predict`, whose step gives the `Units` of each utterance; `WriteUnits` keeps them.

    Attributes:
        folder: of the tokenizer.
        tokenizer: the tokenizer, once the module is set up.
    """

    folder: str
    tokenizer: SpeechTokenizer | None


class SpeakingModule(Protocol):
    """Trains a vocoder; `ResynthesizeUtterances` listens to it at validation."""

    @property
    def best_network(self) -> Any:
        """The `spiritlm_pl.vocoder.vocoder.Vocoder` whose weights are the best so far."""
        ...


class ContourCoder(Protocol):
    """Turns F0 contours into codes and back, as the pitch VQ-VAE does.

    Attributes:
        config: has `frame_rate`, F0 frames a second.
    """

    config: Any

    def encode(self, contours: Tensor) -> Tensor:
        """Codes (B, P) of F0 less its mean, and voicing, (B, 2, F)."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """F0 less its mean, and voicing, (B, 2, F), of codes (B, P)."""
        ...


class ContourModule(Protocol):
    """Trains a coder of F0 contours; `PlotContours` draws what it makes of held-out ones.

    Attributes:
        network: the coder.
    """

    network: ContourCoder
