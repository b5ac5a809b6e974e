from pathlib import Path

import pytest

from spiritlm_pl.alignment.ctm import read_ctm
from spiritlm_pl.corpora.word_times import AlignedWord


def test_words_by_recording_and_channel(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(
        ";; made by hand\n\n"
        "talk A 1.5 0.25 world 0.5\n"
        "talk A 1.0 0.5 Hello NA\n"
        "talk B 0 1 yes\n"
        "talk A 1.75 1.0 <eps> 1.0\n"
        "other 1 .5 2e-1 naïve 1 lex speaker_1\n"
    )
    words = read_ctm(path)
    assert words == {
        ("talk", "A"): [AlignedWord("Hello", 1.0, 1.5), AlignedWord("world", 1.5, 1.75, 0.5)],
        ("talk", "B"): [AlignedWord("yes", 0.0, 1.0)],
        ("other", "1"): [AlignedWord("naïve", 0.5, 0.7, 1.0)],
    }


def test_recording_of_silence_is_there_without_words(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text("quiet 1 0 3 SIL\n")
    assert read_ctm(path) == {("quiet", "1"): []}


def test_a_no_break_space_is_part_of_a_word(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text("talk A 0 1 10\u00a0000\ntalk\tA\t1  1 東京\u3000都 0.5 \n")
    words = [AlignedWord("10\u00a0000", 0.0, 1.0), AlignedWord("東京\u3000都", 1.0, 2.0, 0.5)]
    assert read_ctm(path) == {("talk", "A"): words}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("talk A 1.0 0.5", "line 2 of .*a.ctm must have file, channel, start, duration, word, but has 4 fields"),
        ("talk A one 0.5 word", "start and duration in seconds, but has 'one' and '0.5'"),
        ("talk A 1.0 -0.5 word", "start and duration from 0, but has 1.0 and -0.5"),
        ("talk A nan 0.5 word", "start and duration from 0"),
        ("talk A 1.0 0.5 word high", "a number or NA as score, but has 'high'"),
        ("talk A * * <ALT_BEGIN>", "alternatives"),
    ],
)
def test_bad_lines_are_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(f"talk A 0 1 word\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_ctm(path)
