"""Transcripts: from written text to the words that are said.

A transcript is a sequence of written tokens, split at spaces ("$5 million" is one). Each token is said as zero or more
words: "42," as "forty two", an emoji as none. Words consist of lower-case letters, with their vowel signs and joiners,
and apostrophes. Symbols are said in English only, numbers in English and, as far as they are certain, in some other
languages. `unreadable` finds tokens that cannot be said with certainty.
"""

import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import regex

from spiritlm_pl.corpora.text.abbreviations import (
    BEFORE_DIGITS,
    LETTERS_WITH_POINTS,
    NO_SENTENCE_ENDS,
    WITH_OKINA,
    abbreviations,
    is_date,
)
from spiritlm_pl.corpora.text.contexts import Say
from spiritlm_pl.corpora.text.english import (
    ABBREVIATIONS,
    BEFORE_NUMBERS,
    EXPRESSIONS,
    SYMBOLS,
    UNSAID,
    WRITTEN_SHORT,
    whole_numbers,
)
from spiritlm_pl.corpora.text.numbers import language_code, number

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_LOST = regex.compile(r"[\[(<{]\s*(?:unintelligible|inaudible|indiscernible|unk)\s*[\])>}]", regex.IGNORECASE)
_NOTES = regex.compile(  # notes that are not said: [beep], <laughs>, (laughs); but not a < b
    r"\[[^\]]*\]|<(?! )[^<>]*>|\{[^}]*\}|\((?:laugh(?:s|ing|ter)?|coughs?|sighs?|applause|music|noise)\)",
    regex.IGNORECASE,
)
# Replaced before compatibility forms are unified, which would turn ´ into a space, 5½ into 51/2, and m² into m2.
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ`´", "'"),
        **dict.fromkeys("“”", '"'),
        "−": "-",
        "№": "No. ",
        "٬": ",",
        "٫": ".",
        **{sign: f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    }
)
_BEFORE_FORMS = (
    (regex.compile(r"(?<=\p{L})[ʻ′](?=\p{L})"), "'"),
    (regex.compile(r"\b[Nn][º°]\s?(?=\d)"), "No. "),
    (regex.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])"), " "),
    (regex.compile(r"(?<=\p{Hebrew})\"(?=\p{Hebrew})"), "״"),
    (regex.compile(r"\u200b"), " "),  # between words, in scripts without spaces
    (regex.compile(r"[\p{Cf}--[\u200c\u200d]]|[\ufe00-\ufe0f\u20e3]", regex.V1), ""),  # soft hyphens, directions, emoji
)
_LETTER_OR_MARK = r"[\p{L}\p{M}]"
_WORD = regex.compile(  # a mark belongs to the letter before it; joiners are part of words in Indic scripts and Persian
    rf"[\p{{L}}\p{{N}}'](?:[\p{{L}}\p{{N}}']|(?<!')\p{{M}}|(?<={_LETTER_OR_MARK})[\u200c\u200d](?={_LETTER_OR_MARK})"
    rf"|(?<=\p{{M}})\u200d|(?<={_LETTER_OR_MARK})[·׳״](?=\p{{L}}))*"  # Catalan l·l, Hebrew abbreviations
)
_NOT_SPELLED = regex.compile(r"[\u0640\u055b\u055c\u055e]")  # Arabic lengthening, and Armenian accents amid words
# Sentence ends by Unicode's table, and those of Tibetan and Greek (\u037e, or a semicolon), which it lacks.
_SENTENCE_END = r"(?:\p{Sentence_Terminal}|[།༎\u037e]|(?<=\p{Greek});)[\"'\p{Pe}\p{Pf}]*"
_END_WITHOUT_SPACE = r"[\p{Sentence_Terminal}--[.!?․﹒．՜՞]]|．(?!\p{Nd})"
_BREAKS = regex.compile(
    rf"(?<={_SENTENCE_END})\s+(?=[\"'\p{{Ps}}\p{{Pi}}]?[^\s\p{{Ll}}])"
    rf"|(?<=(?:{_END_WITHOUT_SPACE})[\p{{Pe}}\p{{Pf}}\"']*)(?=[^\s\p{{Pe}}\p{{Pf}}\p{{Sentence_Terminal}}\"'])",
    regex.V1,
)
_NO_END = regex.compile(  # initials, too
    rf"(?:^|\W)(?:{'|'.join((*ABBREVIATIONS, *NO_SENTENCE_ENDS))}|\p{{Lu}}|\p{{L}}(?:\.\p{{L}})+)\.$"
    rf"|{LETTERS_WITH_POINTS}$"
)
_NO_END_BEFORE_DIGITS = regex.compile(
    rf"(?:^|\W)(?:(?i:{'|'.join(BEFORE_NUMBERS)})|{'|'.join(BEFORE_DIGITS)}|(?<=\d )(?:ft|lbs?|hrs?))\.$"
)
_ONE_LETTER = regex.compile(r"(?<![\p{L}\p{M}.'])\p{Ll}\.$")  # z. B.


@dataclass(frozen=True)
class Reading:
    """A written token, the words that are said for it, and whether this reading is certain."""

    written: str
    words: list[str]
    certain: bool


def one_form(text: str) -> str:
    """Unify Unicode's compatibility forms, except for the vowel am of Thai and Lao, which is never written in parts."""
    text = unicodedata.normalize("NFKC", text)
    for whole in "\u0e33\u0eb3":
        text = text.replace(unicodedata.normalize("NFKC", whole), whole)
    return text


def clean_transcript(text: str) -> str:
    """Return the text with Unicode in one form, without notes in brackets, and with one space between tokens."""
    text = text.translate(_SIGNS)
    for pattern, replacement in _BEFORE_FORMS:
        text = pattern.sub(replacement, text)
    return " ".join(_NOTES.sub(" ", one_form(text)).split())


def is_english(language: str) -> bool:
    """Return whether a language tag or name (en-GB, eng, English) stands for English."""
    return language_code(language) == "en"


@lru_cache
def _expressions(language: str) -> list[tuple[regex.Pattern[str], Say]]:
    return EXPRESSIONS if language == "en" else [*abbreviations(language), *whole_numbers(language)]


def _spans(text: str, language: str) -> list[tuple[int, int, str | None]]:
    """Find the expressions of a text: start, end, and words, which are None if there are several readings.

    Of expressions that overlap, the one that begins first counts.
    """
    matches = sorted(
        (match.start(), order, match.end(), say, match)
        for order, (pattern, say) in enumerate(_expressions(language))
        for match in pattern.finditer(text)
    )
    spans: list[tuple[int, int, str | None]] = []
    for start, _, end, say, match in matches:
        if not spans or start >= spans[-1][1]:
            spans.append((start, end, say(match)))
    return spans


def readings(text: str, language: str = "en", symbols: Mapping[str, str] | None = None) -> Iterator[Reading]:
    """Read a text token by token, including tokens that are not said; an expression with spaces is one token.

    Args:
        text: text to read, as written.
        language: language of the text, as a code or a name.
        symbols: names of symbols that this corpus reads in its own way, by symbol; None for none.
    """
    language = language_code(language)
    for symbol, name in (symbols or {}).items():
        text = text.replace(symbol, f" {name} ")
    written = clean_transcript(text)
    # digits of all scripts become ASCII digits; those that only regex knows are too new for Python's Unicode table
    text = regex.sub(r"\p{Nd}", lambda match: str(unicodedata.decimal(match[0], UNKNOWN)), written)
    spans = deque(_spans(text, language))
    within = {at for start, end, _ in spans for at in range(start, end)}
    spaces = [at for at, character in enumerate(text) if character == " " and at not in within]
    for start, stop in zip([0, *(at + 1 for at in spaces)], [*spaces, len(text)], strict=True):
        said, rest, at = "", "", start
        certain = True
        while spans and spans[0][0] < stop:
            first, last, words = spans.popleft()
            rest += text[at:first]
            said += _named(text[at:first])
            said += f" {_named(text[first:last])} " if words is None else f" {words} " if words else ""
            certain = certain and words is not None
            at = last
        rest += text[at:stop]
        said += _named(text[at:stop])
        unnamed = language != "en" and any(one in SYMBOLS or one in UNSAID for one in text[start:stop])
        unnamed = unnamed or (language != "en" and regex.search(r"\p{Sc}", text[start:stop]) is not None)
        numerals = any((one.isnumeric() and not one.isalpha()) or one == UNKNOWN for one in rest)
        yield Reading(written[start:stop], _words(said, language), certain and not unnamed and not numerals)


def _named(text: str) -> str:
    """Replace symbols by their English names, and digits by words, for tokens whose reading is not certain."""
    for symbol, name in SYMBOLS.items():
        text = text.replace(symbol, f" {name} ")
    return regex.sub(r"\d+", lambda match: f" {number(match[0])} ", text)


def _words(text: str, language: str) -> list[str]:
    text = text.replace("İ", "i")
    if language in ("tr", "az"):
        text = text.replace("I", "ı")
    text = _one_glottal(one_form(_NOT_SPELLED.sub("", text.lower())), language)
    words = [word.strip("'") for word in _WORD.findall(text)]
    if language == "en":
        words = [said for word in words for said in WRITTEN_SHORT.get(word, word).split()]
    return [word for word in words if any(character.isalpha() for character in word)]


def _one_glottal(text: str, language: str) -> str:
    """Use one character for the ʻokina and for the mark of Uzbek oʻ and gʻ; in other languages both are apostrophes."""
    if language in WITH_OKINA:
        return regex.sub(r"(?<=\p{L}'*)'(?='*\p{L})", "ʻ", text)
    if language in ("uz", "uzb", "uzbek"):
        return regex.sub(r"(?<=[og])'", "ʻ", text.replace("ʻ", "'"))
    return text.replace("ʻ", "'")


def unreadable(text: str, language: str, symbols: Mapping[str, str] | None = None) -> str | None:
    """Return the first token that cannot be read with certainty; None if all can.

    Args:
        text: text to read, as written.
        language: language of the text, as a code or a name.
        symbols: names of symbols in this language, by symbol; None for none.
    """
    if lost := _LOST.search(text):
        return lost[0]
    return next((one.written for one in readings(text, language, symbols) if not one.certain), None)


def spoken_words(text: str, symbols: Mapping[str, str] | None = None, language: str = "en") -> list[str]:
    """Return the words that are said for a text, in lower case; empty if there are none.

    They may be uncertain; `unreadable` tells whether they are.

    Args:
        text: text to read, as written.
        symbols: names of symbols that this corpus reads in its own way (such as "#": "pound"); None for none.
        language: language of the text, as a code or a name.
    """
    return [word for one in readings(text, language, symbols) for word in one.words]


def spoken_form(text: str, symbols: Mapping[str, str] | None = None, language: str = "en") -> str:
    """Return the words that are said in one line; `spoken_form(spoken_form(x)) == spoken_form(x)`."""
    return " ".join(spoken_words(text, symbols, language))


def written_tokens(text: str, language: str = "en") -> list[tuple[str, list[str]]]:
    """Return the tokens of a text with the words said for each; tokens that are not said are left out.

    In a text that is already a spoken form, every token is its own word.
    """
    return [(one.written, one.words) for one in readings(text, language, None) if one.words]


def _is_one(before: str, after: str) -> bool:
    """Return whether two texts with a point between them are one sentence."""
    if after[0].isdigit() and _NO_END_BEFORE_DIGITS.search(before):
        return True
    return is_date(before, after) or bool(_ONE_LETTER.search(before) and regex.match(r"\p{L}\.", after))


def split_sentences(text: str) -> list[str]:
    """Split running text into sentences, at the sentence ends of any script (. ! ? । 。 ؟ ...) and at empty lines.

    A sentence goes on before a word in lower case and after an abbreviation. Only sentences with letters or digits are
    kept.
    """
    sentences: list[str] = []
    for paragraph in regex.split(r"\n\s*\n", text):
        goes_on, is_first = False, True
        for part in _BREAKS.split(" ".join(paragraph.split())):
            if goes_on or (not is_first and _is_one(sentences[-1], part)):
                sentences[-1] += f" {part}"
            else:
                sentences.append(part)
            goes_on, is_first = _NO_END.search(sentences[-1]) is not None, False
    return [sentence for sentence in sentences if spoken_words(sentence)]
