"""Examples with speech, text and label, and corpora of them by split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

from lhotse import MonoCut

from spiritlm_pl.benchmarks.readers.word_cuts import cached_part
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import SAMPLE_RATE, AudioError, load_waveform
from spiritlm_pl.corpora.decoding import declared_seconds
from spiritlm_pl.runtime.found import found_at


@dataclass(frozen=True, eq=False)
class Example:
    """An utterance, and what is known of it.

    Attributes:
        id: id that no other example of its split has.
        audio: file of its recording, or a cut of one.
        text: what is said; empty if it is not known.
        label: what is meant; empty if it is not known.
        language: language of what is said, as a code such as "en"; empty if it is not known.
    """

    id: str
    audio: Path | MonoCut
    text: str = ""
    label: str = ""
    language: str = ""

    def seconds(self) -> float | None:
        """Return how long the recording lasts; None if its file does not tell."""
        return self.audio.duration if isinstance(self.audio, MonoCut) else declared_seconds(self.audio)

    def file(self, cache: Path) -> Path:
        """Return a file that holds the recording and nothing else.

        Args:
            cache: folder to which a part of a recording is written, once.

        Raises:
            AudioError: if a part of a recording cannot be read.
        """
        if isinstance(self.audio, Path):
            return self.audio
        cut = self.audio
        source = Path(cut.recording.sources[0].source)
        whole = cut.start == 0 and isclose(cut.duration, cut.recording.duration, abs_tol=1e-6)
        if whole and len(cut.recording.channel_ids or [0]) == 1:
            return source
        if not source.is_file():
            raise AudioError(f"audio file must exist, but {found_at(source)}")
        part = f"{cut.start:.4f} {cut.duration:.4f} {cut.channel}"
        return cached_part(source, part, cache, lambda: (load_waveform(cut), SAMPLE_RATE))


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        examples: examples in the order of the files.
        skipped: examples that cannot be used, each with its reason.
        notes: sentences about what was found besides.
    """

    examples: Sequence[Example]
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Corpus:
    """Corpus in a layout that is known.

    Attributes:
        layout: name of the layout.
        splits: functions that read the splits, by name.
        tests: splits that are asked by default.
        train: split that examples are drawn from by default; None if there is none.
    """

    layout: str
    splits: Mapping[str, Callable[[], Split]]
    tests: Sequence[str]
    train: str | None
