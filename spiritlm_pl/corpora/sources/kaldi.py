"""Kaldi data folders: wav.scp and, for the utterances in it, segments, text, utt2spk and utt2lang."""

import math
from pathlib import Path

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.overlaps import MAX_OVERLAP, without_disturbed
from spiritlm_pl.runtime.found import lacks

RECORDINGS_FILE = "wav.scp"


def read_kaldi(
    folder: str | Path, language: str = "en", max_overlap: float = MAX_OVERLAP
) -> tuple[list[Utterance], list[Skipped]]:
    """Read the utterances of a Kaldi data folder, and list those that were left out.

    Paths are taken as they stand; relative ones start from the working folder. Commands (`sph2pipe ... |`) are not run.

    Args:
        folder: path of a folder with wav.scp, and with segments if recordings are longer than utterances.
        language: language of utterances that utt2lang does not name.
        max_overlap: longest time in seconds for which another speaker may talk in an utterance.

    Raises:
        FileNotFoundError: if there is no wav.scp.
        ValueError: if a file is not UTF-8, or has the same id twice.
    """
    folder = Path(folder)
    recordings = _mapping(folder / RECORDINGS_FILE)
    segments = (
        _mapping(folder / "segments") if (folder / "segments").is_file() else {n: f"{n} 0 -1" for n in recordings}
    )
    texts, speakers, languages = (
        _mapping(path) if path.is_file() else {} for path in (folder / name for name in ("text", "utt2spk", "utt2lang"))
    )
    utterances, skipped = [], []
    for name, line in segments.items():
        try:
            recording, first, last = line.split()[:3]
            start, end = float(first), float(last)
        except ValueError:
            reason = f"segments must have a recording, a start and an end in seconds, but have {line!r} instead"
            skipped.append(Skipped(name, str(folder / "segments"), reason))
            continue
        source = recordings.get(recording)
        if source is None:
            reason = f"recording {recording} is not in {RECORDINGS_FILE}"
            skipped.append(Skipped(name, str(folder / "segments"), reason))
        elif source.endswith("|"):
            reason = "audio is what a command writes, and commands are not run: store their output in files"
            skipped.append(Skipped(name, source, reason))
        elif not 0 <= start < (math.inf if end == -1 else end) or end == math.inf:
            reason = f"start and end must be seconds, the end after the start or -1, but are {line!r} instead"
            skipped.append(Skipped(name, source, reason))
        else:
            utterances.append(
                Utterance(
                    name,
                    Path(source),
                    texts.get(name),
                    speakers.get(name, ""),
                    languages.get(name, language),
                    start,
                    None if end == -1 else end - start,  # -1 stands for the end of the recording
                )
            )
    named = set(segments)
    skipped += [
        Skipped(name, str(folder / "text"), "there is no audio: it is not in segments or wav.scp")
        for name in texts
        if name not in named
    ]
    kept, disturbed = without_disturbed(utterances, max_overlap)
    return kept, [*skipped, *disturbed]


def _mapping(path: Path) -> dict[str, str]:
    """Read a file as a mapping from the first word of each line to the rest of the line."""
    if not path.is_file():
        raise FileNotFoundError(f"Kaldi folder must have {path.name}, but {lacks(path.parent)}")
    found: dict[str, str] = {}
    try:
        lines = read_text(path).split("\n")  # not splitlines: transcripts may hold other line separators
    except ValueError as error:
        raise ValueError(f"{path.name} must be UTF-8, but {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
        if name in found:
            raise ValueError(f"ids of {path.name} must differ, but {name} stands again in line {number} of {path}")
        found[name] = rest.strip()
    return found
