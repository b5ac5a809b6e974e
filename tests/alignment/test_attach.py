import pytest
from lhotse import MonoCut
from lhotse.supervision import AlignmentItem
from lhotse.utils import fastcopy

from spiritlm_pl.alignment.attach import attach_alignment, cut_alignment, match_words
from spiritlm_pl.alignment.contract import Aligned, AlignmentError
from spiritlm_pl.alignment.words import AlignedWord
from spiritlm_pl.corpora.manifest import Word, make_cut, phone_alignment, word_alignment


def cut_of(text: str, seconds: float = 2.0) -> MonoCut:
    return make_cut("a", "a.wav", sample_rate=16_000, num_samples=round(seconds * 16_000), text=text, speaker="s")


def evenly(*words: str) -> list[Word]:
    return [Word(word, i / 10, (i + 1) / 10) for i, word in enumerate(words)]


def attached(cut: MonoCut | str) -> MonoCut:
    assert isinstance(cut, MonoCut), cut
    return cut


def test_words_and_phones_come_to_the_cut_with_scores() -> None:
    words = [AlignedWord("hello", 0.1, 0.5, 0.75), AlignedWord("WORLD", 0.5, 1.0)]
    cut = attached(attach_alignment(cut_of("Hello, world!"), Aligned([*words], [Word("HH", 0.1, 0.2)])))
    assert word_alignment(cut) == [Word("Hello,", 0.1, 0.5), Word("world!", 0.5, 1.0)]
    assert phone_alignment(cut) == [Word("HH", 0.1, 0.2)]
    alignment = cut.supervisions[0].alignment
    assert alignment is not None
    assert [item.score for item in alignment["word"]] == [0.75, None]
    assert MonoCut.from_dict(cut.to_dict()) == cut
    without = attached(attach_alignment(cut, Aligned([*words])))
    assert phone_alignment(without) == [] and "phone" not in (without.supervisions[0].alignment or {})


@pytest.mark.parametrize(
    ("text", "aligned", "expected"),
    [
        ("Dial 42 now", ["dial", "forty", "two", "now"], ["Dial", "42", "now"]),
        ("dial forty two", ["dial", "42"], ["dial", "forty two"]),
        (
            "It's at the well-known door",
            ["it", "'s", "at the", "well-known", "door"],
            ["It's", "at the", "well-known", "door"],
        ),
        ("we cannot go", ["we", "can", "not", "go"], ["we", "cannot", "go"]),
        ("see Zworykin there", ["see", "<unk>", "there"], ["see", "Zworykin", "there"]),
        ("oh 🙂 yes [laughs loudly]", ["sil", "oh", "<eps>", "yes", "[noise]"], ["oh", "yes"]),
        ("for $ 5 only", ["for", "five", "dollars", "only"], ["for", "five", "dollars", "only"]),
    ],
)
def test_the_same_words_split_otherwise(text: str, aligned: list[str], expected: list[str]) -> None:
    words = match_words(text, evenly(*aligned))
    assert [word.text for word in words] == expected
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)


def test_group_spans_its_members_with_the_lowest_score() -> None:
    said = [AlignedWord("forty", 0.2, 0.4, 0.9), AlignedWord("two", 0.5, 0.7, 0.6)]
    assert match_words("42", said) == [AlignedWord("42", 0.2, 0.7, 0.6)]


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
        ("", ["the"], "transcript has no words"),
    ],
)
def test_words_that_differ_give_a_reason(text: str, aligned: list[str], reason: str) -> None:
    with pytest.raises(AlignmentError, match=reason):
        match_words(text, evenly(*aligned))
    result = attach_alignment(cut_of(text), Aligned(evenly(*aligned)))
    assert isinstance(result, str) and "\n" not in result


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
    result = attach_alignment(cut_of("a b"), Aligned(words))
    assert isinstance(result, str) and result.startswith(reason)
    result = attach_alignment(cut_of("a b"), Aligned([Word("a", 0, 1), Word("b", 1, 2)], words))
    assert isinstance(result, str) and result.startswith(reason)


def test_small_overshoot_is_clipped() -> None:
    words = [Word("a", -0.02, 0.53), Word("b", 0.5, 2.04)]
    cut = attached(attach_alignment(cut_of("a b"), Aligned(words)))
    assert word_alignment(cut) == [Word("a", 0.0, 0.53), Word("b", 0.53, 2.0)]
    assert isinstance(attach_alignment(cut_of("a b"), Aligned(words), tolerance=0.0), str)


def test_cut_out_of_an_aligned_recording() -> None:
    whole = cut_of("one two three four", seconds=4.0)
    recording = Aligned(
        [Word(w, float(i), i + 0.75) for i, w in enumerate(["one", "two", "three", "four"])],
        [Word(p, i / 2, i / 2 + 0.5) for i, p in enumerate("abcdefgh")],
    )
    middle = whole.truncate(offset=1.0, duration=2.0)
    middle = fastcopy(middle, supervisions=[fastcopy(middle.supervisions[0], text="two three")])
    cut = attached(attach_alignment(middle, recording, of_recording=True))
    assert word_alignment(cut) == [Word("two", 0.0, 0.75), Word("three", 1.0, 1.75)]
    assert [phone.text for phone in phone_alignment(cut)] == list("cdef")


def test_alignment_that_a_cut_already_has() -> None:
    cut = cut_of("Hi there")
    with pytest.raises(AlignmentError, match="no word alignment"):
        cut_alignment(cut)
    items = {
        "words": [AlignmentItem("", 0.0, 0.5), AlignmentItem("HI", 0.5, 0.5, 0.9), AlignmentItem("THERE", 1.0, 1.0)],
        "phones": [AlignmentItem("sil", 0.0, 0.5), AlignmentItem("HH", 0.5, 0.5)],
    }
    cut = fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], alignment=items)])
    found = cut_alignment(cut)
    assert found.words == [AlignedWord("HI", 0.5, 1.0, 0.9), AlignedWord("THERE", 1.0, 2.0)]
    cut = attached(attach_alignment(cut, found))
    assert word_alignment(cut) == [Word("Hi", 0.5, 1.0), Word("there", 1.0, 2.0)]
    assert set(cut.supervisions[0].alignment or {}) == {"word", "phone"}


def test_two_supervisions_are_reported() -> None:
    cut = cut_of("a")
    cut = fastcopy(cut, supervisions=cut.supervisions * 2)
    result = attach_alignment(cut, Aligned([Word("a", 0, 1)]))
    assert result == "cut must have one supervision, but has 2 instead"
