import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from spiritlm_pl.cli.main import guarded, run
from spiritlm_pl.cli.prepare.synthetic import stories, styles, text
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, phone_alignment, word_alignment
from spiritlm_pl.corpora.synthetic.espeak import UnsayableError, Voice, partition, speaker
from spiritlm_pl.corpora.synthetic.spoken import Line, speak_line
from spiritlm_pl.corpora.synthetic.stories import vocabulary, write_stories


def test_every_word_has_its_own_time_also_where_espeak_merges() -> None:
    spoken = speaker().speak("The fox sat in the 42 woods. It is out of the way.", Voice("en-us"))
    assert [w.text for w in spoken.words] == "the fox sat in the forty two woods it is out of the way".split()
    assert all(w.end - w.start > 0.02 for w in spoken.words)
    assert all(b.start >= a.end for a, b in zip(spoken.words, spoken.words[1:], strict=False))
    assert spoken.words[-1].end <= len(spoken.samples) / spoken.sample_rate
    the = [p.text for p in spoken.phones if spoken.words[4].start <= p.start < spoken.words[4].end]
    assert the[0] == "D"


def test_words_with_vowel_signs_are_said_whole(tmp_path: Path) -> None:
    file = tmp_path / "hi.txt"
    file.write_text("आज मौसम अच्छा है। वह किताब पढ़ती है। तुम कहाँ हो?", encoding="utf-16")
    text(str(file), str(tmp_path / "out"), voices=("hi",), num_jobs=1)
    cuts = [cut for split in SPLITS for cut in load_cuts(tmp_path / "out", split)]
    assert {cut.supervisions[0].text for cut in cuts} == {
        unicodedata.normalize("NFC", words) for words in ("आज मौसम अच्छा है", "वह किताब पढ़ती है", "तुम कहाँ हो")
    }
    book = next(cut for cut in cuts if "किताब" in str(cut.supervisions[0].text))
    times = word_alignment(book)[1]
    phones = [phone.text for phone in phone_alignment(book) if times.start <= phone.start < times.end]
    assert phones == ["k", "I", "t", "a:", "b"]


def test_numbers_are_said_in_the_language_of_the_voice() -> None:
    assert [w.text for w in speaker().speak("42 Hunde", Voice("de")).words] == ["zweiundvierzig", "hunde"]


def test_partition_fits_phones() -> None:
    assert partition(list("InD@"), [list("In"), list("D@")]) == [slice(0, 2), slice(2, 4)]
    assert partition(list("ab"), [list("abc"), list("x")]) == [slice(0, 1), slice(1, 2)]


def test_unknown_voice() -> None:
    for name in ("nowhere", "en-us+nobody"):
        with pytest.raises(ValueError, match="voice must be"):
            speaker().set_voice(Voice(name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stories", "OUT", "--voices", "nobody"], "--voices must be of eSpeak NG, such as "),
        (["stories", "OUT", "--voices", "flite-slt"], "but one is 'flite-slt' instead"),
        (["styles", "OUT", "--voices", "nobody"], "--voices must be of eSpeak NG, such as "),
        (["text", "FILE", "OUT", "--voices", "[en-us, nobody]"], "--voices must be of eSpeak NG, such as "),
        (["text", "FILE", "OUT", "--held-out-voices", "nobody"], "--held-out-voices must be of eSpeak NG, such as "),
        (["text", "FILE", "OUT", "--held_out_voices", "flite-x"], "--held-out-voices must be flite-slt, "),
        (["benchmark", "swuggy", "OUT", "--voices", "nobody"], "--voices must be of eSpeak NG, such as "),
    ],
)
def test_errors_of_voices_name_the_option(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "FILE").write_text("Here is a cat.")
    given = [str(tmp_path / word) if word in ("FILE", "OUT") else word for word in words]
    assert guarded(lambda: run(["prepare", *given])) == 2
    told = capsys.readouterr().err
    assert message in told and "'" in told and told.count("\n") == 1


def test_stories_refer_back() -> None:
    found = write_stories(50, seed=3)
    assert write_stories(20, seed=3) == found[:20] and len({s.text for s in found}) == 50
    assert 60 <= len(vocabulary()) <= 75
    for story in found:
        assert story.sentence_ends[-1] == len(story.text.split())
        later = " ".join(story.sentences[2:])
        assert story.animal in story.sentences[0] and story.place in story.sentences[0]
        assert story.thing in story.sentences[1]
        assert sum(word in later for word in (story.animal, story.place, story.thing)) >= 2


def test_story_corpus(tmp_path: Path) -> None:
    stories(str(tmp_path), count=12, validation_fraction=0.1, test_fraction=0.2, num_jobs=1)
    texts = {split: {c.supervisions[0].text for c in load_cuts(tmp_path, split)} for split in SPLITS}
    assert {split: len(members) for split, members in texts.items()} == {"train": 9, "validation": 1, "test": 2}
    assert not texts["train"] & texts["test"]
    for cut in load_cuts(tmp_path, "train"):
        supervision = cut.supervisions[0]
        assert " ".join(w.text for w in word_alignment(cut)) == supervision.text
        assert supervision.custom["sentence_ends"][-1] == len(word_alignment(cut))
        assert len(phone_alignment(cut)) > len(word_alignment(cut))
        assert cut.sampling_rate == 16_000


def test_text_corpus_and_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("One is here. Two are there! One is here. 😀 Three 3 said so.")
    text(str(file), str(tmp_path / "out"), num_jobs=1)
    assert sum(len(load_cuts(tmp_path / "out", split)) for split in SPLITS) == 3
    file.write_text(" \n")
    with pytest.raises(ValueError, match="must hold words"):
        text(str(file), str(tmp_path / "out"))
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="UTF-8"):
        text(str(file), str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError):
        text(str(tmp_path / "none.txt"), str(tmp_path / "out"))


def test_lines_without_sentence_ends_are_no_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lines.txt"
    lines = [f"{animal} sat on the {place}" for animal in ("a cat", "a dog", "a pig") for place in "abcdefghijklmnop"]
    file.write_text("\n".join(lines) + "\n\nOne is here.\n")
    text(str(file), str(tmp_path / "out"), validation_fraction=0.0, test_fraction=0.0, num_jobs=1)
    assert [cut.supervisions[0].text for cut in load_cuts(tmp_path / "out", "train")] == ["one is here"]
    assert "1 skipped" in capsys.readouterr().out
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="at most 200 words, but has 288 instead: end sentences with"):
        text(str(file), str(tmp_path / "out"), num_jobs=1, overwrite=True)


def test_foreign_voices_say_no_english_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("Mam dwa psy.\n\nMam 42 koty.\n\nTo jest dom.")
    text(str(file), str(tmp_path / "out"), voices=("pl",), test_fraction=0.0, num_jobs=1)
    texts = {c.supervisions[0].text for split in SPLITS for c in load_cuts(tmp_path / "out", split)}
    assert texts == {"mam dwa psy", "to jest dom"} and "1 skipped" in capsys.readouterr().out
    file.write_text("Mam 42 koty.")
    with pytest.raises(ValueError, match="all were skipped .*voice pl, but has '42'"):
        text(str(file), str(tmp_path / "out"), voices=("pl",), num_jobs=1, overwrite=True)


@pytest.mark.parametrize("make", [stories, styles])
def test_audio_is_the_same_for_any_number_of_processes(make, tmp_path: Path) -> None:
    size = {"count": 6} if make is stories else {"sentences": 6}
    for jobs in (1, 2):
        make(str(tmp_path / str(jobs)), **size, num_jobs=jobs)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / jobs / "audio").rglob("*.wav")} for jobs in "12"
    )
    assert len(first) == 6 and first == second


def test_a_line_sounds_the_same_whatever_was_said_before(tmp_path: Path) -> None:
    last = Line("last", "The brown fox sat in the woods.", Voice("en-us+whisper"), tmp_path / "alone.wav")
    speak_line(last)
    speak_line(Line("first", "A horse saw it.", Voice("en-gb+m3"), tmp_path / "first.wav"))
    speak_line(replace(last, path=tmp_path / "after.wav"))
    assert (tmp_path / "alone.wav").read_bytes() == (tmp_path / "after.wav").read_bytes()


@pytest.mark.parametrize("text", ["你好世界。", "Привет, как дела?", "The letter Ω was next."])
def test_an_english_voice_does_not_spell_letters_of_other_scripts(text: str) -> None:
    with pytest.raises(UnsayableError, match="text must be in Latin letters for voice en-us"):
        speaker().speak(text, Voice("en-us"))
    assert speaker().speak("A naïve fiancée.", Voice("en-us")).words
    assert speaker().speak("Привет", Voice("ru")).words
