"""Decoding of audio files to samples, shared by corpora, commands and servers.

libsndfile reads the formats that it reads completely. FFmpeg (av) reads all others: formats that libsndfile does not
know, several streams one after another, and files without a length in their header. A file that ends before its
container says so is refused.

Shapes: C channels, S samples.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile
import torch
from torch import Tensor

from spiritlm_pl.corpora.containers import AudioError, UnknownFormatError, check_container, ogg_links
from spiritlm_pl.corpora.mp3 import Mp3, read_mp3, without_tags

AUDIO_SUFFIXES = frozenset(
    ".wav .w64 .flac .mp3 .ogg .oga .opus .m4a .mp4 .aac .wma .aif .aiff .caf .au .sph .g722 .webm "
    ".mka .mkv .mov .m4b .3gp .ac3 .eac3 .mp2 .amr .wv .tta .aifc".split()
)
RAW_FORMATS = {".g722": "g722"}  # files without a header, whose format FFmpeg must be told
LOUDEST = 8.0  # times full scale; a higher peak means that the samples are not scaled to [-1, 1]
BLOCK = 1 << 20  # samples to request from libsndfile at once, since a header may promise too many
GAP = 0.1  # seconds that may be missing between two frames
PRIMING = 0.25  # seconds that an encoder may add and a decoder may drop
LATEST_START = 3_600.0  # seconds by which sound may begin after its picture
# Formats of FFmpeg that do not declare their length, or do so in a table of their own.
ESTIMATED = ("mp3", "aac", "ac3", "eac3", "amr", "g722")
# First bytes of MP3 (libsndfile trusts its tables, which may be wrong), AU and SPHERE (libsndfile misses a lost end).
FOR_FFMPEG = (b"ID3", b"\xff", b".snd", b"NIST")
COMMON = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "FLAC", "OGG")  # formats by libsndfile's names
COMMON_DEMUXERS = ("wav", "w64", "aiff", "caf", "flac", "ogg", "mp3", "aac", "mov", "matroska")
DEMUXERS = (  # no playlists or other formats that open further files or addresses
    *COMMON_DEMUXERS,
    *("au", "nistsphere", "asf", "amr", "g722", "ac3", "eac3", "ape", "wv", "tta", "mpc", "mpc8", "voc", "gsm"),
    *("avi", "flv", "mpeg", "mpegts"),
)
Part = tuple[float, float | None]  # start and duration in seconds; None for all that follows
UNKNOWN_SECONDS = 1e9  # libsndfile gives such a length for unknown ones, as of FLAC written to a pipe
WHOLE: Part = (0.0, None)
# libsndfile's seek in Vorbis spoils the first block after a jump forward of less than two seconds, and may miss the
# place by some samples in the last page, of at most 255 packets with 4096 new samples each (RFC 3533; Vorbis I).
NEAR, BLOCKS, LAST_PAGE = 2.5, 16_384, 255 * 4_096  # seconds; samples of four blocks, and of one page


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits on the audio that is decoded.

    Args:
        max_seconds: longest file, in seconds.
        max_channels: largest number of channels.
        min_rate: lowest sample rate, in Hz.
        max_rate: highest sample rate, in Hz.
        rare: whether rarely used formats are decoded as well.
    """

    max_seconds: float = math.inf
    max_channels: int = 1024
    min_rate: int = 1_000
    max_rate: int = 1_000_000
    rare: bool = True

    def check(self, channels: int, rate: int, seconds: float | None) -> None:
        """Raise AudioError if a file exceeds the limits.

        Args:
            channels: number of channels of the file.
            rate: sample rate of the file, in Hz.
            seconds: length of the file as far as it is known, in seconds; None if it is unknown.
        """
        if channels > self.max_channels:
            raise AudioError(f"audio must have at most {self.max_channels} channels, but has {channels} instead")
        if not self.min_rate <= rate <= self.max_rate:
            raise AudioError(
                f"sample rate of audio must be in [{self.min_rate}, {self.max_rate}] Hz, but is {rate} instead"
            )
        if seconds is not None and seconds > self.max_seconds:
            raise AudioError(f"audio must last at most {self.max_seconds:g} s, but lasts {seconds:.1f} s instead")


def decode(
    source: Path | bytes, parts: Sequence[Part] = (WHOLE,), bounds: Bounds | None = None
) -> Iterator[tuple[Tensor, int]]:
    """Decode parts of an audio file, in one pass.

    Args:
        source: path of the file, or its contents.
        parts: start and duration in seconds of each part, ordered by start; a duration of None reads to the end. Parts
            that reach beyond the end of the file come out shorter.
        bounds: limits on the audio; None for the defaults of `Bounds`.

    Yields:
        For each part, the waveform (C, S) float32 and its sample rate in Hz.

    Raises:
        AudioError: if the file is missing, empty, truncated, damaged, beyond the limits, or no audio. It is raised
            where decoding fails, so that earlier parts have been yielded.
    """
    bounds = bounds or Bounds()
    try:
        with _opened(source) as file:
            yield from _decode(source, file, parts, bounds)
    except AudioError:
        raise
    except Exception as error:  # decoders raise errors of many kinds, which must not end more than this one file
        raise AudioError(f"audio file cannot be read ({error!r})") from error


def declared_seconds(path: Path) -> float | None:
    """Return the length in seconds that a file declares; None if it declares none."""
    try:
        found = soundfile.info(path)
        if found.duration < UNKNOWN_SECONDS:
            return float(found.duration)
    except (soundfile.LibsndfileError, OSError, TypeError):
        pass
    try:
        with _opened(path) as file, _container(file, None, DEMUXERS) as container:
            return None if container.duration is None else container.duration / 1e6
    except (av.FFmpegError, OSError, ValueError):
        return None


def beyond_end(start: float, path: Path) -> str:
    """Return what is wrong with a part of a file that begins, in seconds, where the file has ended."""
    seconds = declared_seconds(path)
    length = "length" if seconds is None else f"{seconds:.2f} s"
    return f"start must be below the {length} of the file, but is {start:g} s"


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return BytesIO(source)
    if not source.is_file():
        raise AudioError("audio file is missing")
    if source.stat().st_size == 0:
        raise AudioError("audio file has zero bytes")
    return source.open("rb")


def _decode(
    source: Path | bytes, file: BinaryIO, parts: Sequence[Part], bounds: Bounds
) -> Iterator[tuple[Tensor, int]]:
    raw = RAW_FORMATS.get(source.suffix.lower()) if isinstance(source, Path) else None
    done = 0
    file.seek(0)
    if not raw and not file.read(4).startswith(FOR_FFMPEG) and check_container(file):
        try:
            with soundfile.SoundFile(source if isinstance(source, Path) else BytesIO(source)) as sound:
                if bounds.rare or sound.format in COMMON:
                    links = ogg_links(file) if sound.format == "OGG" else []
                    for found in (
                        _chained(file, links, parts, bounds) if len(links) > 2 else _read(sound, parts, bounds)
                    ):
                        yield _checked(found), sound.samplerate
                        done += 1
                    return
        except (soundfile.LibsndfileError, TypeError):
            pass  # the format is not one of libsndfile's, or the file is damaged; FFmpeg decides
    for waveform, rate in _parts_of(_frames(file, raw, bounds), parts[done:]):
        yield _checked(waveform), rate


def _read(sound: soundfile.SoundFile, parts: Sequence[Part], bounds: Bounds) -> Iterator[Tensor]:
    """Read parts (C, S) of an open file."""
    seconds = sound.frames / sound.samplerate
    bounds.check(sound.channels, sound.samplerate, seconds if seconds < UNKNOWN_SECONDS else None)
    for start, duration in parts:
        first = min(round(start * sound.samplerate), sound.frames)
        wanted = sound.frames - first
        if duration is not None:
            wanted = min(wanted, round(duration * sound.samplerate))
        _go_to(sound, first)
        yield torch.from_numpy(np.concatenate([*_blocks(sound, wanted)], axis=1))


def _go_to(sound: soundfile.SoundFile, place: int) -> None:
    """Move an open file to a sample; in Vorbis by reading on, where a jump does not get there."""
    if sound.subtype != "VORBIS":
        sound.seek(place)
        return
    safe = max(0, min(place, sound.frames - LAST_PAGE) - BLOCKS)
    if place < sound.tell() or safe - sound.tell() > NEAR * sound.samplerate:
        sound.seek(safe)
    for _ in _blocks(sound, place - sound.tell()):
        pass


def _blocks(sound: soundfile.SoundFile, wanted: int) -> Iterator[np.ndarray]:
    """Read a number of samples in blocks (C, S), since a header may promise more samples than fit in memory."""
    missing = wanted
    while True:
        block = sound.read(min(missing, BLOCK), dtype="float32", always_2d=True)
        missing -= len(block)
        yield np.ascontiguousarray(block.T)
        if missing == 0:
            return
        if len(block) == 0:
            raise AudioError(f"audio file is truncated: it lacks {missing} of {wanted} samples")


def _chained(file: BinaryIO, links: Sequence[int], parts: Sequence[Part], bounds: Bounds) -> Iterator[Tensor]:
    """Read parts (C, S) of an Ogg file of several streams, of which decoders find only the first, or lose samples."""

    def blocks() -> Iterator[tuple[np.ndarray, int]]:
        kinds, count = [], 0
        for begin, end in pairwise(links):
            file.seek(begin)
            with soundfile.SoundFile(BytesIO(file.read(end - begin))) as sound:
                kinds.append((sound.samplerate, sound.channels))
                if kinds[-1] != kinds[0]:
                    before, after = ("{} Hz and {}".format(*kind) for kind in (kinds[0], kinds[-1]))
                    raise AudioError(
                        "audio file must keep its sample rate and channels, "
                        f"but changes from {before} to {after} after {count / kinds[0][0]:.2f} s"
                    )
                count += sound.frames
                bounds.check(sound.channels, sound.samplerate, count / sound.samplerate)
                yield from ((block, sound.samplerate) for block in _blocks(sound, sound.frames))

    return (waveform for waveform, _ in _parts_of(blocks(), parts))


def _container(file: BinaryIO, raw: str | None, demuxers: Sequence[str]) -> av.container.InputContainer:
    """Open a file with FFmpeg in such a way that it cannot open other files."""
    file.seek(0)
    safe = {"format_whitelist": ",".join(demuxers), "protocol_whitelist": "none"}
    return av.open(file, "r", format=raw, options=safe)


def _frames(file: BinaryIO, raw: str | None, bounds: Bounds) -> Iterator[tuple[np.ndarray, int]]:
    """Yield decoded frames (C, S), each with the sample rate; rate and channels are those of the first frame."""
    count, rate = 0, 0
    mp3 = None if raw else read_mp3(file)
    if mp3 is not None:
        file = without_tags(file, mp3)
    try:
        with _container(file, raw, DEMUXERS if bounds.rare else COMMON_DEMUXERS) as container:
            if not container.streams.audio:
                raise AudioError("audio file has no audio stream")
            promised, lead = _promised(container, mp3), _lead(container)
            exact = container.streams.audio[0].codec_context.name.startswith("pcm_")
            for frame in _uniform(_sound(container), bounds, promised):
                rate = frame.sample_rate
                if lead and not count:
                    yield np.zeros((frame.layout.nb_channels, round(lead * rate)), np.float32), rate
                count += frame.samples
                if count > (bounds.max_seconds - lead) * rate:
                    raise AudioError(f"audio must last at most {bounds.max_seconds:g} s, but lasts longer instead")
                yield frame.to_ndarray(), rate
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        if count:
            raise AudioError(f"audio file is damaged, or changes its format, after {count / rate:.2f} s") from error
        raise UnknownFormatError("audio file is corrupt or of an unknown format") from error
    if not count:
        raise AudioError("audio file has no samples")
    if promised is not None and count / rate < promised - (0.01 if exact else PRIMING):
        raise AudioError(f"audio file is truncated: it says {promised:.2f} s, but has {count / rate:.2f} s")


def _uniform(frames: Iterator[av.AudioFrame], bounds: Bounds, promised: float | None) -> Iterator[av.AudioFrame]:
    """Convert frames to floating point and to the first frame's rate and channels, since joined files may differ."""
    target, form, resampler = None, None, None
    for frame in frames:
        if form != (form := (frame.sample_rate, frame.layout.name, frame.format.name)):
            if target is None:
                bounds.check(frame.layout.nb_channels, frame.sample_rate, promised)
                target = (frame.layout.name, frame.sample_rate)
            if resampler is not None:
                yield from resampler.resample(None)
            resampler = av.AudioResampler("fltp", *target)
        assert resampler is not None
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _promised(container: av.container.InputContainer, mp3: Mp3 | None) -> float | None:
    """Return the length in seconds that a container declares for its sound; None where it is only an estimate."""
    name, stream = container.format.name, container.streams.audio[0]
    if name == "mp3":
        return None if mp3 is None else mp3.seconds
    if name in ESTIMATED:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    only = len(container.streams) == 1  # a video may be longer than its sound
    if not only or container.duration is None:
        return None
    begins = _start_of(stream) if name.startswith("matroska") else 0.0  # its duration counts from 0
    return container.duration / 1e6 - max(0.0, begins)


def _start_of(stream: av.AudioStream) -> float:
    """Return the time in seconds of the container's clock at which a stream begins."""
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def _lead(container: av.container.InputContainer) -> float:
    """Return the seconds by which sound begins after its picture, since times in a video count from the earlier start.

    Raises:
        AudioError: if they are more than an hour, which must be an error.
    """
    if len(container.streams) == 1 or container.start_time is None:
        return 0.0
    lead = _start_of(container.streams.audio[0]) - container.start_time / 1e6
    if lead > LATEST_START:
        raise AudioError(f"sound must begin within an hour of its picture, but begins {lead:.0f} s after it")
    return lead if lead > GAP else 0.0


def _sound(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """Yield the frames of the first audio stream.

    Raises:
        AudioError: if sound between two frames cannot be decoded or is missing.
    """
    end: float | None = None
    last, lost = 0.0, 0.0  # seconds
    damaged = False
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged = True
            lost += float((packet.duration or 0) * packet.time_base)
            continue
        for frame in frames:
            if damaged:
                raise AudioError(f"audio file is damaged after {last:.2f} s")
            if end is not None and frame.time is not None and frame.time - end > GAP:
                raise AudioError(f"audio file is damaged: it lacks {frame.time - end:.2f} s after {last:.2f} s")
            seconds = frame.samples / frame.sample_rate
            end = None if frame.time is None else frame.time + seconds
            last += seconds
            yield frame
    if lost > GAP:  # a smaller loss is an incomplete frame at the end
        raise AudioError(f"audio file is truncated: it cannot be decoded after {last:.2f} s")


def _parts_of(frames: Iterator[tuple[np.ndarray, int]], parts: Sequence[Part]) -> Iterator[tuple[Tensor, int]]:
    """Cut parts out of a stream of frames, dropping frames before the first unfinished part from memory."""
    waiting, held = deque(parts), deque[np.ndarray]()
    begin = end = rate = 0  # the first two bound the held frames, in samples

    def cut(part: Part) -> Tensor:
        first = round(part[0] * rate) - begin
        last = None if part[1] is None else first + round(part[1] * rate)
        return torch.from_numpy(np.concatenate(held, axis=1)[:, first:last].copy())

    for block, rate in frames:
        held.append(block)
        end += block.shape[1]
        while waiting and _stop(waiting[0], rate) <= end:
            yield cut(waiting.popleft()), rate
        if not waiting:
            return
        while len(held) > 1 and begin + held[0].shape[1] <= round(waiting[0][0] * rate):
            begin += held.popleft().shape[1]
    for part in waiting:
        yield cut(part), rate


def _stop(part: Part, rate: int) -> float:
    return math.inf if part[1] is None else round(part[0] * rate) + round(part[1] * rate)


def _checked(waveform: Tensor) -> Tensor:
    peak = float(waveform.abs().max()) if waveform.numel() else 0.0
    if LOUDEST < peak < math.inf:
        raise AudioError(
            f"audio must be in [-1, 1], but has a peak of {peak:g} instead: divide its samples by their full scale"
        )
    return waveform
