"""Stories cut before their ending: texts by sentences, recordings by the times of their words.

A cut of a recording is written once to a folder that the caller gives, as audio from Parquet files is.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from lhotse import MonoCut

from spiritlm_pl.corpora.audio import load_audio_file, save_wav, to_mono
from spiritlm_pl.corpora.files import path_id, plain_name
from spiritlm_pl.corpora.manifest import SPLITS, Word, cuts_path, load_cuts, word_alignment

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


def cut_time(words: Sequence[Word], beginning: str) -> float:
    """Return the time in seconds between the words of a beginning and those that follow it.

    Args:
        words: words of the whole recording with times.
        beginning: text of the beginning, whose words may be split differently.

    Raises:
        ValueError: if the words do not begin with this text, or nothing follows it.
    """
    wanted, said = _letters(beginning), ""
    for word, following in zip(words, words[1:], strict=False):
        said += _letters(word.text)
        if said == wanted:
            return (word.end + following.start) / 2
        if not wanted.startswith(said):
            break
    raise ValueError("the words of its alignment do not begin with the beginning that both texts share")


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


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
        self._words: dict[str, list[Word] | None] = {}  # None for a name that several recordings have
        aligned = 0
        for cut in _cuts(self.source):
            words = [Word(word.text, word.start + cut.start, word.end + cut.start) for word in word_alignment(cut)]
            aligned += bool(words)
            path = Path(cut.recording.sources[0].source)
            for name in {str(path.resolve()), path.stem, cut.id}:
                self._words[name] = None if name in self._words else words
        if not aligned:
            raise ValueError(f"{self.source} must hold word times, but has none: run `spiritlm align` on it")

    def of(self, audio: Path) -> list[Word]:
        """Return the words of a recording, found by its path, its name, or the id that its path gives.

        Raises:
            ValueError: if it has none, or several recordings have its name.
        """
        inner = path_id(audio)
        for name in (str(audio.resolve()), audio.stem, *_ends(inner)):
            if words := self._words.get(name):
                return words
        same = audio.stem in self._words and self._words[audio.stem] is None
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
    stat = audio.stat()
    key = f"{audio.resolve()} {stat.st_size} {stat.st_mtime_ns} {start:.4f} {end}"
    path = cache / f"{plain_name(audio.stem)}-{sha256(key.encode()).hexdigest()[:12]}.wav"
    if not path.is_file():
        waveform, rate = load_audio_file(audio, start, None if end is None else end - start)
        save_wav(path, to_mono(waveform, rate, rate), rate)
    return path
