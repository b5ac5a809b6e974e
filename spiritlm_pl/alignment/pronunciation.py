"""Pronunciations of words that are in no dictionary: the phones of eSpeak NG, written in ARPABET."""

from spiritlm_pl.corpora.synthetic.espeak import Voice, speaker

_VOICE = Voice("en-us")
_CONSONANTS = {
    "p": "P",
    "b": "B",
    "t": "T",
    "d": "D",
    "k": "K",
    "g": "G",
    "f": "F",
    "v": "V",
    "T": "TH",
    "D": "DH",
    "s": "S",
    "z": "Z",
    "S": "SH",
    "Z": "ZH",
    "h": "HH",
    "m": "M",
    "n": "N",
    "N": "NG",
    "l": "L",
    "r": "R",
    "w": "W",
    "j": "Y",
    "tS": "CH",
    "dZ": "JH",
    "t#": "T",
    "t2": "T",
    "d#": "D",
    "x": "K",
    "L": "L",
    "n-": "AH N",
    "l-": "AH L",
    "@L": "AH L",
    "r-": "ER",
    "C": "HH",
    "R": "R",
    "z#": "Z",
}
_VOWELS = {
    "a": "AE",
    "aa": "AE",
    "a#": "AH",
    "A:": "AA",
    "A": "AA",
    "A#": "AA",
    "A@": "AA R",
    "0": "AA",
    "0#": "AA",
    "O:": "AO",
    "O": "AO",
    "O2": "AO",
    "O@": "AO R",
    "o@": "AO R",
    "o": "OW",
    "oU": "OW",
    "oU#": "OW",
    "3:": "ER",
    "3": "ER",
    "@r": "ER",
    "@": "AH",
    "@2": "AH",
    "@5": "AH",
    "@#": "AH",
    "E": "EH",
    "E#": "EH",
    "E2": "EH",
    "e": "EH",
    "e@": "EH R",
    "eI": "EY",
    "I": "IH",
    "I2": "IH",
    "I#": "IH",
    "i:": "IY",
    "i": "IY",
    "i@": "IH R",
    "i@3": "IH R",
    "aI": "AY",
    "aI@": "AY ER",
    "aI3": "AY ER",
    "aU": "AW",
    "aU@": "AW ER",
    "OI": "OY",
    "U": "UH",
    "U@": "UH R",
    "u:": "UW",
    "u": "UW",
    "V": "AH",
    "V#": "AH",
    "y": "UW",
    "Y": "UH",
}
_ARPABET = {**_CONSONANTS, **_VOWELS}
_BOUNDARIES = "_:; "


def to_arpabet(phones: tuple[str, ...]) -> str:
    """Convert eSpeak's phones to ARPABET; an unknown phone is replaced by the longest known beginning of its name."""
    result = []
    for phone in phones:
        name = phone.strip(_BOUNDARIES) or phone
        while name and name not in _ARPABET:
            name = name[:-1]
        if name:
            result.append(_ARPABET[name])
    return " ".join(result)


def guess_pronunciation(word: str) -> str:
    """Return the ARPABET phones of a word as eSpeak NG would say it; an empty text if eSpeak says nothing."""
    return to_arpabet(speaker().phones_of(word, _VOICE))
