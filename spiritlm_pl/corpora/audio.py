"""Audio of a corpus: from files to mono waveforms at one sample rate, and back to files.

Shapes: C channels, S samples.
"""

import math
import sys
import wave
from pathlib import Path

import av
import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor
from torchaudio.functional import resample as resample_with_kernel

from spiritlm_pl.corpora.containers import AudioError as AudioError
from spiritlm_pl.corpora.decoding import beyond_end, decode
from spiritlm_pl.runtime.provenance import atomic_path

SAMPLE_RATE = 16_000
SILENCE = 1e-4  # peak below which audio counts as silent
CANCELLED = 0.1  # share of the loudest channel's power below which the mix counts as cancelled
QUIET = 0.01  # share of the loudest channel's mean power below which a window is too quiet to count
WINDOWS = 10  # windows a second in which powers are compared
LARGEST_KERNEL = 1 << 22  # taps of torchaudio's resampling filter, which grow where two rates share no divisor


def load_audio_file(path: str | Path, start: float = 0.0, duration: float | None = None) -> tuple[Tensor, int]:
    """Decode an audio file, or a part of it.

    Args:
        path: file in any format of libsndfile or FFmpeg.
        start: time at which to begin, in seconds.
        duration: length to read, in seconds; None reads to the end.

    Returns:
        The waveform (C, S) float32 and its sample rate in Hz.

    Raises:
        AudioError: if the file is missing, empty, truncated, damaged, or holds no decodable audio; or ends before the
            part begins.
    """
    path = Path(path)
    try:
        ((waveform, rate),) = decode(path, [(start, duration)])
    except AudioError as error:
        raise AudioError(f"{error}: {path}") from error
    if start > 0 and not waveform.shape[1]:
        raise AudioError(f"{beyond_end(start, path)}: {path}")
    return waveform, rate


def loudest_if_cancelled(waveform: Tensor, rate: int) -> int | None:
    """Return the loudest channel if mixing the channels would cancel them out, else None.

    A recording with one channel inverted, even in one part only, would become silent there. A channel that is silent
    where another is not is not chosen.

    Args:
        waveform: channels of a recording (C, S).
        rate: sample rate in Hz.

    Raises:
        AudioError: if the channels cancel each other out in one part, and each channel lacks sound that another has.
    """
    if waveform.shape[0] == 1 or waveform.numel() == 0:
        return None
    powers = _powers(waveform, rate)  # (C, W)
    loudest = powers.max(0).values
    heard = loudest > QUIET * loudest.mean()
    enough = min(2, max(1, int(heard.sum()) // 2))  # windows that must be lost for a channel to count as losing sound

    def loses(power: Tensor) -> bool:
        return int((heard & (power < CANCELLED * loudest)).sum()) >= enough

    if not loses(_powers(waveform.sum(0, keepdim=True), rate)[0]):
        return None
    power = powers.mean(1)
    power = power.clamp(max=0.9 * float(power.max()))  # of channels about equally loud, the first is chosen
    for channel in power.argsort(descending=True, stable=True).tolist():
        if not loses(powers[channel]):
            return int(channel)
    raise AudioError("channels must hold the same sound, but cancel each other out in a part and differ in another")


def _powers(waveform: Tensor, rate: int) -> Tensor:
    """Compute the mean power of each channel (C, S) in each of W windows, as (C, W)."""
    size = max(1, rate // WINDOWS)
    squares = torch.nn.functional.pad(waveform.square(), (0, -waveform.shape[1] % size))
    return squares.unflatten(1, (-1, size)).mean(2)


def to_mono(waveform: Tensor, rate: int, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Mix channels (C, S), or take the loudest if they would cancel each other out, and resample to (S',).

    Args:
        waveform: channels of a recording (C, S).
        rate: sample rate of the waveform in Hz.
        sample_rate: sample rate of the result in Hz.

    Raises:
        AudioError: if there are no samples, some of the sound would be lost, or the audio cannot be resampled.
    """
    if not waveform.shape[-1]:
        raise AudioError("audio must hold samples, but has none")
    loudest = loudest_if_cancelled(waveform, rate)
    return resample(waveform.mean(0) if loudest is None else waveform[loudest], rate, sample_rate)


def resample(waveform: Tensor, rate: int, sample_rate: int) -> Tensor:
    """Resample a waveform (S,) to (S',), where S' is S * sample_rate / rate to within a sample.

    The filter is torchaudio's where its kernel is small, as for all usual rates, else FFmpeg's: from 44,101 Hz to
    16,000 Hz, torchaudio's kernel would take 2.8 GB.

    Raises:
        AudioError: if FFmpeg cannot resample the audio.
    """
    if rate == sample_rate:
        return waveform
    divisor = math.gcd(rate, sample_rate)
    if (rate // divisor) * (sample_rate // divisor) <= LARGEST_KERNEL:
        return resample_with_kernel(waveform, rate, sample_rate)
    try:
        return _resample_with_ffmpeg(waveform, rate, sample_rate)
    except (av.FFmpegError, ValueError, MemoryError, OverflowError) as error:
        raise AudioError(f"audio cannot be resampled from {rate} to {sample_rate} Hz ({error!r})") from error


def _resample_with_ffmpeg(waveform: Tensor, rate: int, sample_rate: int) -> Tensor:
    resampler = av.AudioResampler("flt", "mono", sample_rate)
    blocks = []
    for block in waveform.detach().cpu().float().split(rate):
        frame = av.AudioFrame.from_ndarray(block[None].numpy(), format="flt", layout="mono")
        frame.sample_rate = rate
        blocks += resampler.resample(frame)
    blocks += resampler.resample(None)
    samples = np.concatenate([block.to_ndarray()[0] for block in blocks])
    return torch.from_numpy(samples).to(waveform.device)


def load_waveform(
    source: MonoCut | str | Path, sample_rate: int = SAMPLE_RATE, start: int = 0, length: int | None = None
) -> Tensor:
    """Load a cut or a whole file, or a part of it, as a mono waveform (S,) float32 at `sample_rate` Hz.

    A whole cut gives exactly `num_samples(cut, sample_rate)` samples; up to 50 ms of zeros may be added at its end.

    Args:
        source: the cut, or the path of a file.
        sample_rate: sample rate of the result, in Hz.
        start: first sample of the part.
        length: number of samples of the part; None for all to the end.

    Raises:
        AudioError: if the file is missing, empty or damaged, shorter than the cut, or has values that are not finite.
    """
    end = None if length is None else start + length
    if not isinstance(source, MonoCut):
        return _finite(to_mono(*load_audio_file(source), sample_rate), source)[start:end]
    if (start or end is not None) and (part := _load_part(source, sample_rate, start, end)) is not None:
        return part
    path = source.recording.sources[0].source
    whole = source.start == 0 and math.isclose(source.duration, source.recording.duration, abs_tol=1e-6)
    waveform, rate = load_audio_file(path, source.start, None if whole else source.duration)
    channels = source.recording.channel_ids or [0]
    if waveform.shape[0] > 1 and len(channels) > 1:
        waveform = waveform[channels.index(source.channel)][None]
    mono = _finite(to_mono(waveform, rate, sample_rate), path)
    expected = num_samples(source, sample_rate)
    if mono.shape[0] < expected - sample_rate // 20:
        raise AudioError(
            f"audio file must have {source.duration:.2f} s from {source.start:.2f} s, "
            f"but {path} has {mono.shape[0] / sample_rate:.2f} s instead"
        )
    return torch.nn.functional.pad(mono, (0, max(0, expected - mono.shape[0])))[:expected][start:end]


def num_samples(cut: MonoCut, sample_rate: int = SAMPLE_RATE) -> int:
    """Return the number of samples of a cut at a sample rate in Hz."""
    return round(cut.duration * sample_rate)


def _load_part(cut: MonoCut, sample_rate: int, start: int, end: int | None) -> Tensor | None:
    """Decode no more than a part of a cut; None where its samples depend on others, or the file ends within it."""
    if cut.recording.sampling_rate != sample_rate or len(cut.recording.channel_ids or [0]) > 1:
        return None
    wanted = min(num_samples(cut, sample_rate), sys.maxsize if end is None else end) - start
    if wanted <= 0:
        return None
    path, first = cut.recording.sources[0].source, round(cut.start * sample_rate) + start
    try:
        waveform, rate = load_audio_file(path, first / sample_rate, wanted / sample_rate)
    except AudioError:
        return None  # as the whole cut is read, the error tells what is wrong with it
    return _finite(waveform[0], path) if rate == sample_rate and waveform.shape == (1, wanted) else None


def _finite(waveform: Tensor, path: str | Path) -> Tensor:
    if not bool(waveform.isfinite().all()):
        raise AudioError(f"audio must be finite, but has NaN or infinity instead: {path}")
    return waveform


def to_int16(waveform: Tensor) -> Tensor:
    """Convert samples (S,) in [-1, 1] to 16-bit integers (S,); values outside are clipped."""
    return (waveform.detach().cpu().float().clamp(-1, 1) * 32767).round().to(torch.int16)


def save_wav(path: str | Path, waveform: Tensor, rate: int = SAMPLE_RATE) -> int:
    """Write a mono waveform (S,) in [-1, 1] as a 16-bit wav file; return the number of samples.

    Raises:
        ValueError: if the waveform has another shape, or holds values that are not finite.
    """
    if waveform.dim() != 1:
        raise ValueError(f"waveform must be of shape (S,), but is {tuple(waveform.shape)} instead")
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError("waveform must be finite, but has NaN or infinity instead")
    samples = to_int16(waveform).numpy()
    with atomic_path(Path(path), synced=False) as temporary:
        with temporary.open("wb") as stream, wave.open(stream, "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    return len(samples)
