"""Numbers as they are said, by num2words: 42, 1,234, 28.8, 3rd, 1990s, 007, and whole numbers of some other languages.

Only what is said in one way is given. Where the word for a number depends on what is counted (un, une), on its case, or
on whether it is a year, there is None.
"""

from functools import lru_cache

import regex

_LANGUAGES = {
    "en": ("eng", "english"),
    "de": ("deu", "ger", "german"),
    "fr": ("fra", "fre", "french"),
    "es": ("spa", "spanish"),
    "it": ("ita", "italian"),
    "nl": ("nld", "dut", "dutch"),
    "pt": ("por", "portuguese"),
    "id": ("ind", "indonesian"),
    "vi": ("vie", "vietnamese"),
    "tr": ("tur", "turkish"),
    "az": ("aze", "azerbaijani"),
}
_CODES = {name: code for code, names in _LANGUAGES.items() for name in (code, *names)}
# Whole numbers of more than one reading, by language. Languages that are not here inflect all or most of them, or are
# written by num2words in another way than text is.
_SEVERAL_READINGS = {
    "de": r"(?:.*0)?1|1[1-9]\d\d",
    "nl": r"1[1-9]\d\d",
    "fr": r"(?:.*[02-68])?1",
    "es": r"(?!1\d{3}$)(?:(?:.*[^1])?1|.*[2-9]\d\d)",
    "pt": r"(?!1\d{3}$)(?:(?:.*[^1])?[12]|.*[2-9]\d\d)",
    "it": r"1",
    "id": r"(?!)",
    "vi": r"(?!)",
}
_LONGEST = 15  # digits of a number that is said as a whole
_NUMBER = regex.compile(r"(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?:\.(?P<fraction>\d+))?")


def language_code(language: str) -> str:
    """Two letters for the language of a tag or an English name (en-GB, eng, English); what is not known stays."""
    first = regex.split("[-_]", language.strip().lower())[0]
    return _CODES.get(first, first)


@lru_cache(maxsize=10_000)
def _said(value: int, language: str, to: str) -> str:
    from num2words import num2words  # what only finds audio in folders does without it

    words = str(num2words(value, lang=language, to=to)).lower()
    if language == "en":
        words = words.replace(" and ", " ")
    return regex.sub(r"[\s,-]+", " ", words)


def cardinal(value: int) -> str:
    """Words of a whole number in English, the British "and" left out."""
    return _said(value, "en", "cardinal")


def ordinal(value: int) -> str:
    """Words of a rank in English: 23 is twenty third."""
    return _said(value, "en", "ordinal")


def digits(text: str) -> str:
    """Digits of any script, read one by one in English."""
    return " ".join(cardinal(int(digit)) for digit in text)


def plural(words: str) -> str:
    """Nineteen nineties for nineteen ninety."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")


def number(text: str, *, year: bool = False) -> str:
    """Words in English of digits with or without commas at thousands and a decimal point.

    Args:
        text: such as 1,234.50, or .5
        year: read what is like a year of 1010 to 1999 or 2010 to 2099 as such, nineteen oh five.
    """
    match = _NUMBER.fullmatch(text)
    assert match is not None
    whole, fraction = match["whole"], match["fraction"]
    plain = whole.replace(",", "")
    if len(plain) > _LONGEST or (len(plain) > 1 and int(plain[0]) == 0):
        words = digits(plain)
    elif year and plain == whole and not fraction and len(plain) == 4 and _like_year(int(plain)):
        words = _said(int(plain), "en", "year")
    else:
        words = cardinal(int(plain)) if plain else ""
    return f"{words} point {digits(fraction)}".strip() if fraction else words


def _like_year(value: int) -> bool:
    return 1010 <= value < 2000 or 2010 <= value < 2100


def whole_number(text: str, language: str) -> str | None:
    """Words of digits in another language; None if it is not one that is known, or the words are not certain.

    Args:
        text: digits of any script.
        language: a code of two letters.
    """
    several = _SEVERAL_READINGS.get(language)
    plain = str(int(text))
    if several is None or plain != text or len(plain) > 6 or regex.fullmatch(several, plain):
        return None
    return _said(int(plain), language, "cardinal")
