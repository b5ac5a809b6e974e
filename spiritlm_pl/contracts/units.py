"""The speech tokens of one utterance, as a tokenizer gives them and shards keep them.

Shapes: T frames, R runs of equal units, K codebooks, F frames of a further stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """The speech tokens of one utterance: the first stream of a layout frame by frame or run by run, others beside it.

    Attributes:
        values: (R,) int64, neighbours differ; (T, K) for a stream of frames with K codebooks.
        starts: (R,) int64 frame index at which each run starts; the first one is 0. All frames (T,) where runs are
            not collapsed.
        num_frames: number of frames T of the utterance.
        codes: (F,) or (F, K) int64 codes of each further stream by its name, at its own rate.
    """

    values: Tensor
    starts: Tensor
    num_frames: int
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_codebooks(cls, frames: Tensor, codes: Mapping[str, Tensor] | None = None) -> "Units":
        """Keep frames (T,) or (T, K) as they are, run or no run.

        Args:
            frames: of the first stream.
            codes: of further streams, by name.
        """
        return cls(frames.long(), torch.arange(len(frames)), len(frames), codes or {})

    @classmethod
    def from_frames(cls, frames: Tensor) -> "Units":
        """Collapse frame-rate units (T,); no frames give no units."""
        if frames.ndim != 1:
            raise ValueError(f"frames must have one dimension, but has shape {tuple(frames.shape)} instead")
        frames = frames.long()
        is_start = torch.ones_like(frames, dtype=torch.bool)
        is_start[1:] = frames[1:] != frames[:-1]
        starts = is_start.nonzero().squeeze(1)
        return cls(values=frames[starts], starts=starts, num_frames=len(frames))

    def durations(self) -> Tensor:
        """Length of every run in frames (R,)."""
        ends = torch.cat([self.starts[1:], self.starts.new_tensor([self.num_frames])])
        return ends[: len(self.starts)] - self.starts

    def frames(self) -> Tensor:
        """Repeat the runs back to frame-rate units (T,) or (T, K)."""
        return self.values.repeat_interleave(self.durations(), dim=0)
