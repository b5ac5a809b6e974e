"""Aligners that listen to nothing: times come from a folder of TextGrid files, or from a CTM file.

Utterances are found by the id of their cut; times count from the start of the cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.ctm import read_ctm
from spiritlm_pl.alignment.textgrid import textgrid_alignment
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError, spoken_times


@lru_cache(maxsize=2)
def _textgrids(folder: str) -> dict[str, list[Path]]:
    """Files by their path in the folder without suffix, and by their stem."""
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() == ".textgrid":
            names = {path.relative_to(folder).with_suffix("").as_posix(), path.stem}
            for name in names:
                found.setdefault(name, []).append(path)
    return found


@dataclass(frozen=True)
class TextGridAligner:
    """Times from `<folder>/**/<cut id>.TextGrid`, as the Montreal Forced Aligner writes them.

    Args:
        folder: where the files lie; a cut "a/b" is looked for as a/b.TextGrid first, then as b.TextGrid.
        word_tier: name of the tier of words.
        phone_tier: name of the tier of phones; None for "phones" where there is one.
    """

    folder: str
    word_tier: str = "words"
    phone_tier: str | None = None
    name: str = "textgrid"
    needs_audio: bool = False
    english_only: bool = False

    def __post_init__(self) -> None:
        """Check that the folder is there."""
        if not Path(self.folder).is_dir():
            raise FileNotFoundError(f"folder must be a folder of TextGrid files, but is {self.folder} instead")

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str]) -> Aligned:
        """Times for the words; see `Aligner.align`."""
        files = _textgrids(str(self.folder))
        paths = files.get(cut_id) or files.get(PurePosixPath(cut_id).name) or []
        if len(paths) != 1:
            raise AlignmentError(f"{len(paths) or 'no'} TextGrid files for {cut_id!r} in {self.folder}")
        try:
            found = textgrid_alignment(paths[0], self.word_tier, self.phone_tier)
        except ValueError as error:
            raise AlignmentError(str(error)) from error
        return Aligned(spoken_times(words, found.words), found.phones)


@lru_cache(maxsize=4)
def _ctm(path: str) -> dict[str, list[list[AlignedWord]]]:
    """Channels of each recording."""
    found: dict[str, list[list[AlignedWord]]] = {}
    for (recording, _), words in read_ctm(path).items():
        found.setdefault(recording, []).append(words)
    return found


def _of_cut(path: str, cut_id: str) -> list[AlignedWord]:
    channels = _ctm(path).get(cut_id, [])
    if len(channels) != 1:
        what = f"{len(channels)} channels, not one," if channels else "no words"
        raise AlignmentError(f"{what} of {cut_id!r} in {path}")
    return channels[0]


@dataclass(frozen=True)
class CTMAligner:
    """Times from a CTM file whose first column is the cut id.

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

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str]) -> Aligned:
        """Times for the words; see `Aligner.align`."""
        found = _of_cut(str(self.words), cut_id)
        phones = _of_cut(str(self.phones), cut_id) if self.phones is not None else []
        return Aligned(spoken_times(words, found), [*phones])
