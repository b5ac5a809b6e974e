"""Transcripts: from what was written to the words that are said.

A transcript is a row of written tokens (split at spaces), each of which is said as zero or more words of
lower-case letters and apostrophes: "42," as "forty two", an emoji as nothing. Numbers and symbols are said in
English only; `unreadable` finds them in transcripts of other languages.
"""

import re
import unicodedata
from collections.abc import Mapping

from spiritlm_pl.corpora.numbers import expand_numbers

_NOTES = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}")  # stage directions: [beep], <laughs>
_SYMBOLS = {
    "&": "and",
    "%": "percent",
    "+": "plus",
    "=": "equals",
    "@": "at",
    "°": "degrees",
    "€": "euros",
    "$": "dollars",
    "£": "pounds",
    "#": "number",
}
_QUOTES = str.maketrans({**dict.fromkeys("’‘ʼ`", "'"), **dict.fromkeys("–—−", "-"), **dict.fromkeys("“”", '"')})
_MONEY = re.compile(r"([$€£])\s?(\d[\d,]*(?:\.\d+)?)")
_INITIALS = re.compile(r"\b(?:[A-Za-z]\.){2,}")


def clean_transcript(text: str) -> str:
    """Unicode in one form, notes in brackets left out, one space between tokens."""
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    return " ".join(_NOTES.sub(" ", text).split())


def is_english(language: str) -> bool:
    """Whether a language tag or name (en-GB, eng, English) stands for English."""
    return language.lower().replace("_", "-").partition("-")[0] in ("en", "eng", "english")


def unreadable(text: str, language: str, symbols: Mapping[str, str] | None = None) -> str | None:
    """First token whose digits or symbols would have to be said in another language than English; else None.

    Args:
        text: written text.
        language: its language.
        symbols: names of symbols, in this language.
    """
    if is_english(language):
        return None
    unnamed = set(_SYMBOLS) - set(symbols or ())
    tokens = clean_transcript(text).split()
    return next((token for token in tokens if any(c in unnamed or _is_number(c) for c in token)), None)


def _is_number(character: str) -> bool:
    return character.isnumeric() and not character.isalpha()  # numerals that are also letters are read as such


def spoken_words(text: str, symbols: Mapping[str, str] | None = None) -> list[str]:
    """Words that are said for a piece of text, lower case, numbers in English; empty if nothing is.

    Args:
        text: written text.
        symbols: names of symbols that this corpus reads in its own way (such as "#": "pound").
    """
    text = clean_transcript(text)
    text = _MONEY.sub(lambda match: f"{match[2]} {_SYMBOLS[match[1]]}", text)
    text = _INITIALS.sub(lambda match: " ".join(match[0].replace(".", "")) + " ", text)
    text = expand_numbers(text)
    for symbol, name in {**_SYMBOLS, **(symbols or {})}.items():
        text = text.replace(symbol, f" {name} ")
    text = re.sub(r"(?<=[a-zA-Z])(?=\d)|(?<=\d)(?=[a-zA-Z])", " ", text)  # 3D: three d
    text = expand_numbers(text).lower()
    letters = "".join(c if c.isalnum() or c == "'" or unicodedata.combining(c) else " " for c in text)
    words = (word.strip("'") for word in letters.split())
    return [word for word in words if any(c.isalpha() for c in word)]


def spoken_form(text: str, symbols: Mapping[str, str] | None = None) -> str:
    """The words that are said, in one line; `spoken_form(spoken_form(x)) == spoken_form(x)`."""
    return " ".join(spoken_words(text, symbols))


def written_tokens(text: str) -> list[tuple[str, list[str]]]:
    """Tokens of a text with the words said for each; tokens that are not said are left out.

    In a spoken form every token is its own word, so the pairs are trivial.
    """
    pairs = ((token, spoken_words(token)) for token in text.split())
    return [(token, words) for token, words in pairs if words]


def split_sentences(text: str) -> list[str]:
    """Sentences of running text: a new one after . ! ? and at empty lines; with letters or digits in each."""
    sentences = []
    for paragraph in re.split(r"\n\s*\n", text):
        joined = " ".join(paragraph.split())
        sentences += re.split(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[^\sa-z])", joined)
    return [sentence for sentence in sentences if spoken_words(sentence)]
