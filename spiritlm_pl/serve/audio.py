"""Audio as strangers send it: read in memory, with its length known before anything is decoded.

Shapes: C channels, S samples.
"""

from io import BytesIO

import soundfile
import torch
from torch import Tensor

FORMATS = ("WAV", "FLAC", "OGG", "MP3")
MOST_CHANNELS = 2
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000  # Hz
RATE_STEP = 25  # Hz; resampling between rates without a large common divisor takes gigabytes


def decode_audio(data: bytes, max_seconds: float) -> tuple[Tensor, int]:
    """Decode a whole file.

    Args:
        data: the file.
        max_seconds: how long it may last.

    Returns:
        waveform (C, S) float32 and its sample rate in Hz.

    Raises:
        ValueError: if it is no audio, too long, or of an unusual sample rate or number of channels.
    """
    try:
        with soundfile.SoundFile(BytesIO(data)) as file:
            _check(file, max_seconds)
            most = int(max_seconds * file.samplerate) + 1  # a header may promise less than there is
            samples = file.read(most, dtype="float32", always_2d=True)
            rate: int = file.samplerate
    except (soundfile.LibsndfileError, RuntimeError, TypeError):
        known = ", ".join(FORMATS)
        raise ValueError(
            f"audio must be a file of {known}, but is {len(data)} bytes of something else instead"
        ) from None
    _check_seconds(len(samples) / rate, max_seconds)
    return torch.from_numpy(samples.T.copy()), rate


def _check(file: soundfile.SoundFile, max_seconds: float) -> None:
    if file.format not in FORMATS:
        raise ValueError(f"audio must be a file of {', '.join(FORMATS)}, but is of {file.format} instead")
    if not 1 <= file.channels <= MOST_CHANNELS:
        raise ValueError(f"audio must have at most {MOST_CHANNELS} channels, but has {file.channels} instead")
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE or file.samplerate % RATE_STEP:
        raise ValueError(
            f"sample rate of audio must be a multiple of {RATE_STEP} Hz from {LOWEST_RATE} to {HIGHEST_RATE}, "
            f"but is {file.samplerate} instead"
        )
    _check_seconds(file.frames / file.samplerate, max_seconds)


def _check_seconds(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise ValueError(f"audio must last at most {max_seconds:g} s, but lasts {seconds:.1f} s instead")


def encode_wav(waveform: Tensor, sample_rate: int) -> bytes:
    """A waveform (S,) in [-1, 1] as a 16-bit wav file."""
    file = BytesIO()
    soundfile.write(file, to_int16(waveform).numpy(), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def to_int16(waveform: Tensor) -> Tensor:
    """Samples (S,) in [-1, 1] as 16-bit integers (S,)."""
    return (waveform.detach().cpu().float().clamp(-1, 1) * 32767).round().to(torch.int16)
