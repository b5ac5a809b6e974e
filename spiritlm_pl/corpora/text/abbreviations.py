"""Abbreviations of languages other than English, and signs that stand for words, such as those of repetition in Thai.

German abbreviations whose words do not depend on case and number are written out. All other known abbreviations are
reported as uncertain, and so is what looks like one: consonants with a point, or single letters with points (т. е.).
"""

from functools import lru_cache, partial

import regex

from spiritlm_pl.corpora.text.contexts import Match, Say

_GERMAN = {
    "z. B.": "zum beispiel",
    "d. h.": "das heißt",
    "z. T.": "zum teil",
    "z. Zt.": "zur zeit",
    "v. a.": "vor allem",
    "u. U.": "unter umständen",
    "m. E.": "meines erachtens",
    "i. d. R.": "in der regel",
    "s. o.": "siehe oben",
    "s. u.": "siehe unten",
    "v. Chr.": "vor christus",
    "n. Chr.": "nach christus",
    "bzw.": "beziehungsweise",
    "ca.": "circa",
    "usw.": "und so weiter",
    "usf.": "und so fort",
    "etc.": "et cetera",
    "vgl.": "vergleiche",
    "bspw.": "beispielsweise",
    "ggf.": "gegebenenfalls",
    "inkl.": "inklusive",
    "Nr.": "nummer",
    "Dr.": "doktor",
    "Prof.": "professor",
    "Tel.": "telefon",
    "Hbf.": "hauptbahnhof",
    "Bhf.": "bahnhof",
    "Str.": "straße",
    "Feb.": "februar",
    "Aug.": "august",
    "Sep.": "september",
    "Sept.": "september",
    "Okt.": "oktober",
    "Nov.": "november",
    "Dez.": "dezember",
}
_ALSO_WITHOUT_POINT = ("bzw.", "usw.", "etc.", "Nr.", "Dr.", "Prof.", "Hbf.", "Bhf.")
_TOLD = {  # uncertain abbreviations with a point or another sure sign; those without vowels are found in any case
    "de": r"(?:St|Mio|evtl|max|min|sog|engl|lat|geb|gest|Std|Abb|Ing|Dipl|med|phil|jur|nat|ev|kath|Jan|Apr|Univ|Inst"
    r"|Anm|Aufl|insb|allg|zzgl|exkl|u\. ?a|o\. ?[Ää]|Fa|Fr|(?:Kap|Art|Abs|Ziff)(?=\. ?\d))\.",
    "fr": r"(?:Mmes?|Mlles?|Mgr|Dr|etc)\b\.?|(?:M|MM|Me|St|Ste|av|env|apr|chap|bd|boul)\.(?= ?[\p{Lu}\d])",
    "es": r"(?:Sra?s?|Srta|Dra?|Uds?|Vds?|Dña|D(?=\. ?\p{Lu})|Prof|pág|núm|art|etc|EE\. ?UU|Avda?|Gral)\.(?!\p{L})",
    "pt": r"(?:Sra?s?|Srta|Dra?|Prof|pág|núm|art|etc|Av|Exm[oa])\.(?!\p{L})",
    "it": r"(?:Sig(?:\.ra|\.na)?|Dott(?:\.ssa)?|Prof(?:\.ssa)?|Ing|Avv|ecc|pag|art)\.(?!\p{L})",
    "nl": r"(?:dhr|mevr|bijv|enz|Prof|prof|ca|evt|incl|excl|etc|resp|Ir|Ing|nr)\.",
    "pl": r"(?:(?:np|itd|itp|tzn|tzw|tj|ul|św|prof|godz|inż|tel|płk|gen|woj|etc)\.|(?:dr|mgr)\b\.?)",
    "ru": r"(?:ул|др|пр|проф|напр|руб|тыс|коп|чел|обл|акад|см|стр|гг?)\.|\b(?:млн|млрд)\b\.?",
    "uk": r"(?:вул|ін|проф|напр|грн|тис|обл|акад|див|рр?|ст)\.|\b(?:млн|млрд)\b\.?",
    "sv": r"(?:bl\. ?a|t\. ?ex|osv|dvs|ca|kl|nr|prof|etc)\.",
    "da": r"(?:bl\. ?a|f\. ?eks|osv|dvs|ca|kl|nr|prof|etc)\.",
    "no": r"(?:bl\. ?a|f\. ?eks|osv|dvs|ca|kl|nr|prof|etc)\.",
    "th": r"\p{Thai}+\.(?:\p{Thai}+\.)*",  # Thai sentences do not end with a point
    "hi": r"(?:डॉ|प्रो|श्री)\.",
    "ar": r"(?<!\p{L})\p{Arabic}\.(?= ?\p{L})",
}
WITH_OKINA = ("haw", "hawaiian", "to", "ton", "tongan", "sm", "smo", "samoan", "ty", "tah", "tahitian")
_TOLD |= dict.fromkeys(WITH_OKINA, r"(?<!')'(?=\p{L})")  # it can be a letter or a quotation mark
_TOLD |= {"nb": _TOLD["no"], "nn": _TOLD["no"]}
_WITH_VOWELS = (
    "de",
    "fr",
    "es",
    "pt",
    "it",
    "nl",
    "pl",
    "ru",
    "uk",
    "sv",
    "da",
    "no",
    "nb",
    "nn",
    "fi",
    "id",
    "hu",
    "tr",
    "ro",
    "ca",
)
NO_SENTENCE_ENDS = (  # a name or a number follows; before lower case, no sentence ends in any case
    "Prof Hr Fr Hrn bzw ca vgl inkl exkl zzgl bspw ggf evtl sog Dipl Ing Mme Mlle Mgr Srta Dra Sig Dott dhr mevr bijv "
    "np tzn tzw ul św prof inż ул напр проф"
).split()
BEFORE_DIGITS = "Nr Nrn Art Abs Abb Bd Kap Ziff Tel Bl S str стр núm pág pag".split()
LETTERS_WITH_POINTS = r"(?<![\p{L}\p{M}.'])\p{L}\.(?: ?\p{L}\.)+"
_GERMAN_MONTHS = "Januar|Jänner|Februar|Feber|März|Mai|Juni|Juli|Oktober|Dezember|Jahrhunderts?|Jh"
_SHARED_MONTHS = "April|August|September|November"  # spelled as in English
_BEFORE_RANKS = "am|vom|zum|bis|der|den|dem|des|das|im|seit|ab|und|auf"
_RANK = regex.compile(r"(?:^|[^\p{L}\d.,:])\d{1,2}\.$")
_RANKED = regex.compile(rf"(?:{_GERMAN_MONTHS})\b")
_RANK_IN_GERMAN = regex.compile(rf"\b(?i:{_BEFORE_RANKS})(?: \w+,)? \d{{1,2}}\.$")
_CONSONANTS = "bcdfghjklmnpqrstvwxzßçñćłńśźżбвгґджзйклмнпрстфхцчшщ"
# Words without vowels that are no abbreviations, and those that are spelled.
_SAID = "hm|hmm|mhm|mm|mmm|pst|psst|brr|grr|pff|pfft|tsk|sch|zzz|гм|хм|тс"
_SPELLED = "tv|cd|dvd|pc|sms|mms|gps|wc|dj|тв"
_SIGNS = r"[\u0e2f\u0e46\u0eaf\u0ec6\u17d7\u0970\u0af0]"  # repeat or shorten words in Asian scripts
_REPEATED = rf"(?<![\p{{L}}\p{{M}}'])[\p{{L}}\p{{M}}']*{_SIGNS}[\p{{L}}\p{{M}}\u0970\u0af0']*|។ល។"
_LETTERS = r"(?<![\p{L}\p{M}.'])\p{Ll}\.(?:-?| )(?:\p{Ll}\.(?:-?| ))*(?:\p{Lu}|\p{Ll}{1,3})\.|\bc\.-à-d\."


def _unsure(match: Match) -> None:
    return None


def _same(said: str, match: Match) -> str:
    return said


def _german() -> list[tuple[regex.Pattern[str], Say]]:
    found: list[tuple[regex.Pattern[str], Say]] = [(regex.compile(r"\b(?:Frau|Dr)\.? Prof\b\.?|\bDr\.-"), _unsure)]
    for short, said in _GERMAN.items():
        letters = regex.escape(short.removesuffix(".")).replace(r"\ ", " ?")
        point = r"\b\.?" if short in _ALSO_WITHOUT_POINT else r"\."
        end = r"(?= ?\d)" if short == "Nr." else r"(?![\p{L}\d-])"
        pattern = rf"(?<![\p{{L}}\p{{M}}.])[{letters[0]}{letters[0].upper()}]{letters[1:]}{point}{end}"
        found.append((regex.compile(pattern), partial(_same, said)))
    found.append((regex.compile(r"\b\p{L}*\p{Ll}str\.(?!\p{L})"), lambda match: f"{match[0][:-1]}aße"))
    return found


@lru_cache
def abbreviations(language: str) -> list[tuple[regex.Pattern[str], Say]]:
    """Return the patterns of abbreviations of a language other than English, each with what is said for it.

    They are applied before the patterns of numbers.
    """
    told = [_REPEATED, _LETTERS]
    if language in _TOLD:
        told.append(rf"(?<![\p{{L}}\p{{M}}.])(?:{_TOLD[language]})")
    if language in _WITH_VOWELS:
        said = rf"(?!(?i:{_SAID}|{_SPELLED})\b)"
        told.append(rf"(?<![\p{{L}}\p{{M}}.'’-]){said}(?i:[{_CONSONANTS}])[{_CONSONANTS}]{{1,4}}\.(?! ?\d)")
    found = [(regex.compile(pattern), _unsure) for pattern in told]
    return [*(_german() if language == "de" else []), *found]


def is_date(before: str, after: str) -> bool:
    """Return whether the point between two texts is that of a German date: am 3. Mai, vom 5. April."""
    if _RANK.search(before) and _RANKED.match(after):
        return True
    return _RANK_IN_GERMAN.search(before) is not None and regex.match(rf"(?:{_SHARED_MONTHS})\b", after) is not None
