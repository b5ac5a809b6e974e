import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.corpora.splitting import assign_splits
from spiritlm_pl.corpora.text.transcripts import split_sentences, spoken_form, spoken_words, unreadable, written_tokens


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("42", "forty two"),
        ("1,234", "one thousand two hundred thirty four"),
        ("28.8", "twenty eight point eight"),
        (".5 percent", "point five percent"),
        ("3rd", "third"),
        ("20th", "twentieth"),
        ("in 1905", "in nineteen oh five"),
        ("May 2024", "may twenty twenty four"),
        ("1990s", "nineteen nineties"),
        ("the 1940's", "the nineteen forties"),
        ("'90s kids", "nineties kids"),
        ("007", "zero zero seven"),
        ("-5", "minus five"),
        ("2000000", "two million"),
        ("1234567890123456", "one two three four five six seven eight nine zero one two three four five six"),
        ("10–20", "ten to twenty"),
        ("1990-95", "nineteen ninety to ninety five"),
        ("555-1234", "five five five one two three four"),
        ("COVID-19", "covid nineteen"),
        ("(555) 123-4567", "five five five one two three four five six seven"),
        ("1.5 bn", "one point five billion"),
        ("in 2005, page 101", "in two thousand five page one hundred one"),
        ("100,000.50", "one hundred thousand point five zero"),
        ('he said "I have 5"', "he said i have five"),
        ("No. 5 and #6", "number five and number six"),
        ("४२", "forty two"),
        ("١٬٠٠٠ and ٢٫٥", "one thousand and two point five"),
    ],
)
def test_numbers(written: str, said: str) -> None:
    assert spoken_form(written) == said and unreadable(written, "en") is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("She raised $5 million in $3.2bn", "she raised five million dollars in three point two billion dollars"),
        ("It costs $1 or $1.50", "it costs one dollar or one dollar fifty cents"),
        ("£0.01 or $5.00", "one penny or five dollars"),
        ("US$5, 5 €, €20m", "five u s dollars five euros twenty million euros"),
        ("$10-$20", "ten to twenty dollars"),
        ("$5k or $5M", "five thousand dollars or five million dollars"),
        ("-$5 or −5€", "minus five dollars or minus five euros"),
        ("5%-10%, 10kg–20kg", "five to ten percent ten to twenty kilograms"),
        ("10 Kg or 5 KM", "ten kilograms or five kilometers"),
        ("₹5 lakh", "five lakh rupees"),
        ("A $1.4 billion loan", "a one point four billion dollar loan"),
        ("a 6ft man on a 10-km run", "a six foot man on a ten kilometer run"),
        ("the 10-km run, Vitamin A 5 mg", "the ten kilometer run vitamin a five milligrams"),
        ("Nº 7, n° 8, Nos. 5", "number seven number eight numbers five"),
        ("vol. 3, p. 12, Fig. 2, Jan. 1905", "volume three page twelve figure two january nineteen oh five"),
        ("No. I won't, w/o you", "no i won't without you"),
        ("C++ and C", "c plus plus and c"),
        ("The 1,000kg load moved 2.5km.", "the one thousand kilograms load moved two point five kilometers"),
        ("10-20% of 100 mph", "ten to twenty percent of one hundred miles per hour"),
        ("−5°C or 1 °F", "minus five degrees celsius or one degree fahrenheit"),
        ("20 km²", "twenty square kilometers"),
        ("An mp3 file on A4 paper", "an m p three file on a four paper"),
        ("H2O, R2D2, covid19", "h two o r two d two covid nineteen"),
        ("10:00 sharp", "ten o'clock sharp"),
        ("3:05 pm, 5 a.m.", "three oh five p m five a m"),
        ("1/2 cup, 2/3, 3/4", "one half cup two thirds three quarters"),
        ("½ cup, 5½ or 1 1/2", "one half cup five and a half or one and a half"),
        ("don´t don′t donʻt don’t", "don't don't don't don't"),
        ("it 's  i 'm  do n't", "it's i'm don't"),
        ("Vs mrs King, etc.", "versus missus king et cetera"),
        ("Dr. Smith vs. Mr. Jones", "doctor smith versus mister jones"),
        ("AT&T's R&B", "a t and t's r and b"),
        ("a < b and c > d", "a less than b and c greater than d"),
        ("(laughs) yes [beep] <noise>", "yes"),
        ("www.example.org amazon.com", "w w w dot example dot org amazon dot com"),
        ("soft\u00adhyphen \u200bhello\u200b \ufeffworld", "softhyphen hello world"),
        ("ASK XI AND VI", "ask xi and vi"),
        ("A.M. Café", "a m café"),
        ("It’s 3D.", "it's three d"),
        ("😀 ... 🎉 ❤️", ""),
    ],
)
def test_symbols_and_abbreviations_of_english(written: str, said: str) -> None:
    assert spoken_form(written) == said and unreadable(written, "en") is None


@pytest.mark.parametrize(
    "token",
    [
        "10-20",
        "2nd-3rd",
        "2,5",
        "4,5,6",
        "9/11",
        "5/12/2020",
        "14:00",
        "2:15:30",
        "1.5.2",
        "$5-$7.50",
        "3 - 5",
        "10—20",
        "00:30",
        "1 000 000",
        "$10 000",
        "$-5",
        "$5/day",
        "5 EUR",
        "USD 5",
        "5 in.",
        "5 ft 3 in",
        '12"',
        "6'",
        "4x4",
        "a<b",
        "≤",
        "+44 20 7946",
        "XIV",
        "II",
        "5m",
        "5s",
        "1.5x",
        "A380",
    ]
    + ["5'10\"", "5′", "x^2", "₿5", "C#", "me@x.org", "((so))", "[inaudible]", "St.", "፩"],
)
def test_what_can_be_said_in_several_ways_is_told(token: str) -> None:
    assert unreadable(f"so {token} it is", "en") == token


def test_an_amount_of_two_units_before_a_noun_is_told() -> None:
    assert unreadable("a $1.50 coffee", "en") == "$1.50"  # one dollar fifty, dollar fifty, ...


def test_symbols_of_a_corpus() -> None:
    assert spoken_form("Press * now!", {"*": "star"}) == "press star now"
    assert unreadable("Press #1", "en", {"#": "pound"}) is None
    assert spoken_form("Press #1", {"#": "pound"}) == "press pound one"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text("0123456789.,:/-–$€%'abkm ½²°&ªि\u200d\u0301İ", max_size=20))
def test_spoken_form_is_stable(text: str) -> None:
    said = spoken_words(text)
    assert spoken_words(" ".join(said)) == said
    assert [word for token, words in written_tokens(" ".join(said)) for word in words] == said
    assert [word for token, words in written_tokens(text) for word in words] == said


def test_an_expression_with_spaces_is_one_written_token() -> None:
    assert written_tokens("He raised $5 million, 10 kg.") == [
        ("He", ["he"]),
        ("raised", ["raised"]),
        ("$5 million,", ["five", "million", "dollars"]),
        ("10 kg.", ["ten", "kilograms"]),
    ]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("hi", "वह किताब पढ़ती है"),
        ("bn", "আমি বাংলায় গান গাই"),
        ("ta", "தமிழ் மொழி"),
        ("ml", "മലയാളം അവന്‍"),  # the joiner at the end is a letter of older text
        ("si", "ශ්‍රී ලංකාව"),
        ("th", "น้ำ กิน ที่นี่"),
        ("my", "မြန်မာ"),
        ("km", "ខ្មែរ"),
        ("fa", "می‌خواهم بروم"),
        ("he", "שָׁלוֹם"),
        ("yo", "ọ̀rọ̀"),
        ("ca", "col·lecció"),
        ("he", "צה״ל צ׳יפס"),
    ],
)
def test_words_of_scripts_with_marks_and_joiners_stay_whole(language: str, text: str) -> None:
    assert spoken_form(f"“{text}!” ", language=language) == unicodedata.normalize("NFC", text)
    assert unreadable(text, language) is None


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("hy", "Ի՞նչ որ՞տեղ։", "ինչ որտեղ"),  # a question is marked amid its word
        ("ar", "مـــرحبا", "مرحبا"),
        ("he", 'צה"ל', "צה״ל"),
        ("ca", "coŀlecció", "col·lecció"),
    ],
)
def test_signs_within_words_do_not_cut_them(language: str, text: str, said: str) -> None:
    assert spoken_form(text, language=language) == said and unreadable(text, language) is None


def test_lower_case_is_that_of_the_language() -> None:
    assert spoken_form("İstanbul ISPARTA", language="tr") == "istanbul ısparta"
    assert spoken_form("İstanbul ISPARTA", language="en") == "istanbul isparta"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are\nyou? ...\n\nnew part", ["Hello there.", "How are you?", "new part"]),
        ("Mr. Smith saw Dr. Jones. “Yes.” He left.", ["Mr. Smith saw Dr. Jones.", "“Yes.”", "He left."]),
        ("आज मौसम अच्छा है। वह पढ़ती है॥ तुम कहाँ हो?", ["आज मौसम अच्छा है।", "वह पढ़ती है॥", "तुम कहाँ हो?"]),
        ("今日は。元気？「はい。」次", ["今日は。", "元気？", "「はい。」", "次"]),
        ("كيف حالك؟ جيد۔ نعم", ["كيف حالك؟", "جيد۔", "نعم"]),
        ("သွား။ လာ။", ["သွား။", "လာ။"]),
        ("ሰላም። ደህና", ["ሰላም።", "ደህና"]),
        ("है।वह गई।", ["है।", "वह गई।"]),
        ("ខ្ញុំទៅ។គាត់មក។", ["ខ្ញុំទៅ។", "គាត់មក។"]),
        ("བོད། ཡིག", ["བོད།", "ཡིག"]),
        ("Γεια; Τι", ["Γεια;", "Τι"]),
        ("３．５人です。次", ["３．５人です。", "次"]),
        ("He is No. 5. No. He left.", ["He is No. 5.", "No.", "He left."]),
        ("Am 3. Mai kamen 21 Gäste. Dann ging er.", ["Am 3. Mai kamen 21 Gäste.", "Dann ging er."]),
        (
            "vom 5. April bis zum 6. August. Im 19. Jahrhundert",
            ["vom 5. April bis zum 6. August.", "Im 19. Jahrhundert"],
        ),
        ("He is 5. April came. May I?", ["He is 5.", "April came.", "May I?"]),
        ("Nur z. B. Nr. 5, d. h. Prof. Dr. Müller. Ja.", ["Nur z. B. Nr. 5, d. h. Prof. Dr. Müller.", "Ja."]),
        ("Plan b. Then 5 ft. 3 in. more.", ["Plan b.", "Then 5 ft. 3 in. more."]),
        ("The U.S. Army of J. R. Smith. Yes!No", ["The U.S. Army of J. R. Smith.", "Yes!No"]),
    ],
)
def test_split_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


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
        ("१२ किताबें", "hi", "१२"),
        ("1 Hund", "de", "1"),
        ("am 5. Mai", "de", "5."),
        ("im Jahr 1905", "de", "1905"),
        ("500 kg", "de", "500"),
        ("3,5", "fr", "3,5"),
        ("200 casas", "es", "200"),
        ("mp3", "es", "mp3"),
        ("N° 7", "fr", "No. 7"),
        ("Nr. 42", "nl", "Nr. 42"),
        ("42 500 euros", "fr", "42 500"),
        ("42 ¥", "fr", "¥"),
        ("a ≤ b", "it", "≤"),
        ("Louis XIV", "fr", "XIV"),
        ("au XIXe siècle", "fr", "XIXe"),
    ],
)
def test_numbers_and_symbols_of_other_languages_are_found(text: str, language: str, token: str | None) -> None:
    assert unreadable(text, language) == token


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("42 Hunde", "de-AT", "zweiundvierzig hunde"),
        ("42 chiens en 1905", "fra", "quarante deux chiens en mille neuf cent cinq"),
        ("en 1992", "Spanish", "en mil novecientos noventa y dos"),
        ("42 cani", "it", "quarantadue cani"),
    ],
)
def test_whole_numbers_that_are_certain_are_said_in_their_language(text: str, language: str, said: str) -> None:
    assert unreadable(text, language) is None
    assert spoken_form(text, language=language) == said


def test_a_symbol_with_a_name_can_be_read() -> None:
    assert unreadable("naciśnij #", "pl", {"#": "krzyżyk"}) is None


@pytest.mark.parametrize(
    ("text", "unsure"),
    [
        *[("Chapter XL", "XL"), ("MCMXC", "MCMXC"), ("Super Bowl LVIII", "LVIII"), ("Super Bowl LV", "LV")],
        *[("Chapter CD", "CD"), ("WORLD WAR II", "II"), ("Act V, scene two", "V,"), ("World War I.", "I.")],
        *[("the CD is a MIX", None), ("in part I agree", None), ("ASK XI", None), ("Washington DC", None)],
        *[("Apple Inc. said", "Inc."), ("Ford Motor Co.", "Co.")],
    ],
)
def test_roman_numerals_are_told_from_words(text: str, unsure: str | None) -> None:
    assert unreadable(text, "en") == unsure


@pytest.mark.parametrize(
    ("language", "text", "unsure"),
    [("fr", "au XLe siècle", "XLe"), ("it", "DI CASA MIA", None), ("pl", "JAN PAWEŁ II", "II"), ("pl", "MIX", None)],
)
def test_roman_numerals_of_other_languages(language: str, text: str, unsure: str | None) -> None:
    assert unreadable(text, language) == unsure


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("at 12.30 pm", "at twelve thirty p m"),
        ("Mt. Everest", "mount everest"),
        ("6 ft. Tall", "six feet tall"),
        ("Fifth Ave. is", "fifth avenue is"),
        ("5 kms and 3 kgs", "five kilometers and three kilograms"),
    ],
)
def test_times_with_points_and_abbreviated_places(text: str, spoken: str) -> None:
    assert unreadable(text, "en") is None and spoken_form(text) == spoken
