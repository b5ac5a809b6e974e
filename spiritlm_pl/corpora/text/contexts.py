"""English expressions whose reading depends on their context: years and counts, numbers said digit by digit, dates.

1950 is "nineteen fifty" in "in 1950", but a count in "1950 people". A flight 1950, a call to 911 and 5 January can be
said in several ways, so they have no certain reading. The decisions here come before the other expressions of
`english`.
"""

import re
from collections.abc import Callable

import regex

from spiritlm_pl.corpora.text.numbers import number

Match = re.Match[str]  # regex returns objects with the same methods
Say = Callable[[Match], str | None]

_MONTHS = {
    **{"Jan": "january", "Feb": "february", "Mar": "march", "Apr": "april", "Jun": "june", "Jul": "july"},
    **{"Aug": "august", "Sep": "september", "Sept": "september", "Oct": "october", "Nov": "november"},
    "Dec": "december",
}
_WEEKDAYS = {
    **{"Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday", "Thu": "thursday"},
    **{"Thur": "thursday", "Thurs": "thursday", "Fri": "friday", "Sat": "saturday", "Sun": "sunday"},
}
_SHORT_DATES = {**_MONTHS, **_WEEKDAYS}
_ALSO_WORDS = ("Jan", "Mar", "Jun", "Dec", "Wed", "Sat", "Sun")  # words, too, which may end a sentence
_LONG_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_MONTH_NAMES = rf"(?:{_LONG_MONTHS}|{_LONG_MONTHS.upper()}|(?:{'|'.join(_MONTHS)})\.?)"
_BEFORE_DATES = regex.compile(r"\b(?i:in|since|until|by|early|late|on|from|last|next|\d(?:st|nd|rd|th)?) $")
_YEAR = r"(?:1[0-9]\d\d|20\d\d)"
_MORE_YEARS = rf"(?:{_YEAR}(?:, ?(?:and |or )?| (?:and|or|to|through|until|till|but|not) ))*$"
# Words before a year: always one, or one only if it ends a clause or is followed by a verb or an adverb.
_BEFORE_YEARS = regex.compile(
    rf"(?:\b{_MONTH_NAMES}(?: \d{{1,2}}(?:st|nd|rd|th)?)?,? (?:of )?"
    r"|\b(?i:(?:the|fiscal|financial|school|calendar) years?|since|during|circa|class of|copyright(?: \(c\))?)"
    r" |\b(?i:(?:spring|summer|autumn|winter)(?: of)?) |\b(?i:mid|pre|post|early|late)[ -]"
    r"|(?<![\p{L}\d])(?:c|ca|A\.D)\. ?|\bAD |© ?)" + _MORE_YEARS
)
_MAYBE_BEFORE_YEARS = regex.compile(
    r"(?<!\b(?i:one|number|total|sum|score|price|cost|population|average|speed|rate|height|altitude|elevation|depth|length"
    r"|distance|weight|maximum|minimum|crowd|group|army|force|set|list|series|record|\d) )"
    r"\b(?i:in|by|from|until|till|before|after|of|between) " + _MORE_YEARS
)
_CHANGES = regex.compile(  # amounts can change from 1200 to 1500 as well
    r"\b(?i:(?:increas|decreas|declin|reduc|multipli|divid|exceed|rang|chang)\w*|ris(?:e|es|ing|en)|rose|f[ae]ll\w*"
    r"|grow\w*|grew|drop\w*|jump\w*|climb\w*|up|down)\b[^.;!?]*$"
)
_AFTER_YEARS = regex.compile(r" ?(?:A\.?D|B\.?C|B\.?C\.?E|C\.?E)\b|'s\b")
_NOT_COUNTED = (
    "is was has does this its his hers us as thus yes always perhaps sometimes besides towards afterwards across plus "
    "ours theirs yours unless versus whereas"
)
_COUNTED = regex.compile(
    rf" (?!(?:{_NOT_COUNTED.replace(' ', '|')})\b)(?!\w*(?:ss|us|is)\b)"
    r"(?:people|persons|men|women|children|feet|teeth|mice|sheep|fish|\p{Ll}{2,}s)\b(?!')"
)
_CLAUSE_ENDS = regex.compile(
    r"\s*(?:$|[.,;:!?)\]\"—–]| - |'(?!\w)"
    r"| (?:is|was|were|are|has|have|had|did|does|will|would|could|can|to|and|or|but|when|while|where|who|which|that"
    r"|because|as|at|on|in|with|without|for|by|from|until|till|through|after|before|during|since|there|here|he|she|it|we"
    r"|they|you|I|the|a|an|his|her|its|their|our|my|this|these|those|only|alone|if|so|than|onwards?)\b)"
)
_NAMED = regex.compile(r"[\p{L}\d,;)] \p{Lu}[\p{L}\d]* $")  # the first of a sentence may be no name
_NAME = regex.compile(r" \p{Lu}\p{Ll}")
_DETERMINED = regex.compile(r"(?:\b(?i:the|this|that|an?|my|your|his|her|its|our|their)|'s?) \"?$")  # the 1950 votes
# Telephones, rooms, roads and flights: nine one one, one oh one, one hundred one, ten twenty four.
_CALLED = regex.compile(
    r"(?:\b(?i:(?:call|dial|phone)(?:s|ed|ing|ling|led)?(?: (?:me|us|him|her|them))?(?: (?:at|on))?|rooms?|flights?"
    r"|(?:high|free|motor)ways?|hwy\.?|routes?|rte\.?|interstate|ext(?:ension)?s?\.?|suites?|apartments?|apt\.?|bus|trains?"
    r"|gates?|piers?|units?|wards?|area code|zip code|runways?|fahrenheit|boeing|airbus"
    r"|psalms?|press)(?:,? (?i:numbers?|nos?\.|code|is|was))?,?[ #:-]{1,2}|(?<=\p{L})-)$"
)
_BEFORE_DAYS = regex.compile(rf"\b{_MONTH_NAMES} $")
_EMERGENCIES = ("911", "999", "411")
_LONGEST_CONTEXT = 80


def plain_number(match: Match, group: str = "n") -> str | None:
    """Return the words of a number that its expression does not explain further; None if it has several readings.

    Args:
        match: match of an expression.
        group: name of the group of `match` that holds the number.
    """
    text, digits = match.string, match[group]
    start, end = match.span(group)
    before = text[max(0, start - _LONGEST_CONTEXT) : start]
    counted = _COUNTED.match(text, end) is not None
    surely = _AFTER_YEARS.match(text, end) or _BEFORE_YEARS.search(before)
    if digits.isdigit() and not counted:
        if digits in _EMERGENCIES or (len(digits) > 2 and _CALLED.search(before)):
            whole = digits.endswith("00") or _like_year(digits)  # dial five hundred, flight fifteen forty nine
            return number(digits, year=True) if whole else None
        if len(digits) < 3 and _BEFORE_DAYS.search(before):  # January fifth, January five
            return None
    if not _like_year(digits):
        return number(digits)
    named = _DETERMINED.search(before) and _NAME.match(text, end) and not digits.endswith("00")  # the 1950 World Cup
    if (surely or named) and not counted:
        return number(digits, year=True)
    if _MAYBE_BEFORE_YEARS.search(before) and not _CHANGES.search(before):
        return None if counted or not _CLAUSE_ENDS.match(text, end) else number(digits, year=True)
    known = surely or _DETERMINED.search(before) or _NAMED.search(before)  # not: Windows 2012 features
    if counted and not known and not digits.endswith("00"):
        return number(digits)
    return None


def _like_year(digits: str) -> bool:
    """Return whether digits are said differently if they are a year, as 1024 and 1950 are, but not 1000 or 2005."""
    return digits.isdigit() and len(digits) == 4 and number(digits) != number(digits, year=True)


def range_of_years(match: Match) -> str | None:
    """Return the words of a range of numbers that may be years; None if they count the noun that follows."""
    first, last = match["first"], match["last"]
    if _COUNTED.match(match.string, match.end()) and (_like_year(first) or _like_year(last)):
        return None
    return f"{number(first, year=True)} to {number(last, year=True)}"


def _short_date(match: Match) -> str | None:
    """Return the name of a month or weekday; None if it may be another word at the end of a sentence (Sun., Jan.)."""
    rest = match.string[match.end() : match.end() + _LONGEST_CONTEXT]
    in_date = regex.match(r",? ?\d", rest) is not None
    if match["short"] in _ALSO_WORDS and not in_date:
        before = match.string[max(0, match.start() - _LONGEST_CONTEXT) : match.start()]
        if not _BEFORE_DATES.search(before) or not regex.match(r",? \p{Ll}", rest):
            return None
    return _SHORT_DATES[match["short"]]


def _dot(match: Match) -> str:
    return f"dot {match['name']}"


def _unsure(match: Match) -> None:
    return None


_NOT_WITHIN = r"(?<![\p{L}\d])(?<!\d[.,:/⁄^'—-])"
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"
_EXPRESSIONS: list[tuple[str, Say]] = [
    (r"&c\b\.?", lambda match: "et cetera"),
    (r"(?<![^\s(\"'/])\.(?P<name>NET|net|com|org|edu|gov)\b", _dot),
    (r"(?<=\bASP)\.(?P<name>NET)\b", _dot),
    (r"(?<![^\s(\"'])\.\p{L}+(?:\.\p{L}+)*\b(?!\.\p{L})", _unsure),  # .exe: dot e x e
    (r"\b\w+\.(?:txt|exe|pdf|docx?|html?|zip|py|js|jpe?g|png|gif|csv|json|wav|mp3|io|co\.uk)\b", _unsure),
    (rf"{_NOT_WITHIN}{_DAY}(?:st|nd|rd|th)? {_MONTH_NAMES}(?![\p{{L}}\d'])", _unsure),  # the fifth of, five January
    (rf"\b(?P<short>{'|'.join(sorted(_SHORT_DATES, key=len, reverse=True))})\.(?![\p{{L}}.])", _short_date),
    (rf"\b(?P<short>Feb|Aug|Sept|Oct|Nov|Tues|Thurs?|(?:{'|'.join(_MONTHS)})(?= \d))\b(?![.'’&-])", _short_date),
    (r"(?<=\d(?:st|nd|rd|th) )Ave\b(?!\.)", lambda match: "avenue"),
    (r"(?<=\p{L} )Blvd\b(?!\.)", lambda match: "boulevard"),
    (r"(?<![\p{L}\d.&'-])St(?![\p{L}\d.&'-])", _unsure),  # it can be saint or street
    (r"\b(?:cf|viz|dept|incl|misc|tel|hon|pres|supt|bldg|assoc|natl|intl|pkwy)\.", _unsure),
]
CONTEXTS: list[tuple[regex.Pattern[str], Say]] = [(regex.compile(p), say) for p, say in _EXPRESSIONS]
