"""Numbers in words, by num2words: 42, 1,234, 28.8, 3rd, 1990s, 007, and whole numbers of some other languages.

Only certain readings are given: the result is None where the word for a number depends on the noun that is counted (un,
une), on the case, or on whether the number is a year.
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
# Patterns of whole numbers with more than one reading, by language. Languages that are missing inflect all or most
# numbers, or num2words writes them differently than texts do.
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
_LONGEST = 15  # a number of more digits is said digit by digit
_NUMBER = regex.compile(r"(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?:\.(?P<fraction>\d+))?")


def language_code(language: str) -> str:
    """Return the two-letter code of a language tag or English name (en-GB, eng, English); keep unknown languages."""
    first = regex.split("[-_]", language.strip().lower())[0]
    return _CODES.get(first, first)


@lru_cache(maxsize=10_000)
def _said(value: int, language: str, to: str) -> str:
    from num2words import num2words  # imported here, since it is not needed to find audio in folders

    words = str(num2words(value, lang=language, to=to)).lower()
    if language == "en":
        words = words.replace(" and ", " ")
    return regex.sub(r"[\s,-]+", " ", words)


def cardinal(value: int) -> str:
    """Return the words of a whole number in English, without the British "and"."""
    return _said(value, "en", "cardinal")


def ordinal(value: int) -> str:
    """Return the words of a rank in English, such as "twenty third" for 23."""
    return _said(value, "en", "ordinal")


def digits(text: str) -> str:
    """Return the digits of any script read one by one in English."""
    return " ".join(cardinal(int(digit)) for digit in text)


def plural(words: str) -> str:
    """Return the plural of a number in words, such as "nineteen nineties" for "nineteen ninety"."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")


def number(text: str, *, year: bool = False) -> str:
    """Return the English words of digits, which may have commas at thousands and a decimal point.

    Args:
        text: digits such as 1,234.50 or .5
        year: whether to read numbers from 1010 to 1999 and from 2010 to 2099 as years (1905 as "nineteen oh five").
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
    """Return the words of a whole number in another language than English.

    Args:
        text: digits of any script.
        language: language as a code of two letters.

    Returns:
        The words; None if the language is not known, or the number has several readings in it.
    """
    several = _SEVERAL_READINGS.get(language)
    plain = str(int(text))
    if several is None or plain != text or len(plain) > 6 or regex.fullmatch(several, plain):
        return None
    return _said(int(plain), language, "cardinal")
