import pytest

from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.text.transcripts import spoken_words, written_tokens
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError, fit_times, spoken_times, token_times


def evenly(*words: str) -> list[Word]:
    return [Word(word, i / 10, (i + 1) / 10) for i, word in enumerate(words)]


@pytest.mark.parametrize(
    ("text", "aligned", "expected"),
    [
        ("Dial 42 now", ["dial", "forty", "two", "now"], [0, 1, 3, 4]),
        ("dial forty two", ["dial", "42"], [0, 1, 1.5, 2]),
        ("at the well-known door", ["at the", "well-known", "door"], [0, 0.4, 1, 2, 3]),
        ("we cannot go", ["we", "can", "not", "go"], [0, 1, 3, 4]),
        ("see Zworykin there", ["see", "<unk>", "there"], [0, 1, 2, 3]),
        (
            "he raised $5 million at 10:00 pm",
            ["he", "raised", "$5", "million", "at", "10:00", "pm"],
            [0, 1, 2, 4, 5, 7],
        ),
        ("it's not Dr. Smith", ["it", "'s", "not", "Dr.", "Smith"], [0, 2, 3, 4, 5]),
        ("oh 🙂 yes [laughs loudly]", ["sil", "oh", "<eps>", "YES", "[noise]"], [1, 3, 4]),
    ],
)
def test_the_same_words_split_otherwise(text: str, aligned: list[str], expected: list[float]) -> None:
    tokens = written_tokens(text.partition(" [")[0])
    words = token_times(tokens, spoken_times(spoken_words(text), evenly(*aligned)), 2.0)
    assert [word.text for word in words] == [token for token, _ in tokens]
    starts = [word.start for word in words]
    assert words[-1].end == pytest.approx(expected[-1] / 10)
    if "at the" not in text and "forty" not in text:
        assert starts == pytest.approx([time / 10 for time in expected[:-1]])
    assert starts == sorted(starts)


def test_token_spans_its_words_with_the_lowest_score() -> None:
    said = [AlignedWord("forty", 0.2, 0.4, 0.9), AlignedWord("two", 0.5, 0.7, 0.6), AlignedWord("go", 0.7, 0.9)]
    assert token_times([("42", ["forty", "two"]), ("go!", ["go"])], said, 1.0) == [
        AlignedWord("42", 0.2, 0.7, 0.6),
        AlignedWord("go!", 0.7, 0.9),
    ]


@pytest.mark.parametrize(
    ("text", "aligned", "reason"),
    [
        ("the red house", ["the", "red", "mouse"], "word 3 of the transcript is 'house', but is 'mouse' in"),
        ("the red house", ["the", "red"], "alignment ends before word 3 of the transcript, 'house'"),
        ("the red", ["the", "red", "house"], "alignment goes on after the transcript, with 'house'"),
        ("the red", ["the", "redder"], "word 2 of the transcript is 'red', but is 'redder'"),
        ("the", [], "alignment ends before word 1"),
        ("forty two", ["forty", "<unk>", "two"], "word 3|after the transcript|word 2"),
        ("🙂 ...", ["the"], "transcript has no words"),
    ],
)
def test_words_that_differ_give_a_reason(text: str, aligned: list[str], reason: str) -> None:
    with pytest.raises(AlignmentError, match=reason):
        spoken_times(spoken_words(text), evenly(*aligned))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([Word("a", 0.0, 0.5), Word("b", 1.9, 2.2)], "'b' lies at 1.900 to 2.200 s, outside of the cut of 2.000 s"),
        ([Word("a", -0.2, 0.5), Word("b", 1.0, 1.5)], "'a' lies at -0.200 to 0.500 s, outside"),
        ([Word("a", 0.0, 0.9), Word("b", 0.5, 1.5)], "'b' lies at 0.500 to 1.500 s, before 'a' ends at 0.900 s"),
        ([Word("a", 0.0, 0.9), Word("b", 0.9, 0.9)], "'b' lies at 0.900 to 0.900 s, without any time of its own"),
    ],
)
def test_times_that_do_not_fit_give_a_reason(words: list[Word], reason: str) -> None:
    with pytest.raises(AlignmentError, match=reason):
        fit_times(words, 2.0)


def test_small_overshoot_is_clipped() -> None:
    words = [Word("a", -0.02, 0.53), AlignedWord("b", 0.5, 2.04, 0.5)]
    assert fit_times(words, 2.0) == [Word("a", 0.0, 0.53), AlignedWord("b", 0.53, 2.0, 0.5)]
