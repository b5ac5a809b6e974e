"""Texts as documents of token ids, many at a time, and their division into training and validation.

Shapes: D documents, N tokens of all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.corpora.text_files.readers import Text
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.rng import Keys, name_key
from spiritlm_pl.text_tokenizers.flat import WHITE_SPACE, FlatEncoder, space_class

BATCH_CHARACTERS = 1 << 23  # of texts that are encoded together: the more, the fewer words differ among them
BATCH_TEXTS = 1 << 16
PARTS = 1 << 32  # of which a text is drawn into one
UNEVEN = f"^ |  | $|{space_class(char for char in WHITE_SPACE if char != ' ')}"  # white space beside one space a word


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
    tokens: npt.NDArray[np.uint32]

    def table(self, held_out: bool) -> Documents:
        """Return the documents of the validation split, or those of the training split."""
        ones = np.ones(len(self.keys), dtype=np.uint32)
        table = Documents(self.tokens, self.counts, 0 * ones, ones, self.keys)
        return table.take(np.flatnonzero(self.held_out == held_out))


def encoded_texts(
    texts: Iterable[Text],
    encoder: FlatEncoder,
    validation: float,
    skipped: Skipped,
    changed: Skipped | None = None,
    place: Callable[[str], str] = str,
) -> Iterator[EncodedTexts]:
    """Encode whole texts, as many at a time as memory should hold.

    Args:
        texts: keys and texts of the documents.
        encoder: encoder of the language model's tokenizer; it is faster the more it has encoded.
        validation: share of the documents that goes to validation, in [0, 1).
        skipped: where to count texts without a token, such as control characters alone.
        changed: where to count texts whose line breaks the tokenizer does not keep; None forgets them.
        place: function from the key of a document to its place in messages; left out, the key is the place.
    """
    keeps_line_breaks = encoder.tokenizer.keeps_line_breaks
    for batch in _batches(texts):
        counts, tokens = encoder.encode([text for _, text in batch])
        kept = counts > 0
        for (key, text), has_tokens in zip(batch, kept, strict=True):
            if not has_tokens:
                skipped.add("text without tokens", place(key))
            elif changed is not None and not keeps_line_breaks and "\n" in text:
                changed.add("line breaks of a document, which the text tokenizer makes spaces", place(key))
        yield EncodedTexts(
            keys=np.array([name_key(key) for key, _ in batch], dtype=np.uint64)[kept],
            held_out=are_held_out([text for _, text in batch], validation)[kept],
            counts=counts[kept],
            tokens=tokens,
        )


def are_held_out(texts: Sequence[str], validation: float) -> npt.NDArray[np.bool_]:
    """Assign texts to training or validation by their hashes, so that equal texts fall into the same split.

    Args:
        texts: texts of documents (D,); their white space does not count.
        validation: share of the texts that goes to validation.

    Returns:
        Whether each text belongs to validation (D,).
    """
    if validation <= 0 or not texts:
        return np.zeros(len(texts), dtype=bool)
    uneven = pc.match_substring_regex(pa.array(texts, pa.large_string()), UNEVEN).to_pylist()
    plain = (" ".join(text.split()) if spaced else text for text, spaced in zip(texts, uneven, strict=True))
    return np.array([name_key(text) >> 32 < validation * PARTS for text in plain], dtype=bool)


def _batches(texts: Iterable[Text]) -> Iterator[Sequence[Text]]:
    batch: list[Text] = []
    size = 0
    for text in texts:
        if batch and (size + len(text[1]) > BATCH_CHARACTERS or len(batch) == BATCH_TEXTS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text[1])
    if batch:
        yield batch
