"""Aligners by name, and the one that takes times from a lhotse manifest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned, Aligner
from spiritlm_pl.alignment.ctc import CTCAligner, Unknown
from spiritlm_pl.alignment.files import CTMAligner, TextGridAligner
from spiritlm_pl.corpora.sources.lhotse_manifests import read_manifests
from spiritlm_pl.corpora.sources.lhotse_source import CutUtterance, pieces_of
from spiritlm_pl.corpora.word_times import AlignmentError, spoken_times
from spiritlm_pl.registry import find


@lru_cache(maxsize=1)
def _pieces(path: str) -> dict[str, CutUtterance]:
    """What the supervisions of a manifest say, by the ids that `spiritlm prepare lhotse-manifest` gives."""
    pieces, _ = pieces_of(read_manifests(path)[0], max_overlap=math.inf)
    return {piece.id: piece for of_part in pieces.values() for piece in of_part}


@dataclass(frozen=True)
class LhotseAligner:
    """Times from a lhotse manifest of cuts whose supervisions have the ids of the corpus's cuts.

    Args:
        path: the manifest.
    """

    path: str
    name: str = "lhotse"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a missing file at once."""
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"source must be a manifest of cuts, but {self.path} is missing instead")

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Times for the words; see `Aligner.align`."""
        piece = _pieces(self.path).get(cut_id)
        if piece is None:
            raise AlignmentError(f"{self.path} has no supervision {cut_id}, or not all of it")
        if not piece.words:
            raise AlignmentError(f"{self.path} has no word times of {cut_id}")
        return Aligned(spoken_times(words, piece.words, language), list(piece.phones))


def make_aligner(
    method: str,
    *,
    source: str | None,
    network: str,
    device: str,
    phones: bool,
    unknown: Unknown = "error",
    word_tier: str | None = None,
    phone_tier: str | None = None,
    phone_source: str | None = None,
) -> Aligner:
    """Make an aligner by its name, or by the path of its class; see `spiritlm align --help` for the arguments.

    Raises:
        ValueError: if the method needs a source and there is none, or an argument is of another method.
        FileNotFoundError: if the source is missing.
    """
    for name, value, of in (
        ("word_tier", word_tier, "textgrid"),
        ("phone_tier", phone_tier, "textgrid"),
        ("phone_source", phone_source, "ctm"),
    ):
        if value is not None and method != of:
            raise ValueError(f"{name} must be given with method {of} only, but method is {method} instead")
    if method == "pocketsphinx":
        from spiritlm_pl.alignment.pocketsphinx import PocketsphinxAligner

        return PocketsphinxAligner(phones)
    if method == "ctc":
        aligner = CTCAligner(network, device, unknown)
        aligner.load()  # a network that is not there is an error at once
        return aligner
    if method not in ("textgrid", "ctm", "lhotse"):
        return _other_aligner(method, source)
    if source is None:
        raise ValueError(f"source must be given with method {method}, but is None instead")
    if method == "textgrid":
        return TextGridAligner(source, word_tier, phone_tier)
    return CTMAligner(source, phone_source) if method == "ctm" else LhotseAligner(source)


def _other_aligner(method: str, source: str | None) -> Aligner:
    """An aligner of another package: a class that takes the source, or nothing where there is none."""
    kind = find("aligners", method, "method")
    aligner: Aligner = kind() if source is None else kind(source)
    if not isinstance(aligner, Aligner):
        raise ValueError(f"method must be an aligner, with name, needs_audio, english_only and align, but is {method}")
    return aligner
