"""Files that decoders read wrongly or not at all: whole, or refused."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample as torchaudio_resample

from spiritlm_pl.corpora import decoding, ingest
from spiritlm_pl.corpora.audio import AudioError, load_audio_file, load_waveform, resample, to_mono
from spiritlm_pl.corpora.decoding import Bounds, declared_seconds, decode
from spiritlm_pl.corpora.ingest import Rules, Utterance
from spiritlm_pl.corpora.sources.folder import read_folder

RATE = 16_000


def sweep(first: float, last: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A tone that rises: every place in it is unlike the others."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (first + (last - first) * time / seconds / 2) * time)).astype(np.float32)


LOW, HIGH = sweep(300, 800), sweep(900, 1_500, 0.8)
BOTH = np.concatenate([LOW, HIGH])


def encoded(samples: np.ndarray, file_format: str, subtype: str | None = None, rate: int = RATE, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=file_format, subtype=subtype, **options)
    return file.getvalue()


def with_ffmpeg(samples: np.ndarray, container: str, codec: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, size)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(part))
    return file.getvalue()


def wav(samples: np.ndarray, riff: int | None = None, data: int | None = None, order: str = "<") -> bytes:
    """A WAV with these sizes in its header; None for the right ones."""
    sound = (samples * 32_767).astype(f"{order}i2").tobytes()
    head = struct.pack(order + "IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    sizes = [
        struct.pack(order + "I", given) for given in (riff or len(sound) + 36, data if data is not None else len(sound))
    ]
    return (b"RIFX" if order == ">" else b"RIFF") + sizes[0] + b"WAVEfmt " + head + b"data" + sizes[1] + sound


def lengthless(flac: bytes) -> bytes:
    """As `flac -c` writes it to a pipe."""
    changed = bytearray(flac)
    changed[21] &= 0xF0
    changed[22:26] = bytes(4)
    return bytes(changed)


def without_table(mp3: bytes) -> bytes:
    """Variable rate and no Xing table: the first frame is left out."""
    return mp3[mp3.find(mp3[:2], 4) :]


def tagged(mp3: bytes) -> bytes:
    """With a comment that has the letters of a table in it."""
    text = b"\x03comment\0More Information from Xing"
    frame = b"TXXX" + struct.pack(">I", len(text)) + b"\0\0" + text
    return b"ID3\x03\0\0\0\0\0" + bytes([len(frame)]) + frame + mp3


def quiet_first(samples: np.ndarray) -> np.ndarray:
    """Silence takes few bits: a length that is guessed from the first frames is wrong."""
    return np.concatenate([np.zeros(RATE // 2, np.float32), samples])


VARIABLE = {"bitrate_mode": "VARIABLE"}
WHOLE = {
    "size of sox in a pipe": (wav(LOW, 0x7FFFF024, 0x7FFFF000), LOW),
    "largest size": (wav(LOW, 0x7FFFFFFF, 0x7FFFFFDB), LOW),
    "size of FFmpeg in a pipe": (wav(LOW, 0xFFFFFFFF, 0xFFFFFFFF), LOW),
    "size zero": (wav(LOW, 0, 0), LOW),
    "RIFX": (wav(LOW, order=">"), LOW),
    "24 bits, extensible": (encoded(LOW, "WAVEX", "PCM_24"), LOW),
    "float, extensible": (encoded(LOW, "WAVEX", "FLOAT"), LOW),
    "FLAC without length": (lengthless(encoded(LOW, "FLAC")), LOW),
    "MP3": (encoded(BOTH, "MP3"), BOTH),
    "joined MP3": (encoded(LOW, "MP3") + encoded(HIGH, "MP3"), BOTH),
    "MP3 of variable rate": (without_table(encoded(quiet_first(BOTH), "MP3", **VARIABLE)), quiet_first(BOTH)),
    "MP3 with a tag": (tagged(without_table(encoded(quiet_first(BOTH), "MP3", **VARIABLE))), quiet_first(BOTH)),
    "chained Vorbis": (encoded(LOW, "OGG", "VORBIS") + encoded(HIGH, "OGG", "VORBIS"), BOTH),
    "chained Opus": (encoded(LOW, "OGG", "OPUS") + encoded(HIGH, "OGG", "OPUS"), BOTH),
    "AU": (encoded(LOW, "AU", "PCM_16"), LOW),
    "SPHERE": (encoded(LOW, "NIST", "PCM_16"), LOW),
    "CAF": (encoded(LOW, "CAF", "PCM_16"), LOW),
    "M4A": (with_ffmpeg(BOTH, "ipod", "aac"), BOTH),
    "WebM": (with_ffmpeg(BOTH, "webm", "libopus", 48_000), BOTH),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_is_read_to_its_end(name: str) -> None:
    content, expected = WHOLE[name]
    ((waveform, rate),) = decode(content)
    found = to_mono(waveform, rate).numpy()
    assert abs(len(found) - len(expected)) < 0.16 * RATE  # encoders add up to two frames a file, at its start and end
    for part in (slice(0, RATE // 4), slice(-RATE // 4, None)):  # of the sound that was meant
        piece = expected[: len(found)][part]
        match = np.correlate(found, piece, "valid") if np.any(piece) else np.ones(1)
        place = int(match.argmax())
        power = np.sqrt((piece**2).sum() * (found[place : place + len(piece)] ** 2).sum()) if np.any(piece) else 1.0
        assert match.max() / power > 0.95


CUT = {
    "WAV": encoded(BOTH, "WAV"),
    "ADPCM in WAV": encoded(BOTH, "WAV", "IMA_ADPCM"),
    "RF64": encoded(BOTH, "RF64"),
    "Wave64": encoded(BOTH, "W64"),
    "AIFF": encoded(BOTH, "AIFF"),
    "CAF": encoded(BOTH, "CAF", "PCM_16"),
    "AU": encoded(BOTH, "AU", "PCM_16"),
    "SPHERE": encoded(BOTH, "NIST", "PCM_16"),
    "FLAC": encoded(BOTH, "FLAC"),
    "FLAC without length": lengthless(encoded(BOTH, "FLAC")),
    "MP3": encoded(BOTH, "MP3"),
    "Vorbis": encoded(BOTH, "OGG", "VORBIS"),
    "Opus": encoded(BOTH, "OGG", "OPUS"),
    "M4A": with_ffmpeg(BOTH, "ipod", "aac"),
    "WebM": with_ffmpeg(BOTH, "webm", "libopus", 48_000),
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_ends_too_early_is_refused(name: str) -> None:
    content = CUT[name]
    assert list(decode(content))
    with pytest.raises(AudioError, match="truncated|damaged|corrupt"):
        list(decode(content[: len(content) * 3 // 5]))


@pytest.mark.parametrize("name", ["M4A", "WebM", "FLAC", "Vorbis"])
def test_a_hole_in_the_middle_is_refused(name: str) -> None:
    content = bytearray(CUT[name])
    middle = len(content) // 2
    content[middle : middle + 1500] = bytes(1500)
    with pytest.raises(AudioError, match="truncated|damaged|corrupt"):
        list(decode(bytes(content)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(LOW) + wav(HIGH), "audio file must be one file, but is several one after another"),
        (encoded(LOW, "FLAC") + encoded(HIGH, "FLAC"), "several one after another"),
        (wav(BOTH, data=2_000), "must end where its header says, but has 55600 bytes more"),
        (
            encoded(LOW, "OGG", "VORBIS") + encoded(HIGH, "OGG", "VORBIS", 24_000),
            "must keep its sample rate and channels, but changes from 16000 Hz and 1 to 24000 Hz and 1 after 1.00 s",
        ),
        (LOW.tobytes(), "corrupt or of an unknown format"),
        (encoded(LOW * 32_768, "WAV", "FLOAT"), r"in \[-1, 1\], but has a peak of 131.* instead: divide its samples"),
    ],
)
def test_what_cannot_be_trusted_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        list(decode(content))


def test_joined_mp3s_of_other_rates_and_channels_get_those_of_the_first() -> None:
    stereo = np.stack([sweep(900, 1_500, 0.8, 24_000)] * 2, 1)
    ((waveform, rate),) = decode(encoded(LOW, "MP3") + encoded(stereo, "MP3", rate=24_000))
    assert rate == RATE and waveform.shape == (1, pytest.approx(1.8 * RATE, abs=0.16 * RATE))
    match = np.correlate(waveform[0].numpy(), HIGH, "valid")
    assert int(match.argmax()) == pytest.approx(RATE, abs=0.16 * RATE)


@pytest.mark.parametrize("rate", [44_101, 22_254, 16_001, 15_999])
def test_odd_sample_rates_are_resampled_like_others(rate: int) -> None:
    time = torch.arange(2 * rate + 5, dtype=torch.float64) / rate
    found = resample((0.5 * torch.sin(2 * torch.pi * 1_000 * time)).float(), rate, RATE)
    assert len(found) == pytest.approx((2 * rate + 5) * RATE / rate, abs=1)
    expected = 0.5 * torch.sin(2 * torch.pi * 1_000 * torch.arange(len(found), dtype=torch.float64) / RATE)
    torch.testing.assert_close(found[200:-200], expected[200:-200].float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_usual_sample_rates_are_resampled_by_torchaudio(rate: int) -> None:
    waveform = torch.from_numpy(BOTH)
    assert torch.equal(resample(waveform, rate, RATE), torchaudio_resample(waveform, rate, RATE))


def test_channels_that_cancel_each_other_out_are_not_mixed() -> None:
    left = torch.from_numpy(LOW)
    assert torch.equal(to_mono(torch.stack([left, -left]), RATE), left)
    assert torch.equal(to_mono(torch.stack([-0.9 * left, left]), RATE), left)
    for other in (left, torch.zeros_like(left), torch.from_numpy(sweep(900, 1_500))):
        torch.testing.assert_close(to_mono(torch.stack([left, other]), RATE), (left + other) / 2)


def test_channels_that_cancel_each_other_out_in_a_part_are_not_mixed() -> None:
    left = torch.from_numpy(BOTH)
    for inverted in (slice(4_000, None), slice(0, 20_000), slice(9_000, 14_000)):
        right = left.clone()
        right[inverted] *= -1
        assert torch.equal(to_mono(torch.stack([left, right]), RATE), left)
    right[14_000:] = 0  # only the left one speaks on
    assert torch.equal(to_mono(torch.stack([left, right]), RATE), left)
    right = torch.cat([torch.from_numpy(HIGH), -left[len(HIGH) :]])  # more than the left one has
    left = torch.cat([torch.zeros(len(HIGH)), left[len(HIGH) :]])
    assert torch.equal(to_mono(torch.stack([2 * left, 2 * right]), RATE), 2 * right)
    left[:6_000], right[:6_000] = right[:6_000].clone(), 0.0  # each has something of its own
    with pytest.raises(AudioError, match="cancel each other out in a part and differ in another"):
        to_mono(torch.stack([left, right]), RATE)
    noise = torch.randn(2, RATE, generator=torch.Generator().manual_seed(0)) * 0.01
    torch.testing.assert_close(to_mono(noise, RATE), noise.mean(0))


def files(folder: Path, contents: dict[str, bytes]) -> list[Utterance]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [Utterance(name, folder / name, "hello", "me") for name in contents]


def test_what_is_stored_is_neither_silent_nor_clipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stereo = np.stack([LOW, -LOW], 1)
    contents = {"inverted.wav": encoded(stereo, "WAV"), "loud.wav": encoded(LOW * 5, "WAV", "FLOAT")}
    cuts, skipped = ingest.ingest(files(tmp_path, contents), tmp_path / "out", Rules())
    assert not skipped
    inverted, loud = (load_waveform(cut) for cut in cuts)
    torch.testing.assert_close(inverted, torch.from_numpy(LOW), atol=1e-3, rtol=0)
    torch.testing.assert_close(loud, torch.from_numpy(LOW / np.abs(LOW).max()), atol=1e-3, rtol=0)
    assert "inverted.wav cancel each other out: channel 0 is taken alone" in caplog.text


def test_whatever_a_decoder_says_of_one_file_is_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Decoder(soundfile.SoundFile):
        def __init__(self, file: str | Path) -> None:
            super().__init__(file)
            if "bad" in str(file):
                raise OverflowError("too big")

    monkeypatch.setattr(decoding.soundfile, "SoundFile", Decoder)
    cuts, skipped = ingest.ingest(
        files(tmp_path, {"good.wav": wav(LOW), "bad.wav": wav(LOW), "fine.wav": wav(HIGH)}), tmp_path / "out", Rules()
    )
    assert [cut.id for cut in cuts] == ["good.wav", "fine.wav"]
    (row,) = skipped
    assert row.path == str(tmp_path / "bad.wav")
    assert row.reason == "audio file cannot be read (OverflowError('too big'))"


def test_a_long_file_is_decoded_once_for_all_its_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.m4a"
    path.write_bytes(with_ffmpeg(np.tile(BOTH, 10), "ipod", "aac"))
    whole, opened, original = load_audio_file(path)[0][0], [], av.open
    monkeypatch.setattr(decoding.av, "open", lambda *args, **options: opened.append(1) or original(*args, **options))
    starts = [0.5 * place for place in range(34)]
    utterances = [Utterance(f"u{start}", path, "hello", "me", start=start, duration=0.7) for start in starts[::-1]]
    utterances.append(Utterance("behind", path, "hello", "me", start=17.9, duration=3.0))
    cuts, (late,) = ingest.ingest(utterances, tmp_path / "out", Rules())
    assert len(opened) == 1
    assert [cut.id for cut in cuts] == [f"u{start}" for start in starts[::-1]]
    for cut, start in zip(cuts, starts[::-1], strict=True):
        first = round(start * RATE)
        torch.testing.assert_close(load_waveform(cut), whole[first : first + 11_200], atol=1e-4, rtol=0)
    assert late.id == "behind" and "before the utterance does" in late.reason


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_parts_of_vorbis_are_what_the_whole_file_has_there(rate: int) -> None:
    """libsndfile's own seek spoils the first samples of near parts, and is some samples off in the last page."""
    noise = np.random.default_rng(0).standard_normal(90 * rate).astype(np.float32)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, "VORBIS", format="OGG") as output:
        for place in range(0, len(noise) - 1_000, 4_096):  # libsndfile does not take many samples at once
            output.write(0.1 * noise[place : place + 4_096])
    content = file.getvalue()
    ((whole, _),) = decode(content)
    near = [(0.37 * place, 0.2) for place in range(20)] + [(7.2, 1.0), (7.3, 0.5)]  # the last two overlap
    far = [(12.0, 0.5), (15.1, 0.5), (40.0, 0.5), (75.0, 0.5), (89.0, 0.2), (89.5, 0.2)]
    alone = [found for part in far for found in decode(content, [part])]
    for (start, duration), (part, _) in zip(
        [*near, *far, *far], [*decode(content, [*near, *far]), *alone], strict=True
    ):
        first = round(start * rate)
        torch.testing.assert_close(part, whole[:, first : first + round(duration * rate)], atol=1e-5, rtol=0)


def test_no_other_file_is_opened_for_a_list_of_files(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(wav(LOW))
    for name, line in (
        ("list.m3u8", "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"),
        ("list.wav", "ffconcat version 1.0\nfile {}\n"),
    ):
        (tmp_path / name).write_text(line.format(tmp_path / "sound.wav"))
        with pytest.raises(AudioError, match="corrupt or of an unknown format"):
            load_audio_file(tmp_path / name)


@pytest.mark.parametrize("name", ["FLAC without length", "joined MP3", "WebM", "FLAC"])
def test_no_more_is_decoded_than_allowed(name: str) -> None:
    content = WHOLE.get(name, (CUT.get(name, b""),))[0]
    with pytest.raises(AudioError, match="audio must last at most 0.5 s, but lasts"):
        list(decode(content, bounds=Bounds(max_seconds=0.5)))
    ((waveform, _),) = decode(content, bounds=Bounds(max_seconds=10))
    assert waveform.shape[1] > 0.9 * RATE


def test_the_length_of_a_file_is_known_only_if_it_tells(tmp_path: Path) -> None:
    first, second, third = files(
        tmp_path, {"a.flac": CUT["FLAC without length"], "b.wav": wav(LOW), "c.webm": CUT["WebM"]}
    )
    assert declared_seconds(first.path) is None and declared_seconds(tmp_path / "none.wav") is None
    assert declared_seconds(second.path) == 1.0 and declared_seconds(third.path) == pytest.approx(1.8, abs=0.03)


def test_all_that_is_audio_by_its_name_is_read_from_a_folder(tmp_path: Path) -> None:
    webm, caf = CUT["WebM"], CUT["CAF"]
    contents = {
        **{"a.webm": webm, "b.mp4": with_ffmpeg(BOTH, "mp4", "aac"), "c.m4a": CUT["M4A"], "d.caf": caf},
        **{"e.sph": CUT["SPHERE"], "f.oga": CUT["Vorbis"], "g.w64": CUT["Wave64"], "H.MP3": CUT["MP3"]},
        **{"i.mka": with_ffmpeg(BOTH, "matroska", "libopus", 48_000), "j.mkv": with_ffmpeg(BOTH, "matroska", "aac")},
        **{"k.ac3": with_ffmpeg(BOTH, "ac3", "ac3", 48_000), "l.eac3": with_ffmpeg(BOTH, "eac3", "eac3", 48_000)},
        **{"m.mp2": with_ffmpeg(BOTH, "mp2", "mp2", 48_000), "n.wv": with_ffmpeg(BOTH, "wv", "wavpack")},
        **{"o.amr": with_ffmpeg(BOTH, "amr", "libopencore_amrnb", 8_000), "p.tta": with_ffmpeg(BOTH, "tta", "tta")},
        **{"q.mov": with_ffmpeg(BOTH, "mov", "aac"), "r.3gp": with_ffmpeg(BOTH, "3gp", "aac")},
    }
    files(tmp_path, contents)
    for name in contents:
        (tmp_path / name).with_suffix(".txt").write_text("hello")
    cuts, skipped = ingest.ingest(read_folder(tmp_path)[0], tmp_path / "out", Rules(min_sample_rate=8_000))
    assert not skipped and len(cuts) == len(contents)
    assert all(len(load_waveform(cut)) == pytest.approx(1.8 * RATE, abs=0.16 * RATE) for cut in cuts)


def film(container: str, begins: float) -> bytes:
    """Pictures from 0 on, ten a second, and a sweep that begins later."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        pictures, sound = output.add_stream("mpeg4", rate=10), output.add_stream("aac", rate=RATE, layout="mono")
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        for number in range(round(10 * begins) + 10):
            picture = av.VideoFrame.from_ndarray(np.full((48, 32), 128, np.uint8), format="yuv420p")
            picture.pts = number
            output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
        for start in range(0, len(LOW) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(LOW[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = start + round(begins * RATE)
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_times_of_films_count_from_their_beginning(container: str) -> None:
    ((whole, rate),) = decode(film(container, 1.5))
    first = int((whole[0].abs() > 0.05).int().argmax())
    assert rate == RATE and first / RATE == pytest.approx(1.5, abs=0.02)
    ((part, _),) = decode(film(container, 1.5), [(1.6, 0.5)])
    assert torch.equal(part, whole[:, round(1.6 * RATE) : round(2.1 * RATE)])
    ((at_once, _),) = decode(film(container, 0.0))
    assert at_once.shape[1] == pytest.approx(len(LOW), abs=2_048)


def test_a_recording_that_begins_late_is_not_truncated() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=48_000, layout="mono")
        resampler = av.AudioResampler("flt", "mono", 48_000, 960)
        frame = av.AudioFrame.from_ndarray(LOW[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 2 * RATE, Fraction(1, RATE)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(part))
    ((waveform, rate),) = decode(file.getvalue())
    assert waveform.shape[1] / rate == pytest.approx(1.0, abs=0.05)
