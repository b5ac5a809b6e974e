"""MP3s that were joined, with the tags that stood before and behind each."""

import io
import struct

import numpy as np
import pytest
import soundfile
import torch

from spiritlm_pl.corpora.containers import AudioError
from spiritlm_pl.corpora.decoding import decode
from spiritlm_pl.corpora.mp3 import read_mp3, without_tags

RATE = 16_000
ID3V1 = b"TAG" + b"a title".ljust(30, b"\0") + bytes(94) + b"\x0c"
LYRICS = b"LYRICSBEGININD0000200EAL00005album000034LYRICS200"


def tone(first: float, last: float, seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * (first + (last - first) * time / seconds / 2) * time)).astype(np.float32)


def encoded(samples: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="MP3", **options)
    return file.getvalue()


SOUNDS = tone(300, 800, 1.0), tone(900, 1_500, 0.8), tone(1_600, 2_000, 0.6)
PARTS = [encoded(sound) for sound in SOUNDS]


def id3(mp3: bytes, padding: int = 0, footer: bool = False) -> bytes:
    body = b"\0image/jpeg\0\3\0\xff\xfb\x90\x00\xff\xf3\x88\xc4" + b"\xff\xf3\x88\xc4" * 2_000  # looks like frames
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body + bytes(padding)
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    head = (b"\4\0\x10" if footer else b"\3\0\0") + size
    return b"ID3" + head + frame + (b"3DI" + head if footer else b"") + mp3


def ape(mp3: bytes, head: bool = True) -> bytes:
    item = struct.pack("<II", 5, 0) + b"Title\0" + b"hello"

    def end(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2_000, len(item) + 32, 1, flags) + bytes(8)

    return mp3 + (end(0xA0000000) if head else b"") + item + end(0x80000000 if head else 0)


TAGGED = {
    "none": lambda mp3: mp3,
    "ID3v2": id3,
    "ID3v2, padded": lambda mp3: id3(mp3, 3_000),
    "ID3v2.4 with a footer": lambda mp3: id3(mp3, footer=True),
    "ID3v1": lambda mp3: mp3 + ID3V1,
    "APE": ape,
    "APE without a head": lambda mp3: ape(mp3, head=False),
    "Lyrics3": lambda mp3: mp3 + LYRICS + ID3V1,
    "all": lambda mp3: id3(ape(mp3) + LYRICS + ID3V1, 100),
}


@pytest.mark.parametrize("name", TAGGED)
def test_joined_mp3s_are_read_to_their_end(name: str) -> None:
    content = b"".join(map(TAGGED[name], PARTS))
    ((waveform, rate),) = decode(content)
    assert rate == RATE
    found, begin = waveform[0].numpy(), 0
    for sound in SOUNDS:  # each where it should be, but for what the encoder adds
        match = np.correlate(found, sound[2_000:-2_000], "valid")
        place = int(match.argmax())
        assert place == pytest.approx(begin + 2_000, abs=0.16 * RATE)
        power = (sound[2_000:-2_000] ** 2).sum()
        assert match.max() / power > 0.9
        begin = place - 2_000 + len(sound)
    ((part, _),) = decode(content, [(1.2, 0.3)])
    assert torch.equal(part, waveform[:, round(1.2 * RATE) :][:, : round(0.3 * RATE)])


@pytest.mark.parametrize("name", TAGGED)
def test_a_last_part_that_ends_too_early_is_refused(name: str) -> None:
    content = b"".join(map(TAGGED[name], PARTS[:2])) + PARTS[2][: len(PARTS[2]) // 3]
    with pytest.raises(AudioError, match="truncated|damaged"):
        list(decode(content))


@pytest.mark.parametrize("rest", [1, 400, 1_000])
def test_a_part_of_which_little_is_there_is_refused(rest: int) -> None:
    last = id3(PARTS[1])
    content = id3(PARTS[0]) + last[: len(last) - len(PARTS[1]) + PARTS[1].find(PARTS[1][:2], 4) + rest]
    with pytest.raises(AudioError, match="truncated|damaged"):
        list(decode(content))
    with pytest.raises(AudioError, match="truncated|damaged"):
        list(decode(id3(PARTS[0][:1_500]) + last))


def test_the_table_of_a_tool_that_joins_is_of_all_parts() -> None:
    first, rest = PARTS[0], id3(PARTS[1]) + id3(PARTS[2])
    place = max(first.find(b"Xing"), first.find(b"Info")) + 8
    total = sum(struct.unpack(">I", part[place : place + 4])[0] for part in PARTS)
    joined = first[:place] + struct.pack(">I", total) + first[place + 4 :] + rest
    assert read_mp3(io.BytesIO(joined)).seconds == read_mp3(io.BytesIO(first + rest)).seconds
    ((waveform, _),) = decode(joined)
    assert waveform.shape[1] == pytest.approx(2.4 * RATE, abs=0.3 * RATE)  # encoders add to each
    with pytest.raises(AudioError, match="truncated"):
        list(decode(joined[: -len(PARTS[2]) * 2 // 3]))


def test_what_lies_between_parts_and_is_no_tag_is_refused() -> None:
    for between in (b"U" * 3_000, b"<html>not found</html>" * 100, PARTS[0][:300]):
        with pytest.raises(AudioError, match="damaged|truncated"):
            list(decode(PARTS[0] + between + id3(PARTS[1])))


def test_stretches_are_one_file() -> None:
    content = id3(PARTS[0]) + ID3V1 + id3(PARTS[1])
    file = io.BytesIO(content)
    mp3 = read_mp3(file)
    assert [content[begin:end] for begin, end in mp3.sound] == [id3(PARTS[0]), PARTS[1]]
    assert mp3.seconds == pytest.approx(1.8, abs=0.2)
    joined = without_tags(file, mp3)
    whole = id3(PARTS[0]) + PARTS[1]
    assert joined.read() == whole
    for place in (0, 7, len(whole) - len(PARTS[1]) - 2, len(whole) - 3, len(whole)):
        joined.seek(place)
        assert joined.read(9) == whole[place : place + 9]
    assert joined.seek(-5, io.SEEK_END) == len(whole) - 5 and joined.read() == whole[-5:]
    for other in (b"", b"RIFF" * 20, PARTS[0], id3(b"")):
        file = io.BytesIO(other)
        assert without_tags(file, read_mp3(file)) is file
