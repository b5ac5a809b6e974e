"""The speech tokens of one utterance, as a tokenizer gives them and shards keep them.

Shapes: T frames, R runs of equal units, K codebooks, F frames of a further stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spiritlm_pl.streams import SpeechLayout


@dataclass(frozen=True)
class Units:
    """The speech tokens of one utterance: the first stream of a layout frame by frame or run by run, others beside it.

    Attributes:
        values: (R,) int64, neighbours differ; (T, K) for a stream of frames with K codebooks.
        starts: (R,) int64 frame index at which each run starts; the first one is 0. All frames (T,) without
            deduplication.
        num_frames: number of frames T of the utterance.
        codes: (F,) or (F, K) int64 codes of each further stream by its name, at its own rate.
    """

    values: Tensor
    starts: Tensor
    num_frames: int
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_codebooks(cls, frames: Tensor, codes: Mapping[str, Tensor] | None = None) -> "Units":
        """Store one value per frame, without deduplication.

        Args:
            frames: codes (T,) or (T, K) of the first stream.
            codes: codes (F,) or (F, K) of each further stream, by its name; None if there are no more streams.
        """
        return cls(frames.long(), torch.arange(len(frames)), len(frames), codes or {})

    @classmethod
    def from_frames(cls, frames: Tensor) -> "Units":
        """Deduplicate units (T,), one per frame; no frames give no units."""
        if frames.ndim != 1:
            raise ValueError(f"frames must have one dimension, but has shape {tuple(frames.shape)} instead")
        frames = frames.long()
        is_start = torch.ones_like(frames, dtype=torch.bool)
        is_start[1:] = frames[1:] != frames[:-1]
        starts = is_start.nonzero().squeeze(1)
        return cls(values=frames[starts], starts=starts, num_frames=len(frames))

    def durations(self) -> Tensor:
        """Return the length of every run in frames (R,)."""
        ends = torch.cat([self.starts[1:], self.starts.new_tensor([self.num_frames])])
        return ends[: len(self.starts)] - self.starts

    def frames(self) -> Tensor:
        """Repeat the units for their durations: (T,) or (T, K), one per frame."""
        return self.values.repeat_interleave(self.durations(), dim=0)


def check_units(units: Units, layout: SpeechLayout) -> None:
    """Refuse speech tokens that do not fit a tokenizer's layout, before they are stored or given to a model.

    Args:
        units: speech tokens of one utterance.
        layout: streams of the tokenizer that gave them.

    Raises:
        ValueError: if they do not fit the layout; the message names the stream.
    """
    missing = [stream.name for stream in layout.streams[1:] if stream.name not in units.codes]
    if missing or len(units.codes) != len(layout.streams) - 1:
        raise ValueError(
            f"speech tokens must be of the streams {', '.join(layout.names)} of their tokenizer, "
            f"but the further ones are {', '.join(units.codes) or 'none'} instead"
        )
    for stream in layout.streams:
        codes = units.values if stream.name == layout.first.name else units.codes[stream.name]
        shape = tuple(codes.shape)
        if codes.ndim != (1 if stream.num_codebooks == 1 else 2) or shape[1:] not in ((), (stream.num_codebooks,)):
            raise ValueError(
                f"codes of {stream.name} must have {stream.num_codebooks} codebooks, but have shape {shape} instead"
            )
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < stream.size:
            wrong = int(codes.max()) if int(codes.max()) >= stream.size else int(codes.min())
            raise ValueError(f"{stream.name} must be in [0, {stream.size}), but is {wrong} instead")
    if len(units.starts) != len(units.values):
        raise ValueError(f"starts must be {len(units.values)}, one for each unit, but are {len(units.starts)} instead")
