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
    """Trains a language model, with which `GenerateSamples` continues prompts and `EvaluateChoice` scores answers.

    Attributes:
        network: causal language model of `transformers`, available after `configure_model`.
        vocabulary: layout of the token ids, available after `setup`.
        text_tokenizer: file or folder of the text tokenizer; None if the callback must be given one.
    """

    network: Any
    vocabulary: Vocabulary
    text_tokenizer: str | None


class TokenizingModule(Protocol):
    """Runs a speech tokenizer in `predict`; its step returns the `Units` of each utterance, which `WriteUnits` stores.

    Attributes:
        folder: folder of the speech tokenizer.
        tokenizer: the speech tokenizer, available after `setup`; None before.
    """

    folder: str
    tokenizer: SpeechTokenizer | None


class SpeakingModule(Protocol):
    """Trains a vocoder, with which `ResynthesizeUtterances` resynthesises utterances at validation."""

    @property
    def best_network(self) -> Any:
        """The `spiritlm_pl.vocoder.vocoder.Vocoder` to listen to: with averaged weights, if there are any."""
        ...


class VoiceModule(SpeakingModule, Protocol):
    """Trains a vocoder on another voice; `CompareVoice` compares it with its beginning.

    Attributes:
        initial: folder of the vocoder that training begins with.
        tokenizer_sha256: fingerprint of the tokenizer of the units; None where it is not recorded.
    """

    initial: str | None
    tokenizer_sha256: str | None

    def start(self) -> Any:
        """Return a new `spiritlm_pl.vocoder.vocoder.Vocoder`, with the voice of the data, as it is before training."""
        ...


class ContourCoder(Protocol):
    """Turns F0 contours into codes and back, as the pitch VQ-VAE does.

    Attributes:
        config: configuration with `frame_rate`, the number of F0 frames per second.
    """

    config: Any

    def encode(self, contours: Tensor) -> Tensor:
        """Encode contours (B, 2, F), F0 in Hz minus its mean and voicing, as codes (B, P)."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (B, P) to contours (B, 2, F), F0 in Hz minus its mean and voicing."""
        ...


class ContourModule(Protocol):
    """Trains a coder of F0 contours; `PlotContours` plots held-out contours and their reconstruction.

    Attributes:
        network: network that encodes contours and decodes codes.
    """

    network: ContourCoder
