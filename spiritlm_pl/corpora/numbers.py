"""Numbers as they are said in English: 42, 1,234, 28.8, 3rd, 1990s, 007."""

import re

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_LARGEST = 10**15

NUMBER = re.compile(
    r"(?P<minus>(?<![\w.])-)?(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<fraction>\d+))?"
    r"(?P<suffix>st|nd|rd|th|s)?(?![a-zA-Z0-9])",
    re.IGNORECASE,
)


def cardinal(value: int) -> list[str]:
    """Words of a whole number, British "and" left out.

    Raises:
        ValueError: if the number is negative or too large to have a name here.
    """
    if not 0 <= value < _LARGEST:
        raise ValueError(f"value must be in [0, {_LARGEST}), but is {value} instead")
    if value < 20:
        return [_ONES[value]]
    if value < 100:
        return [_TENS[value // 10], *(cardinal(value % 10) if value % 10 else [])]
    scale, name = next((scale, name) for scale, name in _SCALES if value >= scale)
    return [*cardinal(value // scale), name, *(cardinal(value % scale) if value % scale else [])]


def ordinal(value: int) -> list[str]:
    """Words of a rank: 23 is twenty third."""
    *words, last = cardinal(value)
    if last in _ORDINALS:
        return [*words, _ORDINALS[last]]
    return [*words, last[:-1] + "ieth" if last.endswith("y") else last + "th"]


def digits(text: str) -> list[str]:
    """Digits read one by one."""
    return [_ONES[int(digit)] for digit in text]


def year(value: int) -> list[str]:
    """Words of a number from 1100 to 1999 as in a year: nineteen ninety, nineteen oh five."""
    century, rest = cardinal(value // 100), value % 100
    if rest == 0:
        return [*century, "hundred"]
    return [*century, *(["oh"] if rest < 10 else []), *cardinal(rest)]


def _plural(word: str) -> str:
    return word[:-1] + "ies" if word.endswith("y") else word + ("es" if word.endswith("x") else "s")


def number_words(match: re.Match[str]) -> list[str]:
    """Words of one match of `NUMBER`."""
    whole, fraction = match["whole"], match["fraction"]
    suffix = (match["suffix"] or "").lower()
    value = int(whole.replace(",", ""))
    minus = ["minus"] if match["minus"] else []
    if value >= _LARGEST or (len(whole) > 1 and whole[0] == "0"):
        words = digits(whole.replace(",", ""))
    elif suffix in ("st", "nd", "rd", "th"):
        words = ordinal(value)
    elif 1100 <= value < 2000 and "," not in whole and not fraction:
        words = year(value)
    else:
        words = cardinal(value)
    if suffix == "s":
        words[-1] = _plural(words[-1])
    if fraction:
        words = [*words, "point", *digits(fraction)]
    return [*minus, *words]


def expand_numbers(text: str) -> str:
    """Write every number of a text in words.

    >>> expand_numbers("Dial 42 on the 3rd, at 28.8 kilobit")
    'Dial forty two on the third, at twenty eight point eight kilobit'
    """
    return NUMBER.sub(lambda match: " ".join(number_words(match)), text)
