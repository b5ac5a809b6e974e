"""Preference pairs as token ids: a prompt, what is preferred after it, and what is rejected.

Shapes: P pairs, N tokens of all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiritlm_pl.vocabulary import Vocabulary

Ids = npt.NDArray[np.unsignedinteger]
TEXT, SPEECH, BOTH = 0, 1, 2  # modalities of the continuations of a pair


@dataclass(frozen=True)
class Pair:
    """One preference.

    Attributes:
        id: id that no other pair has.
        prompt: token ids before either continuation; at least one.
        chosen: token ids of what is preferred.
        rejected: token ids of what is rejected.
    """

    id: str
    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]

    @property
    def num_tokens(self) -> int:
        """Number of tokens of both documents, each with the prompt."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


class BadPairError(ValueError):
    """A pair from which nothing can be learnt; the message says why."""


def check_pair(pair: Pair, vocabulary: Vocabulary) -> None:
    """Refuse a pair without a prompt or a difference.

    Raises:
        BadPairError: if a part is empty, both continuations are equal, or an id is none of the vocabulary's.
    """
    for name in ("prompt", "chosen", "rejected"):
        tokens = getattr(pair, name)
        if not len(tokens):
            raise BadPairError(f"{name} must hold tokens, but is empty")
        strange = next((token for token in tokens if not 0 <= token < vocabulary.num_tokens), None)
        if strange is not None:
            raise BadPairError(f"{name} must hold ids in [0, {vocabulary.num_tokens}), but one is {strange}")
    if list(pair.chosen) == list(pair.rejected):
        raise BadPairError("chosen and rejected must differ, but are the same tokens")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs in flat arrays.

    Attributes:
        ids: ids of the P pairs.
        tokens: (N,) token ids of all pairs, each its prompt, what is chosen and what is rejected, one after another.
        bounds: (3 P + 1,) int64 bounds of these parts.
        reference: (P, 2) float32 log-likelihoods of chosen and rejected under the reference model; None where they were
            not computed.
    """

    ids: Sequence[str]
    tokens: Ids
    bounds: npt.NDArray[np.int64]
    reference: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, pairs: Sequence[Pair], dtype: npt.DTypeLike) -> "Pairs":
        """Put pairs into arrays.

        Args:
            pairs: pairs in their order.
            dtype: unsigned type that holds all ids.
        """
        parts = [part for pair in pairs for part in (pair.prompt, pair.chosen, pair.rejected)]
        bounds = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        flat = np.fromiter((token for part in parts for token in part), dtype=dtype, count=int(bounds[-1]))
        return cls([pair.id for pair in pairs], flat, bounds)

    @classmethod
    def concatenate(cls, parts: "Sequence[Pairs]", dtype: npt.DTypeLike) -> "Pairs":
        """Put the pairs of several parts one after another.

        Args:
            parts: parts; all that hold pairs have reference log-likelihoods, or none has.
            dtype: type of the ids, for no parts.

        Raises:
            ValueError: if some have reference log-likelihoods and others have none.
        """
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.of([], dtype)
        starts = np.cumsum([0, *(len(part.tokens) for part in parts)])
        bounds = [part.bounds[:-1] + start for part, start in zip(parts, starts[:-1], strict=True)]
        found = [part.reference for part in parts if part.reference is not None]
        if found and len(found) < len(parts):
            told = f"{len(found)} of {len(parts)} parts have them"
            raise ValueError(f"pairs must all have reference log-likelihoods, or none of them, but {told}")
        return cls(
            [name for part in parts for name in part.ids],
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([*bounds, starts[-1:]]).astype(np.int64),
            np.concatenate(found) if found else None,
        )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.ids)

    def __getitem__(self, place: int) -> Pair:
        """Return the pair at a place."""
        edges = self.bounds[3 * place : 3 * place + 4].tolist()
        prompt, chosen, rejected = (self.tokens[low:high].tolist() for low, high in zip(edges, edges[1:], strict=False))
        return Pair(self.ids[place], prompt, chosen, rejected)

    def __iter__(self) -> Iterator[Pair]:
        """Yield all pairs."""
        return (self[place] for place in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of both documents of each pair (P,), each document with its prompt."""
        parts = np.diff(self.bounds).reshape(-1, 3)
        lengths: npt.NDArray[np.int64] = 2 * parts[:, 0] + parts[:, 1] + parts[:, 2]
        return lengths

    def take(self, places: npt.NDArray[np.int64]) -> "Pairs":
        """Return the pairs at these places."""
        chosen = Pairs.of([self[int(place)] for place in places], self.tokens.dtype)
        reference = None if self.reference is None else self.reference[places]
        return Pairs(chosen.ids, chosen.tokens, chosen.bounds, reference)


def modalities_of(pairs: Pairs, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Tell for each pair whether its continuations hold text (0), speech (1) or both (2); markers count as neither."""
    first, end = vocabulary.speech_bounds
    closing = -1 if vocabulary.end_of_document is None else vocabulary.end_of_document
    spoken = (pairs.tokens >= first) & (pairs.tokens < end)
    written = (pairs.tokens < vocabulary.num_text) & (pairs.tokens != closing)
    found = []
    for place in range(len(pairs)):
        part = slice(int(pairs.bounds[3 * place + 1]), int(pairs.bounds[3 * place + 3]))
        has_speech, has_text = bool(spoken[part].any()), bool(written[part].any())
        found.append(BOTH if has_speech and has_text else SPEECH if has_speech else TEXT)
    return np.array(found, dtype=np.int64)
