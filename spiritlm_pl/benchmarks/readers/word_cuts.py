"""Stories cut before their ending: texts by sentences, recordings by the times of their words.

A cut of a recording is written once to a folder that the caller gives, as audio from Parquet files is.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lhotse import MonoCut
from torch import Tensor

from spiritlm_pl.corpora.audio import load_audio_file, save_wav, to_mono
from spiritlm_pl.corpora.decoding import declared_seconds
from spiritlm_pl.corpora.files import path_id, plain_name
from spiritlm_pl.corpora.manifest import SPLITS, Word, cuts_path, load_cuts, word_alignment
from spiritlm_pl.corpora.text.transcripts import readings
from spiritlm_pl.corpora.word_times import spoken_times
from spiritlm_pl.storage.user_cache import cache_folder

SLACK = 0.05  # seconds by which lengths of one recording in two formats differ
_END = re.compile(r"[.!?…]+[\"'”’)\]]*$")


def shared_words(right: str, wrong: str) -> int:
    """Return how many words two stories share at their beginning, up to the end of a sentence.

    Sentences end with a full stop, an exclamation or a question mark, or a line break. At least one word of each story
    is left. 0 means that they do not begin with the same sentence.
    """
    ours, theirs = _words(right), _words(wrong)
    most = min(len(ours), len(theirs)) - 1
    shared = 0
    for place in range(most):
        if ours[place][0] != theirs[place][0]:
            break
        if ours[place][1] or theirs[place][1]:
            shared = place + 1
    return shared


def split_text(text: str, count: int) -> tuple[str, str]:
    """Split a text after a number of words."""
    words = text.split()
    return " ".join(words[:count]), " ".join(words[count:])


def _words(text: str) -> list[tuple[str, bool]]:
    """Return the words of a text, and whether each ends a sentence."""
    found: list[tuple[str, bool]] = []
    for line in text.splitlines():
        words = line.split()
        found += [(word, place == len(words) - 1 or bool(_END.search(word))) for place, word in enumerate(words)]
    return found


def cut_time(words: Sequence[Word], beginning: str, text: str, language: str = "en") -> float:
    """Return the time in seconds between the words of a beginning and those that follow it.

    Args:
        words: words of the whole recording with times, whose spelling may differ ("$5" and "five dollars").
        beginning: text of the beginning.
        text: text of the whole recording.
        language: language of the text, as a code such as "en".

    Raises:
        ValueError: if the words say something else than the text, or nothing follows the beginning.
    """
    before, said = (
        [word for reading in readings(part, language) for word in reading.words] for part in (beginning, text)
    )
    if not before or len(before) >= len(said) or said[: len(before)] != before:
        raise ValueError("its text is read differently before and after its ending is cut off")
    timed = spoken_times(said, words, language)
    return (timed[len(before) - 1].end + timed[len(before)].start) / 2


@dataclass(frozen=True)
class _Recording:
    words: list[Word]
    seconds: float
    language: str


class WordTimes:
    """Times of the words of recordings, as `spiritlm align` writes them.

    Args:
        source: corpus folder, or one of its files cuts_*.jsonl.gz.

    Raises:
        FileNotFoundError: if it is neither.
        ValueError: if no recording in it has word times.
    """

    def __init__(self, source: str | Path) -> None:
        """Read the times."""
        self.source = Path(source)
        self._found: dict[str, _Recording | None] = {}  # None for a name that several recordings have
        aligned = 0
        for cut in _cuts(self.source):
            words = [Word(word.text, word.start + cut.start, word.end + cut.start) for word in word_alignment(cut)]
            aligned += bool(words)
            recording = _Recording(words, cut.recording.duration, cut.supervisions[0].language or "en")
            path = Path(cut.recording.sources[0].source)
            for name in {str(path.resolve()), path.stem, cut.id}:
                self._found[name] = None if name in self._found else recording
        if not aligned:
            raise ValueError(f"{self.source} must hold word times, but has none: run `spiritlm align` on it")

    def cut(self, audio: Path, beginning: str, text: str) -> float:
        """Return the time in seconds at which the beginning of a recording ends.

        Args:
            audio: path of the recording, which is found by it, by its name, or by the id that its path gives.
            beginning: text of the beginning.
            text: text of the whole recording.

        Raises:
            ValueError: if it has no word times, several recordings have its name, that of its name has another length,
                or its words say something else than the text.
        """
        recording = self._of(audio)
        return cut_time(recording.words, beginning, text, recording.language)

    def _of(self, audio: Path) -> _Recording:
        for name in (str(audio.resolve()), *_ends(path_id(audio)), audio.stem):
            found = self._found.get(name)
            if found is None or not found.words:
                continue
            seconds = declared_seconds(audio)
            if seconds is not None and abs(seconds - found.seconds) > SLACK:
                raise ValueError(
                    f"{audio.name} lasts {seconds:.2f} s, but its word times in {self.source} are of a recording of "
                    f"{found.seconds:.2f} s"
                )
            return found
        same = audio.stem in self._found and self._found[audio.stem] is None
        why = "names several recordings" if same else "has no word times"
        raise ValueError(f"{audio.name} {why} in {self.source}")


def _ends(name: str) -> list[str]:
    parts = name.split("-")
    return ["-".join(parts[place:]) for place in range(len(parts))]


def _cuts(source: Path) -> Iterable[MonoCut]:
    if source.is_dir():
        present = [split for split in SPLITS if cuts_path(source, split).is_file()]
        if not present:
            raise FileNotFoundError(
                f"word_times must be a corpus folder with {cuts_path(source, 'train').name} or a file of cuts, but "
                f"{source} has none"
            )
        return [cut for split in present for cut in load_cuts(source, split)]
    split = source.name.removeprefix("cuts_").removesuffix(".jsonl.gz")
    if not source.is_file() or split not in SPLITS:
        raise FileNotFoundError(
            f"word_times must be a corpus folder or one of its files cuts_*.jsonl.gz, but is {source} instead"
        )
    return list(load_cuts(source.parent, split))


def cut_audio(audio: Path, start: float, end: float | None, cache: Path) -> Path:
    """Write a part of a recording, mixed to mono at its own rate, or find it there from an earlier time.

    Args:
        audio: path of the recording.
        start: beginning of the part in seconds.
        end: its end in seconds; None for the end of the recording.
        cache: folder to write to.

    Raises:
        AudioError: if the recording cannot be read.
        OSError: if the part cannot be written.
    """

    def load() -> tuple[Tensor, int]:
        waveform, rate = load_audio_file(audio, start, None if end is None else end - start)
        return to_mono(waveform, rate, rate), rate

    return cached_part(audio, f"{start:.4f} {end}", cache, load)


def cached_part(audio: Path, part: str, cache: Path, load: Callable[[], tuple[Tensor, int]]) -> Path:
    """Write a part of a recording, or find it there from an earlier time.

    Its name depends on the recording's path, size and time. The file has the recording's time, so that it is the same
    item whichever process writes it, and whenever.

    Args:
        audio: path of the recording.
        part: words that tell the part from all others of the recording.
        cache: folder to write to.
        load: function that returns the part as a waveform (S,), and its rate in Hz.

    Raises:
        OSError: if there is no such recording, or the part cannot be written.
    """
    stat = audio.stat()
    key = f"{audio.resolve()} {stat.st_size} {stat.st_mtime_ns} {part}"
    path = cache_folder(cache) / f"{plain_name(audio.stem)}-{sha256(key.encode()).hexdigest()[:12]}.wav"
    return written_once(path, stat.st_mtime_ns, load)


def written_once(path: Path, time: int, load: Callable[[], tuple[Tensor, int]]) -> Path:
    """Write a wav file with a given time, unless it is there.

    Args:
        path: path of the file.
        time: its time of change in ns, which must not be the time of writing, as items are told apart by it.
        load: function that returns a waveform (S,), and its rate in Hz.

    Raises:
        OSError: if the file cannot be written.
    """
    if not path.is_file():
        temporary = path.with_name(f"{os.getpid()}-{path.name}")
        save_wav(temporary, *load())
        os.utime(temporary, ns=(time, time))
        temporary.replace(path)
    return path
