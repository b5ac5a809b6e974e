"""LibriSpeech as it is downloaded: `LibriSpeech/<split>/<speaker>/<chapter>/*.flac` with `*.trans.txt`.

Its transcripts are in capitals without punctuation; they are read in small letters.
"""

from functools import partial
from pathlib import Path

from spiritlm_pl.benchmarks.few_shot.examples import Corpus, Example, Split
from spiritlm_pl.benchmarks.readers.files import audio_by_stem, listed
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import read_text

LAYOUT = "LibriSpeech"
TRAIN = "train-clean-100"


def find_librispeech(folder: Path) -> Corpus | None:
    """Return the corpus in a folder, or in its folder LibriSpeech; None if there is none."""
    for root in (folder / LAYOUT, folder):
        places = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        splits = {path.name: partial(read_split, path) for path in places if any(path.glob("*/*/*.trans.txt"))}
        if splits:
            trains = [name for name in splits if name.startswith("train")]
            train = TRAIN if TRAIN in splits else next(iter(trains), None)
            return Corpus(LAYOUT, splits, [name for name in splits if name.startswith("test")], train)
    return None


def read_split(folder: Path) -> Split:
    """Read the transcripts below the folder of a split; recordings are not opened."""
    found: dict[str, Example] = {}
    skipped: list[Skipped] = []
    extra: list[str] = []
    for path in sorted(folder.glob("*/*/*.trans.txt")):
        recordings = audio_by_stem(path.parent.iterdir())
        named = set()
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            named.add(name)
            where = f"line {number} of {path}"
            if not text.strip():
                skipped.append(Skipped(name, str(path), f"{where} must have a transcript, but is {line!r}"))
            elif name in found:
                skipped.append(Skipped(name, str(path), f"{where} must name another recording, but {name} came before"))
            elif name not in recordings:
                skipped.append(Skipped(name, str(path), f"{path.parent} must hold {name}.flac, but does not"))
            else:
                found[name] = Example(name, recordings[name], text.strip().lower(), language="en")
        extra += sorted(recordings.keys() - named)
    notes = [f"{len(extra)} recordings of {folder.name} have no transcript: {listed(extra)}"] if extra else []
    return Split(list(found.values()), skipped, notes)
