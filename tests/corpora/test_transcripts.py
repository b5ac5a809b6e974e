import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.corpora.numbers import expand_numbers
from spiritlm_pl.corpora.splitting import assign_splits
from spiritlm_pl.corpora.transcripts import split_sentences, spoken_form, spoken_words, unreadable, written_tokens


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("42", "forty two"),
        ("1,234", "one thousand two hundred thirty four"),
        ("28.8", "twenty eight point eight"),
        ("3rd", "third"),
        ("20th", "twentieth"),
        ("1905", "nineteen oh five"),
        ("1990s", "nineteen nineties"),
        ("007", "zero zero seven"),
        ("-5", "minus five"),
        ("2000000", "two million"),
        ("10-20", "ten-twenty"),
    ],
)
def test_numbers(written: str, said: str) -> None:
    assert expand_numbers(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Press * now!", "press star now"),
        ("😀 ... 🎉", ""),
        ("[beep] <noise>", ""),
        ("It’s 3D.", "it's three d"),
        ("$5.50 & 100%", "five point five zero dollars and one hundred percent"),
        ("A.M. Café", "a m café"),
    ],
)
def test_spoken_form(written: str, said: str) -> None:
    assert spoken_form(written, {"*": "star"}) == said


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_spoken_form_is_stable(text: str) -> None:
    said = spoken_words(text)
    assert spoken_words(" ".join(said)) == said
    assert [word for token, words in written_tokens(" ".join(said)) for word in words] == said


def test_split_sentences() -> None:
    assert split_sentences("Hello there. How are\nyou? ...\n\nnew part") == ["Hello there.", "How are you?", "new part"]


def test_splits_are_exact_and_disjoint() -> None:
    splits = assign_splits([i % 100 for i in range(300)], 0.05, 0.1, seed=1)
    names = list(splits.values())
    assert len(splits) == 100 and names.count("test") == 10 and names.count("validation") == 5
    with pytest.raises(ValueError, match="test_fraction must be in"):
        assign_splits([1], 0.1, 1.5, 0)


@pytest.mark.parametrize(
    ("text", "language", "token"),
    [
        ("Mam 42 psy & 3 koty, 5%", "pl", "42"),
        ("dom & ogród", "pl", "&"),
        ("dom & ogród", "polish", "&"),
        ("½ litra", "pl", "1⁄2"),
        ("zażółć, gęślą - jaźń! [5 s]", "pl", None),
        ("press * now", "de", None),
        ("二つ", "ja", None),
        ("I have 42 dogs & 5%", "English", None),
        ("42", "en_GB", None),
    ],
)
def test_numbers_and_symbols_of_other_languages_are_found(text: str, language: str, token: str | None) -> None:
    assert unreadable(text, language) == token


def test_a_symbol_with_a_name_can_be_read() -> None:
    assert unreadable("naciśnij #", "pl", {"#": "krzyżyk"}) is None
