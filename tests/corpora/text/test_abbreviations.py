"""Abbreviations of other languages, signs that repeat words, and letters that are written with several characters."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.corpora.text.transcripts import spoken_form, spoken_words, unreadable, written_tokens


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Prof. Dr. Müller", "professor doktor müller"),
        ("z. B. heute, z.B. morgen", "zum beispiel heute zum beispiel morgen"),
        ("D. h. bzw. ca. usw.", "das heißt beziehungsweise circa und so weiter"),
        ("die Nr. 5", "die nummer fünf"),
        ("i. d. R. v. Chr.", "in der regel vor christus"),
        ("Berliner Str. und Hauptstr.", "berliner straße und hauptstraße"),
        ("im Dez. da", "im dezember da"),
        ("hm. Eine CD. Am Kap. Diese Art. Das ist Max.", "hm eine cd am kap diese art das ist max"),
    ],
)
def test_german_abbreviations_of_one_reading_are_said(written: str, said: str) -> None:
    assert spoken_form(written, language="de") == said and unreadable(written, "de") is None
    assert spoken_form(said, language="de") == said


@pytest.mark.parametrize(
    ("language", "text", "token"),
    [
        ("de", "bei Hr. Müller", "Hr."),
        ("de", "die Frau Prof. Müller", "Frau Prof."),
        ("de", "er, u. a. Peter", "u. a."),
        ("de", "drei Mio. Menschen", "Mio."),
        ("de", "siehe Kap. 5", "Kap."),
        ("de", "Dr. med. Müller", "med."),
        ("fr", "voici M. Dupont", "M."),
        ("fr", "voici Mme Durand", "Mme"),
        ("fr", "oui, c.-à-d. non", "c.-à-d."),
        ("es", "El Sr. García", "Sr."),
        ("nl", "de dhr. Jansen", "dhr."),
        ("pl", "tak, np. dom", "np."),
        ("ru", "да, т. е. нет", "т. е."),
        ("sv", "nu, t.ex. då", "t.ex."),
        ("hi", "डॉ॰ शर्मा", "डॉ॰"),
        ("th", "เมื่อ พ.ศ. นี้", "พ.ศ."),
        ("th", "น้ำ ทำ ๆ", "ๆ"),
        ("th", "สวัสดีครับ ฯลฯ", "ฯลฯ"),
        ("km", "ធំៗ", "ធំៗ"),
        ("haw", "he 'ōlelo", "'ōlelo"),
    ],
)
def test_other_abbreviations_are_told(language: str, text: str, token: str) -> None:
    assert unreadable(text, language) == token


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Il y a. Et toi"),
        ("nl", "op tv. En nu"),
        ("cs", "vlk. krk. Prst."),
        ("ru", "Дай им. Он там."),
        ("pl", "Daj im. Tak."),
        ("ar", "ذهب. عاد."),
        ("th", "น้ำ กิน ที่นี่"),
    ],
)
def test_words_at_the_end_of_a_sentence_are_no_abbreviations(language: str, text: str) -> None:
    assert unreadable(text, language) is None


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("haw", "ʻōlelo Hawaiʻi, Hawai’i", "ʻōlelo hawaiʻi hawaiʻi"),
        ("sm", "faʻa fa'a", "faʻa faʻa"),
        ("uz", "oʻzbek bogʻ, o'zbek bog', maʼno", "oʻzbek bogʻ oʻzbek bogʻ ma'no"),
        ("en", "ʻōlelo Hawaiʻi donʻt", "ōlelo hawai'i don't"),
    ],
)
def test_a_letter_is_one_character_however_it_is_typed(language: str, text: str, said: str) -> None:
    assert spoken_form(text, language=language) == said and unreadable(text, language) is None
    assert spoken_form(said, language=language) == said


@pytest.mark.parametrize("language", ["de", "haw", "uz", "th"])
@settings(max_examples=100, deadline=None)
@given(text=st.text("abz ʻ'ʼ‘.ogBNr5Ddh1950ๆก-", max_size=24))
def test_spoken_form_of_other_languages_is_stable(language: str, text: str) -> None:
    said = spoken_words(text, language=language)
    assert spoken_words(" ".join(said), language=language) == said
    assert [word for token, words in written_tokens(text, language) for word in words] == said
