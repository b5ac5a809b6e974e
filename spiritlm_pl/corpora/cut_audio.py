"""Audio of a lhotse cut as its manifest describes it: with its transforms, padding and mixing.

Shapes: C channels, S samples.
"""

from collections.abc import Iterator

import torch
from lhotse.augmentation import AudioTransform, Resample
from lhotse.cut import Cut, MixedCut, PaddingCut
from torch import Tensor
from torchaudio.functional import resample

from spiritlm_pl.corpora.audio import AudioError


def transforms_of(cut: Cut) -> Iterator[AudioTransform]:
    """Yield the transforms that a manifest applies to the recordings of a cut, in no particular order."""
    for part in [track.cut for track in cut.tracks] if isinstance(cut, MixedCut) else [cut]:
        recording = None if isinstance(part, PaddingCut) else part.recording
        for transform in (recording and recording.transforms) or ():
            yield AudioTransform.from_dict(transform) if isinstance(transform, dict) else transform


def load_cut_audio(cut: Cut) -> tuple[Tensor, int]:
    """Load the audio of a cut through lhotse.

    Args:
        cut: a cut of any kind that has recordings.

    Returns:
        The waveform (C, S) float32 and its sample rate in Hz. This is the lowest rate that any of the recordings had,
        so that speech which the manifest resamples upwards does not seem to have a higher quality than it has.

    Raises:
        AudioError: if lhotse cannot load the audio, for whatever reason.
    """
    try:
        samples = cut.load_audio()
    except Exception as error:  # lhotse's decoders and transforms raise errors of many kinds
        raise AudioError(f"lhotse cannot load the audio: {_first_line(error)}") from error
    if samples is None or samples.size == 0:
        raise AudioError("lhotse finds no audio")
    waveform, rate = torch.from_numpy(samples).float(), int(cut.sampling_rate)
    lowest = min([rate, *(t.source_sampling_rate for t in transforms_of(cut) if isinstance(t, Resample))])
    return (waveform if lowest == rate else resample(waveform, rate, lowest)), lowest


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
