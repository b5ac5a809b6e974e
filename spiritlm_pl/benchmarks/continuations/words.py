"""Words of texts, and how often a text repeats itself (auto-BLEU, Lakhotia et al., 2021, arXiv 2102.01192)."""

import math
from collections import Counter
from collections.abc import Sequence

import regex

from spiritlm_pl.evaluation.recognition import normalise

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORDS = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[^\s{_UNSPACED}]+")
UNSPACED_LANGUAGES = ("zh", "yue", "ja", "th", "lo", "km", "my")


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and punctuation; characters in scripts that are written without spaces.

    "Don't!" gives "don't"; in Chinese, Japanese and Thai every character is a word of its own.
    """
    return _WORDS.findall(normalise(text))


def joined(parts: Sequence[str], language: str = "en") -> str:
    """Join parts of a text, with a space between them in languages that have spaces."""
    return ("" if language in UNSPACED_LANGUAGES else " ").join(part.strip() for part in parts if part.strip())


def repeated_share(words: Sequence[str], size: int) -> float | None:
    """Return the share of n-grams that occur more than once among those of a text.

    Args:
        words: words of the text.
        size: number of words of an n-gram.

    Returns:
        The share; None if the text has too few words for one n-gram.
    """
    grams = Counter(tuple(words[place : place + size]) for place in range(len(words) - size + 1))
    total = grams.total()
    return sum(count for count in grams.values() if count > 1) / total if total else None


def auto_bleu(words: Sequence[str], size: int = 2) -> float | None:
    """Return auto-BLEU of a text: the geometric mean of the shares of repeated n-grams of 1 up to `size` words.

    Args:
        words: words of the text.
        size: number of words of the longest n-grams.

    Returns:
        Auto-BLEU from 0 to 1; None if the text has fewer than `size` words.
    """
    shares = [repeated_share(words, n) for n in range(1, size + 1)]
    known = [share for share in shares if share is not None]
    return math.prod(known) ** (1 / size) if len(known) == size else None
