"""Places within words at which a SentencePiece model allows to cut them, proven from its pieces.

Byte-pair encoding begins with single characters and user-defined symbols, and joins neighbours that form a piece. If no
piece has the characters `a` and `b` side by side, nothing that is joined reaches over a place between `a` and `b`, so
that the ids of a word are those of what stands before this place and of what stands after it. This holds only if

- the model is of byte-pair encoding: a unigram model compares sums of scores over the whole word, which are rounded;
- it has no unused pieces, which are taken apart as they were joined elsewhere in the word;
- both characters are pieces that texts are cut into, and not control pieces, since several unknown characters in a row
  may become one token;
- the normalizer leaves the word and both parts as they are. Words are only cut if they consist of printable ASCII
  characters with which none of its rules begins that such characters alone could meet.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from spiritlm_pl.text_tokenizers.model_proto import WRITTEN, ModelProto, Piece

PRINTABLE = range(0x21, 0x7F)
LABEL = 1 << 31 | 0xFF  # bits of a unit of a trie that say which byte leads to it


@dataclass(frozen=True, eq=False)
class PieceCuts:
    """Where words may be cut.

    Attributes:
        plain: whether words that have a byte can be cut (256,), bool.
        between: whether such words can be cut between two bytes, by the first and the second (256, 256), bool.
    """

    plain: npt.NDArray[np.bool_]
    between: npt.NDArray[np.bool_]


def piece_cuts(model: bytes) -> PieceCuts | None:
    """Find where a model allows to cut words.

    Args:
        model: SentencePiece model that puts a space before a word.

    Returns:
        The places; None if there are none, or it is not known.
    """
    proto = ModelProto.FromString(model)
    bpe = proto.trainer_spec.model_type == proto.trainer_spec.BPE
    if not bpe or any(piece.type == Piece.UNUSED for piece in proto.pieces):
        return None
    pieces = [piece.piece for piece in proto.pieces if piece.type in WRITTEN]
    known = np.zeros(256, dtype=bool)
    known[[ord(piece) for piece in pieces if len(piece) == 1 and ord(piece) in PRINTABLE]] = True
    between = known[:, None] & known[None, :]
    for pair in {pair for piece in pieces for pair in pairwise(piece.encode())}:
        between[pair] = False
    plain = np.zeros(256, dtype=bool)
    plain[[*PRINTABLE]] = True
    plain[_beginnings_of_rules(proto.normalizer_spec.precompiled_charsmap)] = False
    return PieceCuts(plain, between) if between.any() else None


def _beginnings_of_rules(charsmap: bytes) -> list[int]:
    """Return the printable ASCII characters with which those rules begin that have no other characters.

    Args:
        charsmap: rules of a normalizer: the size of a double-array trie of darts-clone, its units of 32 bits, and what
            the strings of the trie become.
    """
    size = int.from_bytes(charsmap[:4], "little")
    trie = np.frombuffer(charsmap[4 : 4 + size], "<u4").tolist()
    return [byte for byte in PRINTABLE if trie and _is_met(trie, _children(trie, 0), byte)]


def _is_met(trie: list[int], children: int, byte: int) -> bool:
    """Tell whether a string of the trie goes on with a byte, and then with printable ASCII characters to its end."""
    node = children ^ byte
    if node >= len(trie) or trie[node] & LABEL != byte:
        return False
    ends = trie[node] >> 8 & 1
    return bool(ends) or any(_is_met(trie, _children(trie, node), following) for following in PRINTABLE)


def _children(trie: list[int], node: int) -> int:
    """Return the number from which those of the nodes that follow a node differ by their bytes."""
    unit = trie[node]
    return node ^ (unit >> 10 << ((unit & 1 << 9) >> 6))
