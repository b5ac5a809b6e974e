"""Utterances of a folder of audio and transcripts: `x.txt` beside `x.wav`."""

import re
import sys
import unicodedata
from collections.abc import Collection
from dataclasses import replace
from itertools import chain
from pathlib import Path

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.decoding import AUDIO_SUFFIXES
from spiritlm_pl.corpora.files import files_below, path_id, read_text
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.replacing import AUDIO_LIST, own_audio
from spiritlm_pl.runtime.found import check_folder

TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")  # in order of preference; case is ignored
_SAMPLE_RANGE = re.compile(r"\s*0\s+\d{4,}\s+(?=[^\W\d])")  # stands before the words of a TIMIT transcript


def audio_files(folder: str | Path, written: Collection[Path] = (), argument: str = "folder") -> list[Path]:
    """Return the audio files of a folder at any depth, in linked folders as well, sorted by path.

    Audio that `spiritlm prepare` has written for corpora in the folder, or for the folder as a corpus, is left out, and
    a line on standard error says how much of which.

    Args:
        folder: path of the folder.
        written: resolved paths of further files to leave out.
        argument: name of the argument that gives the folder, for errors.

    Raises:
        FileNotFoundError: if there is no such folder, or no audio in it.
        NotADirectoryError: if it is a file.
    """
    folder = Path(folder)
    check_folder(folder, argument, "folder of audio")
    files = files_below(folder)
    corpora = [path.parent for path in files if path.name == AUDIO_LIST]
    own = {corpus: own_audio(corpus).difference(written) for corpus in corpora}
    left_out = {*written, *chain.from_iterable(own.values())}
    paths = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    found = [path for path in paths if path.resolve() not in left_out] if left_out else paths
    others = {path.resolve() for path in paths} if corpora else set()
    counts = {corpus: len(others & audio) for corpus, audio in own.items() if others & audio}
    if found and counts:
        named = ", ".join(f"{count} in {corpus}" for corpus, count in counts.items())
        print(f"{folder}: audio of corpora that `spiritlm prepare` has written is left out: {named}", file=sys.stderr)
    if not found:
        other = "other file, beside those that `spiritlm prepare` has written," if paths else "file"
        raise FileNotFoundError(
            f"{argument} must be a folder of audio, but {folder} holds no {other} that ends with one of "
            + ", ".join(sorted(AUDIO_SUFFIXES))
        )
    return found


def read_folder(
    folder: str | Path, language: str = "en", speaker_level: int | None = None, written: Collection[Path] = ()
) -> tuple[list[Utterance], list[Skipped]]:
    """Read the audio files of a folder at any depth, each with the text file of the same name.

    An audio file without a text file gives an utterance without a text, and a text file without audio gives one whose
    audio file is missing; both are reported when they are checked. The range of samples at the start of a TIMIT
    transcript is no part of the text.

    Args:
        folder: path of the folder.
        language: language of all transcripts.
        speaker_level: level of the folder below `folder` that names the speaker, 0 for the first; None if all files are
            of one speaker.
        written: resolved paths of audio that an earlier run has written there, which is left out.

    Returns:
        The utterances; and the files of an unknown format, with an unreadable transcript, or in too few folders for
        `speaker_level`.

    Raises:
        FileNotFoundError: if there is no such folder, or no audio in it.
        NotADirectoryError: if it is a file.
        ValueError: if `speaker_level` is below 0.
    """
    folder = Path(folder)
    if speaker_level is not None and speaker_level < 0:
        raise ValueError(f"speaker_level must be at least 0, but is {speaker_level} instead")
    heard_at = audio_files(folder, written, "audio")
    texts = _text_files(folder)
    files = [(path, texts.get(_stem(path))) for path in heard_at]
    heard = {_stem(path) for path, _ in files}
    unheard = {stem: text for stem, text in texts.items() if stem not in heard}
    others = _other_files(folder) if unheard else {}
    files += [(text.with_name(stem.name + ".wav"), text) for stem, text in unheard.items() if stem not in others]
    utterances: list[Utterance] = []
    skipped = [_unknown_format(others[stem], folder) for stem in unheard if stem in others]
    for path, text in files:
        relative = path.relative_to(folder)
        name = unicodedata.normalize("NFC", path_id(relative))
        parents = relative.parts[:-1]
        if speaker_level is not None and not speaker_level < len(parents):
            skipped.append(Skipped(name, str(path), _too_few_folders(speaker_level, len(parents))))
            continue
        speaker = folder.name if speaker_level is None else parents[speaker_level]
        try:
            content = _SAMPLE_RANGE.sub("", read_text(text), count=1) if text else None
            if content and "\0" in content:
                raise ValueError(f"{text} holds NUL characters")
        except (OSError, ValueError) as error:
            skipped.append(Skipped(name, str(path), f"transcript cannot be read: {error}"))
        else:
            utterances.append(Utterance(name, path, content, speaker, language))
    return distinct_ids(utterances), skipped


def _other_files(folder: Path) -> dict[Path, Path]:
    """Return files that by their names are neither audio nor transcripts, by their paths without suffix, one each."""
    known = (*AUDIO_SUFFIXES, *TEXT_SUFFIXES)
    return {_stem(path): path for path in files_below(folder) if not path.name.lower().endswith(known)}


def _unknown_format(path: Path, folder: Path) -> Skipped:
    name = unicodedata.normalize("NFC", path_id(path.relative_to(folder)))
    reason = f"audio file is missing, or {path.name} is of a format that is not looked for: convert it, or use a table"
    return Skipped(name, str(path), reason)


def _too_few_folders(speaker_level: int, count: int) -> str:
    return f"speaker_level must be below the number of folders above the file, {count}, but is {speaker_level} instead"


def _stem(path: Path) -> Path:
    """Return the path without suffix, in one Unicode form."""
    return path.with_name(unicodedata.normalize("NFC", path.stem))


def _text_files(folder: Path) -> dict[Path, Path]:
    """Return the transcripts by the path of their audio without suffix."""
    found: dict[Path, tuple[int, Path]] = {}
    for path in files_below(folder):
        name = path.name.lower()
        # the longest suffix counts: a.normalized.txt belongs to a.wav, not to a.normalized.wav
        suffix = max((suffix for suffix in TEXT_SUFFIXES if name.endswith(suffix)), key=len, default=None)
        if suffix is not None and len(name) > len(suffix):
            stem = path.with_name(unicodedata.normalize("NFC", path.name[: -len(suffix)]))
            candidate = (TEXT_SUFFIXES.index(suffix), path)
            found[stem] = min(candidate, found.get(stem, candidate))
    return {stem: path for stem, (_, path) in found.items()}


def distinct_ids(utterances: list[Utterance]) -> list[Utterance]:
    """Return the utterances with distinct ids; files that differ only in suffix or separators would share one."""
    own = {utterance.id for utterance in utterances}
    used: set[str] = set()
    result = []
    for utterance in utterances:
        name, number = utterance.id, 1
        while name in used or (number > 1 and name in own):
            number += 1
            name = f"{utterance.id}-{number}"
        used.add(name)
        result.append(replace(utterance, id=name))
    return result
