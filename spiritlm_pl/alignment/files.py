"""Aligners that listen to nothing: times come from a folder of TextGrid files, or from a CTM file.

Times count from the start of the cut. The other tool named its files after those that it read, so that an utterance
spk1/utt1.wav, whose cut is "spk1-utt1", may be spk1/utt1.TextGrid, utt1.TextGrid, or spk1_utt1 in a CTM file.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import regex
from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.ctm import read_ctm
from spiritlm_pl.alignment.textgrid import textgrid_alignment
from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError, spoken_times


def _parts(name: str) -> list[str]:
    """Parts of a path or an id: tools put dashes or underscores for slashes and spaces."""
    return regex.split(r"[\s/_-]+", unicodedata.normalize("NFC", name))


def _tails(name: str) -> list[str]:
    """The name in its plain form, and what is left of it without its first folders."""
    parts = _parts(name)
    return ["-".join(parts[start:]) for start in range(len(parts))]


class _Names:
    """Names that another tool gave to utterances."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_tail: dict[str, list[str]] = {}
        self._by_path: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._whole: dict[str, list[str]] = {}
        for name in names:
            whole, *tails = _tails(name)
            self._by_path.setdefault(name.replace("/", "-"), []).append(name)
            self._whole.setdefault(whole, []).append(name)
            self._by_stem.setdefault(PurePosixPath(name).name, []).append(name)
            for tail in tails:
                self._by_tail.setdefault(tail, []).append(name)

    def of(self, cut_id: str) -> list[str]:
        """Names that may be of a cut: by its path, else but for dashes and spaces, else by the ends of their paths."""
        whole, *tails = _tails(cut_id)
        ends = [name for tail in tails for name in self._whole.get(tail, [])]
        return (
            self._by_path.get(cut_id.replace("/", "-"))
            or self._whole.get(whole)
            or list(dict.fromkeys([*self._by_tail.get(whole, []), *ends]))
            or self._by_stem.get(PurePosixPath(cut_id).name)
            or []
        )

    def one(self, cut_id: str, kind: str, place: str) -> str:
        """The only name that may be of a cut.

        Raises:
            AlignmentError: if there is none, or several.
        """
        found = self.of(cut_id)
        if len(found) != 1:
            listed = f" ({', '.join(found[:3])})" if found else ""
            raise AlignmentError(f"{len(found) or 'no'} {kind} for {cut_id!r} in {place}{listed}")
        return found[0]


@lru_cache(maxsize=2)
def _textgrids(folder: str) -> tuple[_Names, dict[str, Path]]:
    """Files by their path in the folder without suffix."""
    files = [path for path in files_below(folder) if path.suffix.lower() == ".textgrid"]
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    return _Names(found), found


@dataclass(frozen=True)
class TextGridAligner:
    """Times from TextGrid files, as the Montreal Forced Aligner writes them.

    Args:
        folder: where the files lie, one an utterance; found by their paths, else by the ends of these.
        word_tier: name or pattern of the tier of words; None for the usual ones.
        phone_tier: name or pattern of the tier of phones; None for the usual ones, if there is one.
    """

    folder: str
    word_tier: str | None = None
    phone_tier: str | None = None
    name: str = "textgrid"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Check that the folder is there."""
        if not Path(self.folder).is_dir():
            raise FileNotFoundError(f"folder must be a folder of TextGrid files, but is {self.folder} instead")

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Times for the words; see `Aligner.align`."""
        names, files = _textgrids(str(self.folder))
        path = files[names.one(cut_id, "TextGrid files", self.folder)]
        try:
            found = textgrid_alignment(path, self.word_tier, self.phone_tier)
        except ValueError as error:
            raise AlignmentError(str(error)) from error
        return Aligned(spoken_times(words, found.words, language), found.phones, str(path), found.seconds)


@lru_cache(maxsize=4)
def _ctm(path: str) -> tuple[_Names, dict[str, list[list[AlignedWord]]]]:
    """Channels of each recording."""
    found: dict[str, list[list[AlignedWord]]] = {}
    for (recording, _), words in read_ctm(path).items():
        found.setdefault(recording, []).append(words)
    return _Names(found), found


def _of_cut(path: str, cut_id: str) -> tuple[str, list[AlignedWord]]:
    names, recordings = _ctm(path)
    recording = names.one(cut_id, "recordings", path)
    channels = recordings[recording]
    if len(channels) != 1:
        raise AlignmentError(f"{len(channels)} channels, not one, of {cut_id!r} in {path}")
    return recording, channels[0]


@dataclass(frozen=True)
class CTMAligner:
    """Times from a CTM file whose first column names the utterances.

    Args:
        words: CTM file of words.
        phones: CTM file of phones, if there is one.
    """

    words: str
    phones: str | None = None
    name: str = "ctm"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Read the files, so that damage is known before work begins."""
        for path in (self.words, self.phones):
            if path is not None:
                _ctm(str(path))

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Times for the words; see `Aligner.align`."""
        recording, found = _of_cut(str(self.words), cut_id)
        phones = _of_cut(str(self.phones), cut_id)[1] if self.phones is not None else []
        return Aligned(spoken_times(words, found, language), [*phones], f"{recording} in {self.words}")
