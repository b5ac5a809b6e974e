"""Audio files to waveforms and back: soundfile first, FFmpeg's decoders (av) for what it cannot read.

Shapes: C channels, S samples.
"""

import math
import os
import wave
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from lhotse import MonoCut
from torch import Tensor
from torchaudio.functional import resample

SAMPLE_RATE = 16_000
SILENCE = 1e-4  # peak below which there is nothing to hear
RAW_FORMATS = {".g722": "g722"}  # headerless: FFmpeg must be told


class AudioError(ValueError):
    """A file that cannot be used as audio; the message says why."""


def load_audio_file(path: str | Path, start: float = 0.0, duration: float | None = None) -> tuple[Tensor, int]:
    """Decode a file, or a part of it.

    Args:
        path: any format of libsndfile or FFmpeg.
        start: where to begin, in seconds.
        duration: how much to read, in seconds; None for all.

    Returns:
        waveform (C, S) float32 in [-1, 1] and its sample rate in Hz.

    Raises:
        AudioError: if the file is missing, empty, truncated, or holds no decodable audio.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"audio file is missing: {path}")
    if path.stat().st_size == 0:
        raise AudioError(f"audio file has zero bytes: {path}")
    if path.suffix.lower() not in RAW_FORMATS:
        try:
            with soundfile.SoundFile(path) as file:
                if file.format != "MP3" or _tells_its_length(path):  # else it would read as much as it guesses
                    file.seek(min(round(start * file.samplerate), file.frames))
                    frames = -1 if duration is None else round(duration * file.samplerate)
                    samples = file.read(frames, dtype="float32", always_2d=True)
                    _check_complete(path, file, len(samples) if duration is None and start == 0 else None)
                    return torch.from_numpy(samples.T.copy()), file.samplerate
        except soundfile.LibsndfileError:
            pass  # not one of libsndfile's formats, or damaged: FFmpeg has the last word
    waveform, rate = _decode_with_av(path)
    first = round(start * rate)
    end = waveform.shape[1] if duration is None else first + round(duration * rate)
    return waveform[:, first:end], rate


def _check_complete(path: Path, file: soundfile.SoundFile, num_read: int | None) -> None:
    """Refuse a file that ends before its header says; `num_read` frames came out of a whole read."""
    promised = file.frames
    if file.format == "WAV":
        with path.open("rb") as stream:
            riff_size = int.from_bytes(stream.read(8)[4:], "little")
        truncated = riff_size < 0xFFFFFFFF - 8 and riff_size + 8 > path.stat().st_size + 1
    else:
        truncated = num_read is not None and num_read < promised
    if truncated:
        raise AudioError(f"audio file is truncated: {path}")


def _tells_its_length(mp3: Path) -> bool:
    """Whether an MP3 begins with a table of its length, as most do."""
    with mp3.open("rb") as stream:
        head = stream.read(1 << 16)
    return b"Xing" in head or b"Info" in head


def _decode_with_av(path: Path) -> tuple[Tensor, int]:
    chunks: list[np.ndarray] = []
    rate = 0
    try:
        with av.open(str(path), format=RAW_FORMATS.get(path.suffix.lower())) as container:
            if not container.streams.audio:
                raise AudioError(f"audio file has no audio stream: {path}")
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(audio=0):
                rate = frame.sample_rate
                chunks.extend(part.to_ndarray() for part in resampler.resample(frame))
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"audio file is corrupt or of an unknown format: {path}") from error
    if not chunks:
        raise AudioError(f"audio file has no samples: {path}")
    return torch.from_numpy(np.concatenate(chunks, axis=1)), rate


def to_mono(waveform: Tensor, rate: int, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Mix channels (C, S) and resample to (S',)."""
    mono = waveform.mean(0)
    return mono if rate == sample_rate else resample(mono, rate, sample_rate)


def load_waveform(source: MonoCut | str | Path, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Waveform (S,) float32 of a cut or of a whole file, mono, at `sample_rate` Hz.

    A cut comes out with exactly `round(cut.duration * sample_rate)` samples, at most a few zeros added.

    Raises:
        AudioError: if the file is missing, empty or damaged, shorter than the cut, or has values that are not finite.
    """
    if not isinstance(source, MonoCut):
        return _finite(to_mono(*load_audio_file(source), sample_rate), source)
    path = source.recording.sources[0].source
    whole = source.start == 0 and math.isclose(source.duration, source.recording.duration, abs_tol=1e-6)
    waveform, rate = load_audio_file(path, source.start, None if whole else source.duration)
    channels = source.recording.channel_ids or [0]
    if waveform.shape[0] > 1 and len(channels) > 1:
        waveform = waveform[channels.index(source.channel)][None]
    mono = _finite(to_mono(waveform, rate, sample_rate), path)
    expected = round(source.duration * sample_rate)
    if mono.shape[0] < expected - sample_rate // 20:
        raise AudioError(
            f"audio file must have {source.duration:.2f} s from {source.start:.2f} s, "
            f"but {path} has {mono.shape[0] / sample_rate:.2f} s instead"
        )
    return torch.nn.functional.pad(mono, (0, max(0, expected - mono.shape[0])))[:expected]


def _finite(waveform: Tensor, path: str | Path) -> Tensor:
    if not bool(waveform.isfinite().all()):
        raise AudioError(f"audio must be finite, but has NaN or infinity instead: {path}")
    return waveform


def save_wav(path: str | Path, waveform: Tensor, rate: int = SAMPLE_RATE) -> int:
    """Write a mono waveform (S,) in [-1, 1] as 16-bit wav; gives the number of samples.

    Raises:
        ValueError: if the waveform has another shape, or holds values that are not finite.
    """
    if waveform.dim() != 1:
        raise ValueError(f"waveform must be of shape (S,), but is {tuple(waveform.shape)} instead")
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError("waveform must be finite, but has NaN or infinity instead")
    samples = (waveform.detach().cpu().float().clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # no fsync: many, remade at will
    try:
        with temporary.open("wb") as stream, wave.open(stream, "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return len(samples)
