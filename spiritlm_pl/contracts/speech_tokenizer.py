"""Contract of speech tokenizers, which turn waveforms into speech tokens.

`predict` calls `encode` on batches of a corpus and keeps what it gives in shards; prompts of speech are encoded by the
same call. Everything downstream (shards, language model, vocoder) knows this contract alone, so MFCC k-means, HuBERT
k-means, published tokenizers and neural codecs are interchangeable. It is a `torch.nn.Module`. One that also decodes
speech tokens to waveforms has the members of `contracts.vocoder.CodebookDecoder`, too.

Shapes: B batch, S samples.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.contracts.features import FeatureExtractor, FeatureSource, exact_hop
from spiritlm_pl.contracts.quantizer import Quantizer
from spiritlm_pl.contracts.units import Units
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary

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


def check_tokenizer(layout: SpeechLayout, vocabulary: Vocabulary, folder: str | Path | None) -> None:
    """Refuse a speech tokenizer that does not give the streams that a language model reads.

    A Base model may have a tokenizer that gives pitch and style codes as well; they are not used.

    Args:
        layout: streams that the speech tokenizer gives.
        vocabulary: vocabulary of the language model.
        folder: folder of the speech tokenizer, for errors.

    Raises:
        ValueError: if a stream of the vocabulary is missing, or has fewer codes, other codebooks or another rate.
    """
    if vocabulary.expressive and layout.phonetic and not layout.expressive:
        raise ValueError(
            "speech tokenizer must give the pitch and style codes of the language model, "
            f"but {folder} gives units alone"
        )
    given = {stream.name: stream for stream in layout.streams}
    for wanted in vocabulary.streams:
        found = given.get(wanted.name)
        if found is None:
            raise ValueError(
                f"speech tokenizer must give the language model's streams {', '.join(vocabulary.layout.names)}, "
                f"but {folder} gives {', '.join(layout.names)} instead"
            )
        if found.size > wanted.size:
            raise ValueError(
                f"num_{wanted.plural} of the speech tokenizer must be at most the language model's {wanted.size}, "
                f"but of {folder} is {found.size} instead"
            )
        if found.size < wanted.size and vocabulary.speech_alone:  # units of another tokenizer, whatever their number
            raise ValueError(
                f"num_{wanted.plural} of the speech tokenizer must be the language model's {wanted.size}, but of "
                f"{folder} is {found.size} instead; if the model has fewer, give its ids by --unit-layout"
            )
        for what in ("num_codebooks", "rate", "deduplicated"):
            own, other = getattr(wanted, what), getattr(found, what)
            if own != other and own is not None:
                raise ValueError(
                    f"{what} of stream {wanted.name} must be the language model's {own}, "
                    f"but of {folder} is {other} instead"
                )
