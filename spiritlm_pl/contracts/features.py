"""Contracts of frame features: the extractor that computes them, and the dataclass that names it in a configuration.

A data module of features calls the extractor on each batch after its transfer, in training; a speech tokenizer calls it
on waveforms. It is a `torch.nn.Module`, in evaluation mode and without gradients.

Shapes: B batch, S samples, T frames, D feature dimension.
"""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class FeatureExtractor(Protocol):
    """Computes frame features of waveforms; frame t describes the samples from `t * hop_length` on."""

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz of the waveforms that it takes."""
        ...

    @property
    def frame_rate(self) -> float:
        """Number of frames per second."""
        ...

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector, D."""
        ...

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,) of waveforms (B, S) with lengths (B,) in samples."""
        ...


@runtime_checkable
class FeatureSource(Protocol):
    """Names features in a configuration: a dataclass that builds or loads them."""

    def build(self) -> Any:  # any, since configurations compare what other packages' classes say that they return
        """Build or load a `FeatureExtractor`, which is a `torch.nn.Module`."""
        ...


def exact_hop(sample_rate: int, frame_rate: float) -> int:
    """Return the hop length: the number of samples per frame.

    Args:
        sample_rate: sample rate in Hz.
        frame_rate: number of frames per second.

    Raises:
        ValueError: if that is not a whole number.
    """
    hop = round(sample_rate / frame_rate)
    if abs(hop * frame_rate - sample_rate) > 1e-6:
        raise ValueError(f"frame_rate must divide the sample rate {sample_rate}, but is {frame_rate} instead")
    return hop
