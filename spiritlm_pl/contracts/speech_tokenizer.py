"""Contract of speech tokenizers, which turn waveforms into speech tokens.

`predict` calls `encode` on batches of a corpus and keeps what it gives in shards; prompts of speech are encoded by the
same call. Everything downstream (shards, language model, vocoder) knows this contract alone, so MFCC k-means, HuBERT
k-means, published tokenizers and neural codecs are interchangeable. It is a `torch.nn.Module`. One that also decodes
speech tokens to waveforms has the members of `contracts.vocoder.CodebookDecoder`, too.

Shapes: B batch, S samples.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.contracts.features import FeatureExtractor, FeatureSource, exact_hop
from spiritlm_pl.contracts.quantizer import Quantizer
from spiritlm_pl.contracts.tokenizer_streams import check_tokenizer
from spiritlm_pl.contracts.units import Units
from spiritlm_pl.streams import SpeechLayout

# What a tokenizer is made of is found here, too.
__all__ = [
    "FeatureExtractor",
    "FeatureSource",
    "Quantizer",
    "SpeechLayout",
    "SpeechTokenizer",
    "Units",
    "check_tokenizer",
    "exact_hop",
]


@runtime_checkable
class SpeechTokenizer(Protocol):
    """Turns waveforms into speech tokens: phonetic units, alone or with pitch and style codes, or codes of a codec."""

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz of the waveforms that it takes."""
        ...

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, before deduplication."""
        ...

    @property
    def hop_length(self) -> int:
        """Number of samples per frame."""
        ...

    @property
    def cardinality(self) -> int:
        """Number of different codes in each codebook of the first stream."""
        ...

    @property
    def layout(self) -> SpeechLayout:
        """The streams of tokens that it gives, with their rates."""
        ...

    def encode(self, waveforms: Tensor, lengths: Tensor) -> list[Units]:
        """Return the speech tokens of each of the waveforms (B, S) with lengths (B,) in samples."""
        ...
