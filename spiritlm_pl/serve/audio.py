"""Decoding of untrusted audio in memory, up to an allowed length.

Shapes: C channels, S samples.
"""

from io import BytesIO

import soundfile
from torch import Tensor

from spiritlm_pl.corpora.audio import to_int16
from spiritlm_pl.corpora.containers import UnknownFormatError
from spiritlm_pl.corpora.decoding import Bounds, decode

FORMATS = "WAV, FLAC, Ogg, MP3, AAC, MP4, WebM, AIFF or CAF"


def decode_audio(data: bytes, max_seconds: float) -> tuple[Tensor, int]:
    """Decode a whole file.

    Args:
        data: bytes of the audio file.
        max_seconds: largest allowed length of the audio, in seconds.

    Returns:
        Waveform (C, S) as float32, and its sample rate in Hz.

    Raises:
        ValueError: if the file is not audio, is too long or damaged, or has an unusual sample rate or number of
            channels.
    """
    bounds = Bounds(max_seconds=max_seconds, max_channels=2, min_rate=8_000, max_rate=192_000, rare=False)
    try:
        ((waveform, rate),) = decode(data, bounds=bounds)
    except UnknownFormatError as error:
        raise ValueError(f"audio must be a file of {FORMATS}, but is {len(data)} bytes of something else") from error
    return waveform, rate


def encode_wav(waveform: Tensor, sample_rate: int) -> bytes:
    """Encode a waveform (S,) in [-1, 1] as a 16-bit wav file."""
    file = BytesIO()
    soundfile.write(file, to_int16(waveform).numpy(), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
