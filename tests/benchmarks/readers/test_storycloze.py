"""StoryCloze in every layout and direction; cuts of whole stories are at the right word."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spiritlm_pl.benchmarks.items import ChoiceItem, Reading, check_unique
from spiritlm_pl.benchmarks.readers import storycloze
from spiritlm_pl.benchmarks.readers.word_cuts import WordTimes, cut_time, shared_words
from spiritlm_pl.corpora.audio import load_waveform, save_wav
from spiritlm_pl.corpora.manifest import Word, make_cut, save_corpus
from spiritlm_pl.generation.types import Piece, Speech, Text

Noise = Callable[[Path], Path]
STORIES = {
    "s1": ("Tom had a dog. It ran away.", "Tom was sad.", "Tom went to the moon."),
    "s2": ("Eve bakes bread.", "She sells it!", "She sold it!"),
    "s3": ("Ann sings.", "People listen.", "Fish fly."),
}
RATE = 16_000
SECONDS = 0.25  # of each word


def audio_of(piece: Piece) -> Path:
    assert isinstance(piece, Speech) and isinstance(piece.audio, Path)
    return piece.audio


def texts(item: ChoiceItem) -> tuple[str, ...]:
    pieces = (*item.context, *item.right, *item.wrong)
    return tuple(piece.text for piece in pieces if isinstance(piece, Text))


def value(waveform: torch.Tensor) -> list[int]:
    """The numbers of the words, each of which is spoken as that many hundredths."""
    return (waveform[RATE // 8 :: RATE // 4] * 100).round().int().tolist()


def speak(path: Path, text: str) -> Path:
    """Each word is as loud as its number says."""
    words = [torch.full((round(SECONDS * RATE),), (number + 1) / 100) for number in range(len(text.split()))]
    save_wav(path, torch.cat(words))
    return path


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    folder = tmp_path / "sSC"
    for number, (story, (beginning, right, wrong)) in enumerate(STORIES.items()):
        for offset, name, ending in ((0, "correct", right), (1, "incorrect", wrong)):
            stem = f"{2 * number + offset}_{story}_{name}"
            speak(folder / f"{stem}.wav", f"{beginning} {ending}")
            (folder / f"{stem}.txt").write_text(f"{beginning} {ending}\n")
    return folder


@pytest.fixture
def word_times(flat: Path, tmp_path: Path) -> Path:
    cuts = []
    for path in sorted(flat.glob("*.wav")):
        text = path.with_suffix(".txt").read_text()
        words = [
            Word(word.strip(".!").upper(), number * SECONDS, (number + 1) * SECONDS - 0.02)
            for number, word in enumerate(text.split())
        ]
        samples = len(load_waveform(path))
        cuts.append(
            make_cut(
                path.stem, path, sample_rate=RATE, num_samples=samples, text=text.strip(), speaker="a", words=words
            )
        )
    save_corpus(tmp_path / "aligned", {"test": cuts}, name="stories", source="made", licence="none")
    return tmp_path / "aligned"


def test_whole_stories_of_speech_stay_whole(flat: Path) -> None:
    reading = storycloze.read(flat)
    assert reading.layout == "flat" and [item.id for item in reading.items] == ["s1", "s2", "s3"]
    item = reading.items[1]
    assert item.context == () and item.names == ("2_s2_correct", "3_s2_incorrect")
    assert item.labels == {"story": "s2", "voice": None}
    assert audio_of(item.right[0]) == flat / "2_s2_correct.wav"
    assert reading.notes == ["recordings of whole stories are scored from their beginning"]


def test_whole_texts_are_cut_after_shared_sentences(flat: Path) -> None:
    reading = storycloze.read(flat, "text_to_text")
    assert [texts(item) for item in reading.items] == [
        ("Tom had a dog. It ran away.", "Tom was sad.", "Tom went to the moon."),
        ("Eve bakes bread.", "She sells it!", "She sold it!"),
        ("Ann sings.", "People listen.", "Fish fly."),
    ]
    assert reading.notes == []


@pytest.mark.parametrize("whole", [True, False])
def test_speech_is_cut_at_the_ending(flat: Path, word_times: Path, tmp_path: Path, whole: bool) -> None:
    source = word_times if whole else word_times / "cuts_test.jsonl.gz"
    reading = storycloze.read(flat, "text_to_speech", word_times=source, cache=tmp_path / "cache")
    item = reading.items[0]
    assert texts(item) == ("Tom had a dog. It ran away.",)
    endings = [value(load_waveform(audio_of(piece))) for piece in (item.right[0], item.wrong[0])]
    assert endings == [[8, 9, 10], [8, 9, 10, 11, 12]]
    reading = storycloze.read(flat, "speech_to_text", word_times=source, cache=tmp_path / "cache")
    item = reading.items[1]
    assert texts(item) == ("She sells it!", "She sold it!")
    assert value(load_waveform(audio_of(item.context[0]))) == [1, 2, 3]


def test_cuts_are_written_once(flat: Path, word_times: Path, tmp_path: Path) -> None:
    def read() -> Reading:
        return storycloze.read(flat, "text_to_speech", word_times=word_times, cache=tmp_path / "cache")

    path = audio_of(read().items[0].right[0])
    before = path.stat().st_mtime_ns
    assert audio_of(read().items[0].right[0]) == path and path.stat().st_mtime_ns == before
    speak(flat / "0_s1_correct.wav", "a b c d e f g h i j")
    again = audio_of(read().items[0].right[0])
    assert again != path and again.name.startswith("0_s1_correct-")


def test_what_a_direction_needs_is_named(flat: Path, word_times: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text_to_speech needs beginnings and endings apart.*give word_times"):
        storycloze.read(flat, "text_to_speech")
    with pytest.raises(ValueError, match="cache must be a folder to write cuts"):
        storycloze.read(flat, "speech_to_text", word_times=word_times)
    with pytest.raises(ValueError, match="direction must be one of text_to_text.*but is 'sideways'"):
        storycloze.read(flat, "sideways")
    with pytest.raises(FileNotFoundError, match="word_times must be a corpus folder or one of its files"):
        storycloze.read(flat, "text_to_speech", word_times=flat / "0_s1_correct.txt", cache=tmp_path)
    with pytest.raises(FileNotFoundError, match="word_times must be a corpus folder with cuts_train"):
        storycloze.read(flat, "text_to_speech", word_times=flat, cache=tmp_path)


def test_a_corpus_without_word_times_is_refused(flat: Path, tmp_path: Path) -> None:
    path = flat / "0_s1_correct.wav"
    cut = make_cut("a", path, sample_rate=RATE, num_samples=len(load_waveform(path)), text="a", speaker="a")
    save_corpus(tmp_path / "plain", {"test": [cut]}, name="stories", source="made", licence="none")
    with pytest.raises(ValueError, match="must hold word times, but has none: run `spiritlm align`"):
        storycloze.read(flat, "text_to_speech", word_times=tmp_path / "plain", cache=tmp_path)


def test_stories_that_cannot_be_cut_are_skipped(flat: Path, word_times: Path, tmp_path: Path) -> None:
    (flat / "1_s1_incorrect.txt").write_text("Nobody had a dog. Tom went to the moon.")
    (flat / "2_s2_correct.txt").write_text("Eve bakes rolls. She sells it!")
    (flat / "3_s2_incorrect.txt").write_text("Eve bakes rolls. She sold it!")
    reading = storycloze.read(flat, "text_to_speech", word_times=word_times, cache=tmp_path / "cache")
    assert [item.id for item in reading.items] == ["s3"]
    assert "do not begin with the same sentence" in reading.skipped[0].reason
    assert "is 'rolls', but is 'BREAD' in the alignment" in reading.skipped[1].reason
    (flat / "5_s3_incorrect.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match="must hold stories that can be read, but holds none: story s1"):
        storycloze.read(flat, "text_to_speech", word_times=word_times, cache=tmp_path / "cache")


def test_missing_files_texts_and_strangers(flat: Path, noise: Noise) -> None:
    (flat / "1_s1_incorrect.wav").unlink()
    (flat / "3_s2_incorrect.wav").unlink()
    (flat / "3_s2_incorrect.txt").unlink()
    noise(flat / "music.wav")
    reading = storycloze.read(flat)
    assert [item.id for item in reading.items] == ["s3"]
    assert {one.id: one.reason.split(" of ")[0] for one in reading.skipped} == {
        "s1": "story s1 cannot be used: the recording",
        "s2": "story s2",
    }
    assert any("lacks its wrong ending" in one.reason for one in reading.skipped)
    assert "1 files that belong to no story: music.wav" in reading.notes[0]
    for path in flat.glob("*_s[12]_*"):
        path.unlink()
    (flat / "5_s3_incorrect.txt").unlink()
    with pytest.raises(ValueError, match="story s3 cannot be used: the text of its wrong ending is missing"):
        storycloze.read(flat, "text_to_text")


def test_texts_alone_and_stories_of_one_name(flat: Path, noise: Noise) -> None:
    for path in flat.glob("*.wav"):
        path.unlink()
    (flat / "6_s3_correct.txt").write_text("Ann sings. People leave.")
    (flat / "7_s3_incorrect.txt").write_text("Ann sings. Cows fly.")
    items = storycloze.read(flat, "text_to_text").items
    assert {item.id: texts(item)[1] for item in items} == {
        "s1": "Tom was sad.",
        "s2": "She sells it!",
        "4_s3": "People listen.",
        "6_s3": "People leave.",
    }


def test_two_benchmarks_in_one_folder_are_refused(flat: Path, noise: Noise) -> None:
    for name in ("0_a_correct", "1_a_incorrect"):
        noise(flat.parent / "tSC" / f"{name}.wav")
    with pytest.raises(ValueError, match="must hold one benchmark, but holds sSC and tSC: give one of them"):
        storycloze.read(flat.parent)
    (flat.parent / "README.md").touch()
    topic = storycloze.read_topic(flat.parent)
    assert [item.id for item in topic.items] == ["a"] and not topic.notes[1:]
    assert [item.id for item in storycloze.read_spoken(flat.parent).items] == [
        item.id for item in storycloze.read_spoken(flat).items
    ]
    for reader, folder in ((storycloze.read_topic, flat), (storycloze.read_spoken, flat.parent / "tSC")):
        with pytest.raises(ValueError, match=r"must hold .*StoryCloze \(.StoryCloze\), but holds .SC"):
            reader(folder)


def test_cross_modal_files_of_two_voices(tmp_path: Path, noise: Noise) -> None:
    for voice in ("ann", "bob"):
        for base in ("x_1", "x_2"):
            for part in ("mutual", "correct", "incorrect"):
                noise(tmp_path / voice / f"{base}_{part}.wav")
                (tmp_path / voice / f"{base}_{part}.txt").write_text(f"{base} {part}.")
    reading = storycloze.read(tmp_path, "text_to_speech")
    assert reading.layout == "cross-modal" and len(reading.items) == 4
    item = reading.items[3]
    assert (item.id, item.labels) == ("bob/x_2", {"story": "x_2", "voice": "bob"})
    assert texts(item) == ("x_2 mutual.",) and audio_of(item.wrong[0]).name == "x_2_incorrect.wav"
    item = storycloze.read(tmp_path, "speech_to_text").items[0]
    assert audio_of(item.context[0]).name == "x_1_mutual.wav" and texts(item) == ("x_1 correct.", "x_1 incorrect.")
    item = storycloze.read(tmp_path).items[0]
    assert [audio_of(one).stem for one in (*item.context, *item.right)] == ["x_1_mutual", "x_1_correct"]
    assert len(storycloze.read(tmp_path, "text_to_text").items) == 2  # the same in both voices
    (tmp_path / "ann" / "x_1_mutual.txt").unlink()
    assert "text of its beginning is missing" in storycloze.read(tmp_path, "text_to_speech").skipped[0].reason


def test_parquet_of_the_hub(tmp_path: Path, write_parquet: Callable[..., Path]) -> None:
    def rows(*columns: str) -> list[dict[str, object]]:
        found = []
        for story, (beginning, right, wrong) in STORIES.items():
            every = {
                "id": story,
                "correct_text": f"{beginning} {right}",
                "correct_audio": True,
                "negative_text": f"{beginning} {wrong}",
                "negative_audio": True,
            }
            found.append({name: every[name] for name in columns or every})
        return found

    hub = tmp_path / "hub"
    for speaker in ("ann", "bob"):
        write_parquet(hub / "sSC" / speaker / "train-00000-of-00001.parquet", rows())
    reading = storycloze.read(hub, cache=tmp_path / "cache")
    assert [item.id for item in reading.items] == [f"{voice}/{story}" for voice in ("ann", "bob") for story in STORIES]
    assert load_waveform(audio_of(reading.items[5].wrong[0])).shape == (1600,)
    check_unique(reading.items, hub)
    written = storycloze.read(hub, "text_to_text")
    assert [item.id for item in written.items] == ["ann/s1", "ann/s2", "ann/s3"]
    write_parquet(hub / "sSC" / "bob" / "train-00000-of-00001.parquet", rows("id", "correct_audio", "negative_audio"))
    with pytest.raises(ValueError, match="must have columns correct_text, negative_text, but lacks correct_text, nega"):
        storycloze.read(hub, "text_to_text")
    write_parquet(hub / "tSC" / "ann" / "train-00000-of-00001.parquet", rows())
    with pytest.raises(ValueError, match="holds sSC and tSC"):
        storycloze.read(hub, "text_to_text")


@pytest.mark.parametrize(
    ("right", "wrong", "count"),
    [
        ("A b. C d.", "A b. C e.", 2),
        ("A b c", "A b d", 0),
        ('He said "no." She left.', 'He said "no." He left.', 3),
        ("A b\nc d", "A b\nc e", 2),
        ("A b. C.", "A b.", 0),
        ("A. B. C", "A. B. D", 2),
        ("", "", 0),
    ],
)
def test_shared_words(right: str, wrong: str, count: int) -> None:
    assert shared_words(right, wrong) == count


@pytest.mark.parametrize("spelling", ["it's 42 o'clock now", "IT'S FORTY TWO O'CLOCK NOW"])
def test_times_of_words_that_are_spelled_differently(spelling: str) -> None:
    words = [Word(word, float(number), number + 0.8) for number, word in enumerate(spelling.split())]
    count = len(words)
    assert cut_time(words, "It’s 42 o'clock.", "It’s 42 o'clock. Now!") == pytest.approx(count - 1.1)
    with pytest.raises(ValueError, match="before and after its ending is cut off"):
        cut_time(words, "It’s 42 o'clock. Now!", "It’s 42 o'clock. Now!")
    with pytest.raises(ValueError, match="word 1 of the transcript is 'was'"):
        cut_time(words, "Was it", "Was it 42 o'clock now")


def test_recordings_of_one_name_are_told_by_their_path(tmp_path: Path) -> None:
    cuts = []
    for voice, end in (("ann", 0.1), ("bob", 0.2)):
        path = speak(tmp_path / voice / "0_s_correct.wav", "one two")
        words = [Word("one", 0.0, end), Word("two", 0.3, 0.4)]
        cuts.append(
            make_cut(
                f"{voice}-0_s_correct", path, sample_rate=RATE, num_samples=8000, text="a", speaker="a", words=words
            )
        )
    save_corpus(tmp_path / "corpus", {"train": cuts}, name="stories", source="made", licence="none")
    times = WordTimes(tmp_path / "corpus")
    assert times.cut(tmp_path / "bob" / "0_s_correct.wav", "one", "one two") == 0.25
    with pytest.raises(ValueError, match="names several recordings"):
        times.cut(speak(tmp_path / "eve" / "0_s_correct.wav", "one two"), "one", "one two")
    moved = speak(tmp_path / "moved" / "bob" / "0_s_correct.wav", "one two")
    assert times.cut(moved, "one", "one two") == 0.25
    speak(moved, "one two three")
    with pytest.raises(ValueError, match="lasts 0.75 s, but its word times in .* are of a recording of 0.50 s"):
        times.cut(moved, "one", "one two")
