"""Utterances of a tokenised corpus by their ids."""

from collections.abc import Iterator, Mapping

from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.unit_corpus import UnitCorpus


class UnitIndex(Mapping[str, UnitUtterance]):
    """Mapping from id to utterance of a tokenised corpus; utterances are read when they are looked up.

    Args:
        corpus: the tokenised corpus.
    """

    def __init__(self, corpus: UnitCorpus) -> None:
        """Index the ids."""
        self._corpus = corpus
        self._position = {name: index for index, name in enumerate(corpus.ids())}

    def __getitem__(self, key: str) -> UnitUtterance:
        """Return the utterance of an id."""
        utterance: UnitUtterance = self._corpus[self._position[key]]
        return utterance

    def __iter__(self) -> Iterator[str]:
        """Yield all ids."""
        return iter(self._position)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._position)
