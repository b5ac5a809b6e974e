"""A folder of audio and transcripts: `x.txt` beside `x.wav`, or a table of paths and texts."""

import csv
from dataclasses import replace
from pathlib import Path

from spiritlm_pl.corpora.decoding import AUDIO_SUFFIXES
from spiritlm_pl.corpora.ingest import Utterance

TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")
_PATH_COLUMNS = ("path", "audio", "file", "filename", "wav", "audio_path")
_TEXT_COLUMNS = ("text", "transcript", "sentence", "transcription")
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
_STYLE_COLUMNS = ("style", "emotion")


def audio_files(folder: str | Path) -> list[Path]:
    """Audio at any depth, sorted by path.

    Raises:
        FileNotFoundError: if there is no such folder, or no audio in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder must be a folder of audio, but {folder} is missing instead")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"folder must hold audio ({', '.join(sorted(AUDIO_SUFFIXES))}), but {folder} has none")
    return paths


def read_folder(folder: str | Path, language: str = "en", speaker_level: int | None = None) -> list[Utterance]:
    """Audio files at any depth, each with the text file of the same name.

    An audio file without one comes without a text, and a text file without audio as an audio file that is missing:
    both are reported when they are checked.

    Args:
        folder: where to look.
        language: of all transcripts.
        speaker_level: which folder below `folder` names the speaker (0 the first); None for one speaker.

    Raises:
        FileNotFoundError: if there is no such folder, or no audio in it.
    """
    folder = Path(folder)
    paths = audio_files(folder)
    texts = {path: _text_file(path) for path in paths}
    spoken = {path.with_suffix("") for path in paths}
    alone = [
        text
        for text in sorted(folder.rglob("*"))
        if text.suffix.lower() in TEXT_SUFFIXES
        and text.with_suffix("") not in spoken
        and text.with_name(text.name.partition(".")[0]) not in spoken
    ]
    utterances = []
    for path, text in (*texts.items(), *((text.with_suffix(".wav"), text) for text in alone)):
        relative = path.relative_to(folder)
        content = text.read_text(encoding="utf-8", errors="replace") if text else None
        parents = relative.parts[:-1]
        speaker = folder.name
        if speaker_level is not None and speaker_level < len(parents):
            speaker = parents[speaker_level]
        utterances.append(Utterance(_identifier(relative), path, content, speaker, language))
    return _distinct(utterances)


def _text_file(audio: Path) -> Path | None:
    found = (audio.with_name(audio.stem + suffix) for suffix in TEXT_SUFFIXES)
    return next((text for text in found if text.is_file()), None)


def read_table(table: str | Path, audio_root: str | Path | None = None, language: str = "en") -> list[Utterance]:
    """Rows of a .csv, or .tsv, with a header that names columns of paths, texts and, if known, speakers and styles.

    A speaker or style that the table does not tell is left empty: nobody knows which utterances share it.

    Args:
        table: the file; a path in it is relative to `audio_root`.
        audio_root: None for the folder of the table.
        language: of all transcripts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lacks a column.
    """
    table = Path(table)
    if not table.is_file():
        raise FileNotFoundError(f"table must be a .csv or .tsv file, but {table} is missing instead")
    root = Path(audio_root) if audio_root else table.parent
    with table.open(encoding="utf-8-sig", newline="") as stream:
        if table.suffix.lower() == ".csv":
            reader = csv.DictReader(stream)
        else:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        names = {name.strip().lower(): name for name in reader.fieldnames or () if name}
        columns = []
        for kind, candidates in (
            ("path", _PATH_COLUMNS),
            ("text", _TEXT_COLUMNS),
            ("speaker", _SPEAKER_COLUMNS),
            ("style", _STYLE_COLUMNS),
        ):
            column = next((names[name] for name in candidates if name in names), None)
            if column is None and kind in ("path", "text"):
                raise ValueError(
                    f"table must have a column of {kind} ({', '.join(candidates)}), "
                    f"but {table} has {', '.join(names) or 'none'} instead"
                )
            columns.append(column)
        rows = list(reader)
    path_column, text_column, speaker_column, style_column = columns
    utterances = []
    for row in rows:
        name = (row[path_column] or "").strip()
        speaker = ((row[speaker_column] if speaker_column else None) or "").strip()
        style = (row[style_column] or "").strip() if style_column else ""
        custom = {"style": style} if style else None
        utterances.append(
            Utterance(_identifier(Path(name)), root / name, row[text_column] or "", speaker, language, custom=custom)
        )
    return _distinct(utterances)


def _identifier(path: Path) -> str:
    return "-".join(part for part in path.with_suffix("").parts if part not in ("/", "..", "."))


def _distinct(utterances: list[Utterance]) -> list[Utterance]:
    """Different ids for files that differ in their suffix only."""
    seen: dict[str, int] = {}
    result = []
    for u in utterances:
        number = seen[u.id] = seen.get(u.id, 0) + 1
        name = u.id if number == 1 else f"{u.id}-{number}"
        result.append(replace(u, id=name))
    return result
