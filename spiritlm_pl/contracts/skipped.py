"""Utterances that are left out, which corpora, shards and batches tell of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """An utterance that was left out, and why.

    Attributes:
        id: id of the utterance in its corpus.
        path: path of its recording.
        reason: message that says why it was left out.
    """

    id: str
    path: str
    reason: str
