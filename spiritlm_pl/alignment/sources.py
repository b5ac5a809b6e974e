"""Aligners by their names, and the aligner that takes times from a lhotse manifest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned, Aligner
from spiritlm_pl.alignment.ctc import CTCAligner, Unknown
from spiritlm_pl.alignment.files import CTMAligner, TextGridAligner
from spiritlm_pl.corpora.sources.lhotse_manifests import read_manifests
from spiritlm_pl.corpora.sources.lhotse_source import CutUtterance, pieces_of
from spiritlm_pl.corpora.word_times import AlignmentError, spoken_times
from spiritlm_pl.registry import find
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.opens_for_itself import OpensForItself


@dataclass(frozen=True)
class LhotseAligner(OpensForItself):
    """Aligner that takes times from a lhotse manifest of cuts; its supervisions must have the ids of the corpus's cuts.

    Args:
        path: path of the manifest of cuts.
        name: name of the aligner in reports.
        needs_audio: whether `align` must be given a waveform.
        english_only: whether the aligner handles English only.
    """

    path: str
    name: str = "lhotse"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Check that the manifest exists."""
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"source must be a manifest of cuts, but {found_at(self.path)}")

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Look up the times of the words; see `Aligner.align`."""
        piece = self._pieces.get(cut_id)
        if piece is None:
            raise AlignmentError(f"{self.path} has no supervision {cut_id}, or only a part of it")
        if not piece.words:
            raise AlignmentError(f"{self.path} has no word times of {cut_id}")
        return Aligned(spoken_times(words, piece.words, language), list(piece.phones))

    @cached_property
    def _pieces(self) -> dict[str, CutUtterance]:
        """Utterances of the manifest by the ids that `spiritlm prepare lhotse-manifest` gives them."""
        pieces, _ = pieces_of(read_manifests(self.path)[0], max_overlap=math.inf)
        return {piece.id: piece for of_part in pieces.values() for piece in of_part}


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
    """Make an aligner by its name, or by the path of its class.

    Args:
        method: pocketsphinx, ctc, textgrid, ctm, lhotse, the name of another registered aligner, or the path of a
            class.
        source: folder or file from which textgrid, ctm and lhotse, or an aligner of another package, take times; None
            for the others.
        network: network of ctc, as in `CTCAligner`.
        device: device on which ctc's network runs.
        phones: whether pocketsphinx finds phones as well.
        unknown: treatment by ctc of words of which the network knows no character, as in `CTCAligner`.
        word_tier: tier of words of textgrid, as in `TextGridAligner`.
        phone_tier: tier of phones of textgrid, as in `TextGridAligner`.
        phone_source: path of a file of phones for ctm; None for words alone.

    Raises:
        ValueError: if the method needs a source and there is none, or an argument belongs to another method.
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
        _ = aligner.loaded  # so that a missing network is reported before work begins
        return aligner
    if method not in ("textgrid", "ctm", "lhotse"):
        return _other_aligner(method, source)
    if source is None:
        raise ValueError(f"source must be given with method {method}, but is None instead")
    if method == "textgrid":
        return TextGridAligner(source, word_tier, phone_tier)
    return CTMAligner(source, phone_source) if method == "ctm" else LhotseAligner(source)


def _other_aligner(method: str, source: str | None) -> Aligner:
    """Make an aligner of another package from a class that takes the source, or no argument if there is no source."""
    kind = find("aligners", method, "method")
    aligner: Aligner = kind() if source is None else kind(source)
    if not isinstance(aligner, Aligner):
        raise ValueError(f"method must be an aligner, with name, needs_audio, english_only and align, but is {method}")
    return aligner
