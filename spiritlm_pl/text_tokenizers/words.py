"""Words of texts, found in the bytes of all of them.

Shapes: D texts, W words of all of them, N bytes of all of them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.corpora.text_files.flat_texts import LINE_BREAK, SPACE, Flags, FlatTexts
from spiritlm_pl.text_tokenizers.piece_cuts import PieceCuts

Integers = npt.NDArray[np.int64]
LETTER, DIGIT, SIGN, WHITE, NOT_ASCII = range(5)
_KINDS = np.full(256, NOT_ASCII, dtype=np.uint8)  # of bytes
for _byte, _char in enumerate(map(chr, range(128))):
    _KINDS[_byte] = LETTER if _char.isalpha() else DIGIT if _char.isdigit() else WHITE if _char.isspace() else SIGN


@dataclass(frozen=True, eq=False)
class Words:
    """Words of texts; each goes on to the next, so that white space is part of one of the two.

    Attributes:
        starts: place at which each word starts in the bytes of the texts, and where the last ends (W + 1,).
        firsts: number of the first word of each text, and the number of all words (D + 1,).
        beginnings: numbers of the words whose ids might be others if they did not begin a text.
    """

    starts: Integers
    firsts: Integers
    beginnings: Integers

    @classmethod
    def of_parts(cls, texts: FlatTexts, cut: Callable[[FlatTexts], "Words"]) -> "Words":
        """Cut texts, a part of them at a time."""
        starts, firsts, beginnings = [], [], [np.zeros(0, dtype=np.int64)]
        place = number = 0
        for part in texts.parts():
            words = cut(part)
            starts.append(words.starts[:-1] + place)
            firsts.append(words.firsts[:-1] + number)
            beginnings.append(words.beginnings + number)
            place, number = place + len(part.data), number + len(words.starts) - 1
        starts, firsts = [*starts, np.array([place])], [*firsts, np.array([number])]
        return cls(np.concatenate(starts), np.concatenate(firsts), np.concatenate(beginnings))


def at_spaces(texts: FlatTexts, runs: bool, breaks: str, never: bytes, apart: bool) -> Words:
    """Cut texts as `spiritlm_pl.text_tokenizers.cutting` describes.

    Args:
        texts: the texts.
        runs: whether to cut before the last one of several spaces as well.
        breaks: where to cut at line breaks: "after" or "around" them, or "none".
        never: bytes before which neither of these two is done.
        apart: whether beginnings have ids of their own.
    """
    data, edges, visible = texts.data, texts.edges(), ~texts.are_like_spaces()
    free = np.ones(256, dtype=bool)
    free[list(never)] = False
    cut = np.zeros(len(data), dtype=bool)
    last = (data[1:-1] == SPACE) & visible[2:] & ~edges[2:-1]  # space before a visible character
    cut[1:-1] = last & visible[:-2]
    if runs:
        places = np.flatnonzero(last & ~visible[:-2]) + 1
        cut[places] = free[data[places + 1]]
    if breaks != "none":
        places = np.flatnonzero((data[:-1] == LINE_BREAK) & visible[1:] & ~edges[1:-1])
        places = places[free[data[places + 1]]]
        cut[places + 1] = True
        if breaks == "around":
            cut[places] = True
    return _cut_at(texts, cut, apart)


def before_words(texts: FlatTexts, apart: bool) -> Words:
    """Cut texts for a SentencePiece model, which is given words alone, before each word.

    Args:
        texts: the texts.
        apart: whether a word at the very beginning of a text has ids of its own.
    """
    spaces, edges = texts.are_spaces(), texts.edges()
    begun = ~spaces
    begun[1:] &= spaces[:-1] | edges[1:-1]
    starts = np.flatnonzero(begun)
    firsts = np.searchsorted(starts, texts.bounds)
    at_once = np.flatnonzero(texts.bounds[:-1] < texts.bounds[1:])
    at_once = at_once[~spaces[texts.bounds[at_once]]]  # texts that begin with a word
    return Words(np.append(starts, len(spaces)), firsts, firsts[at_once] if apart else firsts[:0])


def between_kinds(texts: FlatTexts, words: pa.Array, whole: Sequence[str]) -> Words:
    """Cut words after letters and around digits, where ASCII characters of another kind stand beside them.

    Args:
        texts: words, each of which is cut.
        words: the same words, as bytes of Arrow.
        whole: strings; words that have one of them are not cut.
    """
    kinds = _KINDS[texts.data]
    cut = np.zeros(len(kinds), dtype=bool)
    before, after = kinds[:-1], kinds[1:]
    cut[1:] = (before <= DIGIT) & (after <= WHITE) & (before != after) | (before == SIGN) & (after == DIGIT)
    if whole:
        held = pc.match_substring_regex(words, "|".join(map(re.escape, whole))).to_numpy(zero_copy_only=False)
        cut &= ~np.repeat(held, np.diff(texts.bounds))
    return _cut_at(texts, cut, apart=False)


def between_pieces(texts: FlatTexts, cuts: PieceCuts) -> Words:
    """Cut words where a SentencePiece model allows it; the first part of each has ids of its own.

    Args:
        texts: words without white space, each of which is cut.
        cuts: where the model allows it.
    """
    data = texts.data
    cut = np.zeros(len(data), dtype=bool)
    cut[1:] = cuts.between[data[:-1], data[1:]]
    cut &= np.repeat(~texts.marked(~cuts.plain[data]), np.diff(texts.bounds))
    return _cut_at(texts, cut, apart=True)


def _cut_at(texts: FlatTexts, cut: Flags, apart: bool) -> Words:
    """Cut texts before some bytes, and where each begins."""
    cuts = np.flatnonzero(cut & ~texts.edges()[:-1])
    firsts = np.searchsorted(cuts, texts.bounds) + np.arange(len(texts) + 1)
    starts, others = np.empty(firsts[-1] + 1, dtype=np.int64), np.ones(firsts[-1] + 1, dtype=bool)
    starts[firsts], others[firsts] = texts.bounds, False
    starts[others] = cuts
    return Words(starts, firsts, firsts[:-1] if apart else firsts[:0])
