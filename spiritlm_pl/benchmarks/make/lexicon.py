"""Words with their phones and neighbours.

Two words are neighbours if one phone put in, taken out or replaced makes one of the other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import log
from pathlib import Path
from typing import TypeAlias

from spiritlm_pl.benchmarks.make.settings import WORD, read_file
from spiritlm_pl.corpora.synthetic.espeak import Voice, speaker
from spiritlm_pl.corpora.synthetic.stories import vocabulary

Phones: TypeAlias = tuple[str, ...]

# Common words that are not in the built-in stories.
EVERYDAY = """
able above account across action active afternoon animal another answer arrow autumn bakery balance balloon banana
basket bath beauty believe between bicycle bottle bottom branch bread bridge brother bucket butter camera candle
carpet chair cheese chicken circle clever cloud coffee corner cotton country cousin curtain daughter desert dinner
doctor dragon eagle early elbow engine family farmer father feather finger flower fountain friend ginger guitar hammer
harbour history honey hospital hundred island jacket kitchen ladder lemon library machine magazine marble meadow
medicine metal minute mirror monkey mother mountain music needle number orange oven painter paper pencil pepper
picture pillow planet pocket potato prince problem pumpkin question rabbit ribbon robin rocket salad sandal saturday
season secret shadow shoulder simple sister spider spoon spring station stomach stone summer sunday table teacher
thunder ticket tiger tomato tower travel turtle uncle valley velvet violin visitor water weather welcome whistle
window winter wonder yellow yesterday
""".split()


def read_lexicon(path: Path | None) -> tuple[list[str], int]:
    """Read a word list: one word a line, in its first column if there are tabs; lines after # are comments.

    Args:
        path: file to read; None for the words of the built-in stories and some everyday ones.

    Returns:
        The words in lower case, each once, and the number of lines that hold no single word.

    Raises:
        ValueError: if there are no words.
    """
    if path is None:
        return sorted(vocabulary() | set(EVERYDAY)), 0
    lines = [line.partition("#")[0].split("\t")[0].strip() for line in read_file(path, "lexicon").splitlines()]
    words = [line.lower() for line in lines if WORD.fullmatch(line)]
    if not words:
        raise ValueError(f"lexicon must hold words, one a line, but {path} has none instead")
    return list(dict.fromkeys(words)), sum(1 for line in lines if line) - len(words)


def phones_of(word: str, voice: Voice) -> Phones:
    """Return the phones of a word said alone, without pauses."""
    names = speaker().phones_of(word, voice)
    return tuple(name for name in (name.strip("_:; ") or name.strip("_; ") for name in names) if name)


class Neighbourhood:
    """Phones of a lexicon: how many words are near to some phones, and how usual their sequence is.

    Args:
        words: phones of each word.
    """

    def __init__(self, words: Iterable[Phones]) -> None:
        """Index the words."""
        self._words = set(words)
        self._replaced = Counter(pattern for word in self._words for pattern in _replaced(word))
        self._shorter = Counter(one for word in self._words for one in set(_shorter(word)))
        self._pairs = Counter(pair for word in self._words for pair in pairwise(_framed(word)))
        self._firsts = Counter(phone for word in self._words for phone in _framed(word)[:-1])

    def __contains__(self, phones: Phones) -> bool:
        """Whether a word sounds like this."""
        return phones in self._words

    def count(self, phones: Phones) -> int:
        """Count the words of the lexicon that are neighbours of some phones."""
        own = phones in self._words
        replaced = sum(self._replaced[pattern] - own for pattern in _replaced(phones))
        return replaced + sum(one in self._words for one in set(_shorter(phones))) + self._shorter[phones]

    def usual(self, phones: Phones) -> float | None:
        """Return the mean log probability of each phone after the one before; None if two never follow each other."""
        pairs = list(pairwise(_framed(phones)))
        if any(pair not in self._pairs for pair in pairs):
            return None
        return sum(log(self._pairs[pair] / self._firsts[pair[0]]) for pair in pairs) / len(pairs)


def _framed(phones: Phones) -> Sequence[str]:
    return ["", *phones, ""]


def _replaced(phones: Phones) -> Iterator[tuple[Phones, Phones]]:
    for place in range(len(phones)):
        yield phones[:place], phones[place + 1 :]


def _shorter(phones: Phones) -> Iterator[Phones]:
    for place in range(len(phones)):
        yield phones[:place] + phones[place + 1 :]
