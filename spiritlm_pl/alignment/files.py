"""Aligners that take times from files instead of audio: a folder of TextGrid files, or a CTM file.

Times count from the start of the cut. The tool that wrote the times named them after the audio files that it read, so
that the times of utterance spk1/utt1.wav, whose cut is "spk1-utt1", may be in spk1/utt1.TextGrid or utt1.TextGrid, or
under spk1_utt1 in a CTM file.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import regex
from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.ctm import read_ctm
from spiritlm_pl.alignment.textgrid import textgrid_alignment
from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError, spoken_times
from spiritlm_pl.runtime.found import check_folder, found_at
from spiritlm_pl.runtime.opens_for_itself import OpensForItself


def _parts(name: str) -> list[str]:
    """Split a path or an id at slashes, spaces, dashes and underscores, which tools put in place of each other."""
    return regex.split(r"[\s/_-]+", unicodedata.normalize("NFC", name))


def _tails(name: str) -> list[str]:
    """Return the name with its parts joined by dashes, and all its shorter endings, which lack the first folders."""
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
        """Return the names that may be of a cut.

        A name fits by its path, else by its path but for dashes and spaces, else by the end of one of the two paths.
        """
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
        """Return the only name that may be of a cut.

        Args:
            cut_id: id of the cut.
            kind: noun in the plural for the things that are named, for the message.
            place: file or folder of the names, for the message.

        Raises:
            AlignmentError: if no name fits, or several do.
        """
        found = self.of(cut_id)
        if len(found) != 1:
            listed = f" ({', '.join(found[:3])})" if found else ""
            raise AlignmentError(f"{len(found) or 'no'} {kind} for {cut_id!r} in {place}{listed}")
        return found[0]


@dataclass(frozen=True)
class TextGridAligner(OpensForItself):
    """Aligner that takes times from TextGrid files, as the Montreal Forced Aligner writes them.

    Args:
        folder: path of the folder with one file an utterance; a file is found by its path, else by the end of its path.
        word_tier: name or pattern of the tier of words; None for the usual names.
        phone_tier: name or pattern of the tier of phones; None for the usual names, if there is such a tier.
        name: name of the aligner in reports.
        needs_audio: whether `align` must be given a waveform.
        english_only: whether the aligner handles English only.
    """

    folder: str
    word_tier: str | None = None
    phone_tier: str | None = None
    name: str = "textgrid"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Check that the folder exists."""
        check_folder(self.folder, "source", "folder of TextGrid files")

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Look up the times of the words; see `Aligner.align`."""
        names, files = self._textgrids
        path = files[names.one(cut_id, "TextGrid files", self.folder)]
        try:
            found = textgrid_alignment(path, self.word_tier, self.phone_tier)
        except ValueError as error:
            raise AlignmentError(str(error)) from error
        return Aligned(spoken_times(words, found.words, language), found.phones, str(path), found.seconds)

    @cached_property
    def _textgrids(self) -> tuple[_Names, dict[str, Path]]:
        """TextGrid files of the folder, by their paths in it without suffix."""
        files = [path for path in files_below(self.folder) if path.suffix.lower() == ".textgrid"]
        found = {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in files}
        return _Names(found), found


class _CTM:
    """Words of a CTM file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.channels: dict[str, list[list[AlignedWord]]] = {}  # one list a channel, by recording
        for (recording, _), words in read_ctm(path).items():
            self.channels.setdefault(recording, []).append(words)
        self.names = _Names(self.channels)

    def of_cut(self, cut_id: str) -> tuple[str, list[AlignedWord]]:
        recording = self.names.one(cut_id, "recordings", self.path)
        channels = self.channels[recording]
        if len(channels) != 1:
            raise AlignmentError(f"{len(channels)} channels, not one, of {cut_id!r} in {self.path}")
        return recording, channels[0]


@dataclass(frozen=True)
class CTMAligner(OpensForItself):
    """Aligner that takes times from a CTM file whose first column names the utterances.

    Args:
        words: path of the CTM file of words.
        phones: path of a CTM file of phones; None if there is none.
        name: name of the aligner in reports.
        needs_audio: whether `align` must be given a waveform.
        english_only: whether the aligner handles English only.
    """

    words: str
    phones: str | None = None
    name: str = "ctm"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Read the files, so that missing and damaged ones are reported before work begins."""
        for argument, path in (("source", self.words), ("phone_source", self.phones)):
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f"{argument} must be a CTM file, but {found_at(path)}")
        _ = self._words, self._phones

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Look up the times of the words; see `Aligner.align`."""
        recording, found = self._words.of_cut(cut_id)
        phones = [] if self._phones is None else self._phones.of_cut(cut_id)[1]
        return Aligned(spoken_times(words, found, language), [*phones], f"{recording} in {self.words}")

    @cached_property
    def _words(self) -> _CTM:
        return _CTM(str(self.words))

    @cached_property
    def _phones(self) -> _CTM | None:
        return None if self.phones is None else _CTM(str(self.phones))
