"""Numbers, symbols and abbreviations in English words: a table of expressions, of which the first that fits counts.

Each expression is a pattern and a function that returns the words of a match, or None if it can be said in several ways
(10-20, 9/11, 5m), so that no reading is guessed. Numbers themselves are read by `numbers`.
"""

import unicodedata
from collections.abc import Iterable

import regex

from spiritlm_pl.corpora.text.contexts import CONTEXTS, Match, Say, plain_number, range_of_years
from spiritlm_pl.corpora.text.numbers import cardinal, digits, number, ordinal, plural, whole_number

SYMBOLS = {
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
    "×": "times",
    "÷": "divided by",
    "±": "plus or minus",
}
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "¢": ("cent", "cents", "", ""),
}
_COUNTRIES = {
    "US": "u s",
    "AU": "australian",
    "A": "australian",
    "CA": "canadian",
    "C": "canadian",
    "NZ": "new zealand",
    "HK": "hong kong",
}
_SCALES = {
    **{name: name for name in ("hundred", "thousand", "lakh", "million", "crore", "billion", "trillion")},
    **{"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "tn": "trillion"},
}
_UNITS = {  # singular and plural
    "%": ("percent", "percent"),
    "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "m/s": ("meter per second", "meters per second"),
    "km^2": ("square kilometer", "square kilometers"),
    "m^2": ("square meter", "square meters"),
    "m^3": ("cubic meter", "cubic meters"),
    "ft": ("foot", "feet"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    **{
        unit: (name, name + "s")
        for units, name in {
            "kg Kg KG kgs": "kilogram",
            "mg": "milligram",
            "km Km KM kms": "kilometer",
            "cm cms": "centimeter",
            "mm": "millimeter",
            "ml mL": "milliliter",
            "lb lbs": "pound",
            "oz": "ounce",
            "yd": "yard",
            "kB KB": "kilobyte",
            "MB": "megabyte",
            "GB": "gigabyte",
            "TB": "terabyte",
            "kW": "kilowatt",
            "kWh": "kilowatt hour",
            "MW": "megawatt",
            "hr hrs": "hour",
            "min mins": "minute",
            "sec secs": "second",
            "ms": "millisecond",
        }.items()
        for unit in units.split()
    },
}
_TITLES = {  # before a name
    "Dr": "doctor",
    "Prof": "professor",
    "Capt": "captain",
    "Lt": "lieutenant",
    "Col": "colonel",
    "Gen": "general",
    "Sgt": "sergeant",
    "Rev": "reverend",
    "Gov": "governor",
    "Sen": "senator",
    "Maj": "major",
    "Adm": "admiral",
    "Cmdr": "commander",
    "Cpl": "corporal",
    "Pvt": "private",
    "Mt": "mount",
    "Ft": "fort",
}
_PLACES = {"Ave": "avenue", "Blvd": "boulevard", "Hwy": "highway", "Rd": "road", "Dept": "department"}  # with a point
WRITTEN_SHORT = {  # words that are always abbreviated, with a point or without
    "mr": "mister",
    "mrs": "missus",
    "vs": "versus",
    "etc": "et cetera",
    "jr": "junior",
    "sr": "senior",
    "ltd": "limited",
    "approx": "approximately",
}
BEFORE_NUMBERS = {  # abbreviations with a point, before digits
    **{"no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume", "fig": "figure"},
    **{"jan": "january", "feb": "february", "mar": "march", "apr": "april", "aug": "august", "sep": "september"},
    **{"sept": "september", "oct": "october", "nov": "november", "dec": "december"},
}
ABBREVIATIONS = (*_TITLES, "Mr", "Mrs", "Ms", "St", "vs")  # a point after them does not end a sentence
UNSAID = "<>≤≥≠≈√∞‰"  # signs that can be said in more than one way
_COMMON_FRACTIONS = {unicodedata.normalize("NFKC", sign) for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}  # others with / may be dates

_N = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|(?<![\d.\p{L}])\.\d+)"
_NOT_WITHIN = r"(?<![\p{L}\d])(?<!\d[.,:/⁄^'—-])"
_END = r"(?![\p{L}\d])(?![-–—.,:/⁄^']\d|/\p{L})"
_MINUS = r"(?P<minus>(?<![\p{L}\d.%°])[-–])?"
_YEAR = r"(?:1[1-9]\d\d|20\d\d)"


_ARTICLE = regex.compile(r"(?:(?:^|[.?!\"'] ?)An?|\ban?) $")


def _any_of(names: Iterable[str]) -> str:
    return "|".join(regex.escape(name) for name in sorted(names, key=len, reverse=True))


def _before_noun(match: Match) -> bool:
    """Return whether an amount belongs to a noun, so that its unit is in the singular, as in "a $5 million loan"."""
    return _ARTICLE.search(match.string, max(0, match.start() - 8), match.start()) is not None


def _money(match: Match) -> str | None:
    one, many, small, smalls = _CURRENCIES[match["sign"]]
    first, last = match["first"], match["last"]
    country = _COUNTRIES.get(match["country"] or "", "")
    scales = [
        _SCALES[(scale or "").lower().strip(" -")] if scale else "" for scale in match.group("scale", "last_scale")
    ]
    dot, cents = (first.partition(".")[::2]) if small and not last and not any(scales) else (first, "")
    if _before_noun(match):
        if len(cents) == 2 and int(cents) and int(dot.replace(",", "") or "0"):
            return None
        many, smalls = one, small
    if len(cents) == 2:
        whole = dot.replace(",", "") or "0"
        amount = f"{number(dot or '0')} {country} {one if int(whole) == 1 else many}" if int(whole) else ""
        rest = f"{cardinal(int(cents))} {small if int(cents) == 1 else smalls}" if int(cents) else ""
        return f"{amount} {rest}".strip() or f"zero {country} {many}"
    said = f"{number(first)} {scales[0]}"
    if last and any(regex.search(r"\.\d\d$", amount) for amount in (first, last)) and not any(scales):
        return None
    if last:
        said += f" to {number(last)} {scales[1]}"
    return f"{said} {country} {one if first == '1' and not last and not scales[0] else many}"


def _debt(match: Match) -> str | None:
    said = _money(match)
    return f"minus {said}" if match["minus"] and said else said


def _clock(match: Match) -> str | None:
    hour, minute, half = int(match["hour"]), match["minute"], match["half"]
    suffix = f" {half[0].lower()} m" if half else ""
    if not 0 < hour < 24 or (half and not 1 <= hour <= 12) or (not 1 <= hour <= 12 and minute in (None, "00")):
        return None
    if minute is None or (minute == "00" and half):
        return cardinal(hour) + suffix
    if minute == "00":
        return f"{cardinal(hour)} o'clock"
    return f"{cardinal(hour)} {'oh ' if int(minute) < 10 else ''}{cardinal(int(minute))}{suffix}"


def _fraction(match: Match) -> str | None:
    whole, a, b = match["with"], int(match["a"]), int(match["b"])
    if not 0 < a or not 2 <= b <= 100 or (match["bar"] == "/" and f"{a}⁄{b}" not in _COMMON_FRACTIONS):
        return None
    name = {2: "half", 4: "quarter"}.get(b) or ordinal(b)
    part = {"half": "halves"}.get(name, name + "s") if a > 1 else name
    if not whole:
        return f"{cardinal(a)} {part}"
    article = "an" if name[0] == "e" else "a"
    return f"{cardinal(int(whole))} and {article if a == 1 else cardinal(a)} {part}"


def _quantity(match: Match) -> str | None:
    first, last = match["first"], match["last"]
    minus = "minus " if match["minus"] else ""
    one, many = _UNITS[match["unit"]]
    if match["again"] not in (None, match["unit"]):
        return None
    if match["hyphen"] or _before_noun(match):
        many = one
    if last:
        return f"{minus}{number(first)} to {number(last)} {many}"
    return f"{minus}{number(first)} {one if first == '1' else many}"


def _number(match: Match) -> str | None:
    words = number(match["n"], year=True) if match["s"] else plain_number(match)
    if words is None:
        return None
    if match["s"] and match["n"][-1] == "0":
        words = plural(words)
    elif match["s"]:
        words += "'s"
    return f"minus {words}" if match["minus"] else words


def _quoted(match: Match) -> str | None:
    """Return the words of a number before a closing quotation mark.

    Without an opening mark they are None, since the number may be of inches, feet or minutes.
    """
    before = match.string[: match.start()]
    opened = before.count('"') % 2 if match["mark"] == '"' else regex.search(r"(?<![\p{L}\d])'", before)
    return plain_number(match) if opened else None


def _roman(match: Match) -> str | None:
    """Return what looks like a Roman numeral but is a word, such as CD or MIX; None for a numeral.

    A numeral has several readings ("the fourteenth", or "fourteen"). Where all letters are capitals, two of them may be
    a word as well.
    """
    numeral, before = match[0], match.string[max(0, match.start() - 12) : match.start()]
    if _HEADING.search(before):
        return None
    if set(numeral) <= set("IVX"):
        return numeral if len(numeral) == 2 and numeral != "II" and match.string.isupper() else None
    return None if len(numeral) > 3 or numeral[0] == "X" else numeral


def _roman_elsewhere(match: Match) -> str | None:
    """Do the same as `_roman` in another language, where all letters may be capitals as well."""
    return None if set(match[0]) <= set("IVX") else _roman(match)


def _letters_and_digits(match: Match) -> str | None:
    """Spell a token of letters and digits: "m p three", "a four", but "covid nineteen"."""
    if regex.fullmatch(r"\d+[xX]\d+", match["token"]):  # x can be said as "by" or "times"
        return None
    said = []
    for run in regex.findall(r"\d+|\D+", match["token"]):
        spelled = (len(run) <= 3 and run.isupper()) or not regex.search("[aeiouy]", run, regex.IGNORECASE)
        if run[0].isdigit():
            if len(run) > 2 and run[0] != "0":
                return None
            said.append(number(run))
        else:
            said.append(" ".join(run) if spelled and run.isascii() else run)
    return " ".join(said) + ("'s" if match["s"] else "")


def _unsure(match: Match) -> None:
    return None


_SIGN = rf"[{''.join(_CURRENCIES)}]"
_SCALE = rf"(?:[ -]?(?i:{_any_of(_SCALES)})\b)"
_UNIT_NAME = _any_of(_UNITS)
# Also used for other languages: Roman numerals of kings and centuries, and digits grouped by spaces, which can be
# one number or several.
_ROMAN = (
    r"(?<![\p{L}\d.&'-])(?=[IVXLCDM]{2})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
    r"(?=(?:e|er|th)?(?![\p{L}\d&]))"
)
_HEADING = regex.compile(r"\b(?:act|appendix|article|book|bowl|chapter|part|psalm|scene|section|volume|war) $", regex.I)
_AFTER_HEADING = r"(?<=\b(?i:act|appendix|article|book|chapter|part|psalm|scene|section|volume|war) )"
_GROUPS = r"(?<![\p{L}\d]|\d[.,])\d{1,3}(?: \d{3})+(?!\d)"
_EXPRESSIONS: list[tuple[str, Say]] = [
    # words
    (r"\(\([^()]*\)\)|\S+@\S+\.\S+|\w+://\S+", _unsure),
    (r"\bwww(?:\.[A-Za-z]+)+(?![\w./-]*[\w/-])", lambda match: match[0].replace("www", "w w w").replace(".", " dot ")),
    (r"\bwww\.\S+", _unsure),
    (r"(?<=\p{L}) (?='(?:s|m|re|ve|ll|d)\b(?!'))", lambda match: ""),  # tokens of treebanks: it 's, do n't
    (
        r"(?<=\b(?i:do|does|did|is|are|was|were|has|have|had|ca|wo|would|could|should))"
        r"(?:(?![&%@#])[\s\p{P}])+(?=(?i:n't)\b)",
        lambda match: "",
    ),
    (r"\b(?:[A-Za-z]\.){2,}", lambda match: " ".join(match[0].replace(".", ""))),
    (
        r"\b(?P<letters>\p{Lu}{1,3}&\p{Lu}{1,3})(?P<s>'s)?\b",
        lambda match: " ".join(match["letters"]).replace("&", "and") + (match["s"] or ""),
    ),
    (
        rf"\b(?P<title>(?i:{_any_of(_TITLES)}))(?:\.|(?<=\b(?i:dr))\b)(?= ?\p{{Lu}})",
        lambda match: _TITLES[match["title"].capitalize()],
    ),
    (rf"\b(?P<short>(?i:{_any_of(_PLACES)}))\.", lambda match: _PLACES[match["short"].capitalize()]),
    (r"\b(?:Dr|St|Inc|Corp|Co|Bros|Univ|Assn|Govt)\.", _unsure),
    (rf"\b(?P<short>(?i:{_any_of(BEFORE_NUMBERS)}))\.(?= ?\d)", lambda match: BEFORE_NUMBERS[match["short"].lower()]),
    (r"#(?=\d)", lambda match: "number"),
    (r"#", _unsure),
    (_ROMAN, _roman),
    (rf"{_AFTER_HEADING}(?:[VX](?![\p{{L}}\d'])|I(?=[.,:;)]|$))", _unsure),  # not: the part I like
    (r"\bw/o\b", lambda match: "without"),
    (r"(?<=[\p{L}\d])\.(?=(?:com|org|net|edu|gov)\b)", lambda match: "dot"),
    (r"(?<= )<(?= )", lambda match: "less than"),
    (r"(?<= )>(?= )", lambda match: "greater than"),
    (rf"[{UNSAID}]", _unsure),
    (rf"{_SIGN} ?{_GROUPS}|{_GROUPS}|{_SIGN} ?[-–]\d", _unsure),
    (r"\b(?:Rs\.?|USD|EUR|GBP|JPY|CHF|INR) ?\d+|\b\d[\d.,]* ?(?:Rs|USD|EUR|GBP|JPY|CHF|INR)\b", _unsure),
    # money
    (
        rf"{_MINUS}(?P<country>\b(?:{_any_of(_COUNTRIES)}))?(?P<sign>{_SIGN}) ?(?P<first>{_N})(?P<scale>{_SCALE})?"
        rf"(?: ?[-–] ?(?P=sign)?(?P<last>{_N})(?P<last_scale>{_SCALE})?)?{_END}",
        _debt,
    ),
    (
        rf"(?P<country>(?!))?{_NOT_WITHIN}{_MINUS}(?P<first>{_N})(?P<scale>{_SCALE})?"
        rf"(?: ?[-–] ?(?P<last>{_N})(?P<last_scale>{_SCALE})?)? ?(?P<sign>{_SIGN}){_END}",
        _debt,
    ),
    # times
    (rf"{_NOT_WITHIN}(?P<hour>\d{{1,2}}):(?P<minute>[0-5]\d)(?: ?(?P<half>[aApP]\.?[mM]\b\.?))?{_END}", _clock),
    (rf"{_NOT_WITHIN}(?P<hour>\d{{1,2}})(?P<minute>(?!))? ?(?P<half>[aApP]\.?[mM]\b\.?){_END}", _clock),
    (rf"{_NOT_WITHIN}(?P<hour>\d{{1,2}})\.(?P<minute>[0-5]\d) ?(?P<half>[aApP]\.?[mM]\b\.?){_END}", _clock),
    # fractions, quantities, ranges
    (
        rf"{_NOT_WITHIN}(?P<n>{_N}) ?(?P<scale>mn|bn|tn){_END}",
        lambda match: f"{number(match['n'])} {_SCALES[match['scale']]}",
    ),
    (rf"{_NOT_WITHIN}\d[\d.]* ?(?:in\.|(?:ft|feet|foot)\.? ?\d+ ?in\b)", _unsure),  # inches
    (rf"{_NOT_WITHIN}(?:(?P<with>\d+)[ -])?(?P<a>\d+)(?P<bar>[/⁄])(?P<b>\d+){_END}", _fraction),
    (
        rf"{_NOT_WITHIN}{_MINUS}(?P<first>{_N})(?:(?: ?(?P<again>{_UNIT_NAME}))? ?[-–] ?(?P<last>{_N}))?"
        rf"(?: |(?P<hyphen>-))?(?P<unit>{_UNIT_NAME}){_END}",
        _quantity,
    ),
    (rf"{_NOT_WITHIN}(?P<first>{_YEAR})\s?[-–]\s?(?P<last>{_YEAR}|\d\d){_END}", range_of_years),
    (rf"{_NOT_WITHIN}(?P<first>{_N})\s?–\s?(?P<last>{_N}){_END}", range_of_years),
    (
        rf"{_NOT_WITHIN}(?:\(\d{{3}}\) ?|\d{{3}}[- ])?\d{{3}}-\d{{4}}{_END}",
        lambda match: digits(regex.sub(r"\D", "", match[0])),
    ),
    (rf"\+\d[\d ()-]{{5,}}\d|{_NOT_WITHIN}{_N} - {_N}{_END}", _unsure),  # phones abroad; minus, to, or a pause
    (rf"{_NOT_WITHIN}(?P<n>{_N})(?P<mark>[\"'])(?![\p{{L}}\d])", _quoted),
    # numbers
    (
        rf"{_NOT_WITHIN}(?P<n>\d{{1,3}}(?:,\d{{3}})+|\d+)(?:st|nd|rd|th|ST|ND|RD|TH){_END}",
        lambda match: ordinal(int(match["n"].replace(",", ""))),
    ),
    (rf"{_NOT_WITHIN}{_MINUS}(?P<n>\d+0)(?P<s>'?s)(?![\p{{L}}\d])", _number),
    (rf"{_NOT_WITHIN}{_N} ?[mglshxkt](?![\p{{L}}\d'])", _unsure),  # 5m: meters or millions; 5s: seconds or fives
    (r"[\p{Sc}^~|§‰√∞≤≥≠≈*] ?\d\S*|\d[\d.,]* ?[\p{Sc}^|§‰√∞≤≥≠≈*′]\S*|\p{Sc}(?<![$€£])", _unsure),
    (rf"{_NOT_WITHIN}{_MINUS}(?P<n>{_N})(?P<s>'s\b)?{_END}", _number),
    (r"(?<![\p{L}\d])(?P<token>(?:\p{L}+\d|\d+\p{L})[\p{L}\d]*+)(?P<s>'s\b)?(?![-–—.,:/⁄^']\d)", _letters_and_digits),
    (r"[\p{L}\d]*\d[\p{L}\d]*(?:[-–—.,:/⁄^'\"]+[\p{L}\d]*\d[\p{L}\d]*)*", _unsure),
]
EXPRESSIONS: list[tuple[regex.Pattern[str], Say]] = [
    *CONTEXTS,
    *((regex.compile(pattern), say) for pattern, say in _EXPRESSIONS),
]

_UNIT = rf" ?(?:{_UNIT_NAME}|[mglshxkt])(?![\p{{L}}\d])"


def whole_numbers(language: str) -> list[tuple[regex.Pattern[str], Say]]:
    """Return the expressions of numbers in a language other than English: only whole numbers alone are read.

    All other expressions with digits have several readings: in many languages a point after a number makes it a rank,
    and units are read by their names.
    """
    alone = rf"{_NOT_WITHIN}(?<![-–])\d+(?!\.){_END}(?!{_UNIT})"
    abbreviated = r"\b(?i:[bcdfghjklmnpqrstvwxz]{1,4}|no|nro|n[uú]m|art|vol|fig|cap|p[aá]g|tel)\. ?\d+"
    return [
        *((regex.compile(unsure), _unsure) for unsure in (abbreviated, _GROUPS)),
        (regex.compile(_ROMAN), _roman_elsewhere),
        (regex.compile(alone), lambda match: whole_number(match[0], language)),
        (regex.compile(_EXPRESSIONS[-1][0]), _unsure),
    ]
