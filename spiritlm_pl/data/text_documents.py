"""Texts as documents of token ids, many at a time, and their division into training and validation.

Shapes: D documents, N tokens of all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from spiritlm_pl.corpora.text_files.flat_texts import LINE_BREAK, FlatTexts, TextBatch
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.rng import Keys, name_keys
from spiritlm_pl.text_tokenizers.flat import FlatEncoder

PARTS = 1 << 32  # of which a text is drawn into one


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Documents of text alone.

    Attributes:
        keys: 64-bit name of each document (D,).
        held_out: whether each document belongs to the validation split (D,), bool.
        counts: number of tokens of each document (D,), at least 1.
        tokens: token ids of all documents (N,).
    """

    keys: Keys
    held_out: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.uint32]
    tokens: npt.NDArray[np.unsignedinteger]

    def table(self, held_out: bool) -> Documents:
        """Return the documents of the validation split, or those of the training split."""
        ones = np.ones(len(self.keys), dtype=np.uint32)
        table = Documents(self.tokens, self.counts, 0 * ones, ones, self.keys)
        chosen = self.held_out == held_out
        return table if chosen.all() else table.take(np.flatnonzero(chosen))


def encoded_texts(
    batches: Iterable[TextBatch],
    file: str,
    encoder: FlatEncoder,
    validation: float,
    skipped: Skipped,
    changed: Skipped | None = None,
    place: Callable[[int], str] = str,
) -> Iterator[EncodedTexts]:
    """Encode whole texts.

    Args:
        batches: texts of a file, as many at a time as memory should hold.
        file: name of the file. The key of a document is that of this name and its place.
        encoder: encoder of the language model's tokenizer; it is faster the more it has encoded.
        validation: share of the documents that goes to validation, in [0, 1).
        skipped: where to count texts without a token, such as control characters alone.
        changed: where to count texts whose line breaks the tokenizer does not keep; None forgets them.
        place: function from the place of a document to its name in messages; left out, it is the place itself.
    """
    keeps_line_breaks = encoder.tokenizer.keeps_line_breaks
    for batch in batches:
        counts, tokens = encoder.encode(batch.texts)
        kept = counts > 0
        texts = FlatTexts.of(batch.texts)
        _count(skipped, "text without tokens", batch.places[~kept], place)
        if changed is not None and not keeps_line_breaks:
            broken = texts.having(LINE_BREAK) & kept
            reason = "line breaks of a document, which the text tokenizer makes spaces"
            _count(changed, reason, batch.places[broken], place)
        names = (b"%d" % one for one in batch.places[kept].tolist())
        yield EncodedTexts(
            keys=name_keys(names, beginning=f"{file}:"),
            held_out=are_held_out(texts, validation)[kept],
            counts=counts[kept],
            tokens=tokens,
        )


def are_held_out(texts: FlatTexts, validation: float) -> npt.NDArray[np.bool_]:
    """Assign texts to training or validation by their hashes, so that equal texts fall into the same split.

    Args:
        texts: texts of documents (D,); their white space does not count.
        validation: share of the texts that goes to validation.

    Returns:
        Whether each text belongs to validation (D,).
    """
    if validation <= 0 or not len(texts):
        return np.zeros(len(texts), dtype=bool)
    spaced = chain.from_iterable(part.with_single_spaces() for part in texts.parts())
    return name_keys(spaced) >> np.uint64(32) < validation * PARTS


def _count(told: Skipped, reason: str, places: npt.NDArray[np.int64], name: Callable[[int], str]) -> None:
    if len(places):
        told.add(reason, min(map(name, places.tolist())), len(places))
