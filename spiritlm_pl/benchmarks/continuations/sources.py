"""Recordings and texts that prompts are made of, from any folder.

Layouts, told apart by themselves:

    corpus       a folder of `spiritlm prepare`, with corpus.json
    StoryCloze   any of its layouts (readers/storycloze.py), of which the right stories are taken
    texts        *.jsonl, *.csv or *.tsv with a column of texts, else *.txt with a text a line; for texts alone
    recordings   audio files at any depth; for speech alone
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import MonoCut

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.readers.files import files_by_folder, is_audio, listed, unique_name
from spiritlm_pl.benchmarks.readers.stories import layout_of, read_stories
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.corpora.manifest import INFO_FILE, load_cuts
from spiritlm_pl.corpora.plain_tables import broken_row, column_names, read_table
from spiritlm_pl.vocabulary import Modality

COLUMNS = ("prompt", "text", "sentence")
_TABLES = (".jsonl", ".csv", ".tsv")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Utterance that a prompt is made of.

    Attributes:
        id: id of the utterance.
        recordings: files that are heard one after another; empty for a text.
        start: place in seconds where the utterance begins in the first file.
        seconds: length of the utterance in seconds; None up to the end of the files.
        text: text of the utterance; empty for speech.
        labels: further columns, such as the voice.
    """

    id: str
    recordings: tuple[Path, ...] = ()
    start: float = 0.0
    seconds: float | None = None
    text: str = ""
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Utterances of a folder.

    Attributes:
        utterances: utterances in the order of the files.
        layout: name of the layout.
        skipped: utterances that cannot be used.
        notes: sentences about what was found besides.
    """

    utterances: Sequence[Source]
    layout: str
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()


def read_sources(folder: Path, modality: Modality, split: str, column: str | None, cache: Path) -> Sources:
    """Read the utterances of a folder.

    Args:
        folder: folder, or a file of texts.
        modality: whether recordings or texts are wanted.
        split: split of a corpus.
        column: column of the texts in a table; None for the first of `COLUMNS` that it has.
        cache: folder to which audio in Parquet files is written.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if it holds none of the layouts.
    """
    if folder.is_file():
        if modality is Modality.SPEECH:
            raise ValueError(f"spoken prompts must lie in a folder, but {folder} is a file")
        return _texts([folder], folder.parent, column)
    files = files_by_folder(folder)
    if (folder / INFO_FILE).is_file():
        return _corpus(folder, modality, split)
    if layout_of(files) is not None:
        return _stories(folder, files, modality, cache)
    every = [path for inner in files.values() for path in inner]
    if modality is Modality.SPEECH:
        return _recordings(folder, every)
    tables = [path for path in every if path.suffix.lower() in _TABLES]
    texts = tables or [path for path in every if path.suffix.lower() == ".txt"]
    if not texts:
        raise ValueError(
            f"{folder} must hold texts (*.jsonl, *.csv, *.tsv or *.txt), StoryCloze or a corpus, but has none"
        )
    return _texts(texts, folder, column)


def _corpus(folder: Path, modality: Modality, split: str) -> Sources:
    found, skipped = [], []
    for cut in load_cuts(folder, split):
        text = (cut.supervisions[0].text or "").strip() if cut.supervisions else ""
        labels: Labels = {"voice": cut.supervisions[0].speaker if cut.supervisions else None}
        if modality is Modality.TEXT and not text:
            skipped.append(Skipped(cut.id, str(folder), f"utterance {cut.id} of {folder} has no text"))
        elif modality is Modality.TEXT:
            found.append(Source(id=cut.id, text=text, labels=labels))
        elif cut.recording.sources[0].type != "file":
            skipped.append(Skipped(cut.id, str(folder), f"utterance {cut.id} of {folder} is not in a file of its own"))
        else:
            found.append(_spoken(cut, labels))
    return Sources(found, f"corpus, {split}", skipped)


def _spoken(cut: MonoCut, labels: Labels) -> Source:
    path = Path(cut.recording.sources[0].source)
    return Source(id=cut.id, recordings=(path,), start=cut.start, seconds=cut.duration, labels=labels)


def _stories(folder: Path, files: dict[Path, list[Path]], modality: Modality, cache: Path) -> Sources:
    stories = read_stories(folder, files, frozenset((modality,)), cache)
    found: list[Source] = []
    skipped = list(stories.skipped)
    seen: dict[str, int] = {}
    said: set[tuple[str, str]] = set()
    for story in stories.stories:
        name = unique_name(story.name, seen)
        labels: Labels = {"story": story.id, "voice": story.voice}
        texts = [story.beginning_text, story.right_text] if stories.apart else [story.right_text]
        audio = [story.beginning_audio, story.right_audio] if stories.apart else [story.right_audio]
        missing = not all(texts) if modality is Modality.TEXT else not all(audio)
        if missing:
            what = "text" if modality is Modality.TEXT else "recording"
            skipped.append(Skipped(name, str(story.path), f"story {name} lacks a {what}"))
        elif modality is Modality.SPEECH:
            found.append(Source(id=name, recordings=tuple(path for path in audio if path), labels=labels))
        elif (story.id, text := " ".join(text for text in texts if text)) not in said:  # else of another speaker
            said.add((story.id, text))
            found.append(Source(id=name, text=text, labels=labels))
    return Sources(found, f"StoryCloze, {stories.layout}", skipped, stories.notes)


def _recordings(folder: Path, files: Sequence[Path]) -> Sources:
    audio = [path for path in files if is_audio(path)]
    if not audio:
        raise ValueError(f"{folder} must hold recordings (*.wav, *.flac, *.ogg, *.mp3) or a corpus, but has none")
    seen: dict[str, int] = {}
    names = [unique_name(str(path.relative_to(folder).with_suffix("")), seen) for path in audio]
    found = [Source(id=name, recordings=(path,)) for name, path in zip(names, audio, strict=True)]
    return Sources(found, "recordings")


def _texts(files: Sequence[Path], folder: Path, column: str | None) -> Sources:
    found: list[Source] = []
    skipped: list[Skipped] = []
    for path in files:
        read = {".jsonl": _json_rows, ".txt": _lines}.get(path.suffix.lower(), _table_rows)
        name = str(path.relative_to(folder).with_suffix(""))
        for line, row in read(path, column):
            if isinstance(row, Skipped):
                skipped.append(row)
            else:
                text, labels = row
                found.append(Source(id=f"{name}-{line}" if len(files) > 1 else str(line), text=text, labels=labels))
    if not found:
        why = f": {skipped[0].reason}" if skipped else ""
        raise ValueError(f"{listed([str(path) for path in files])} must hold texts, but there are none{why}")
    return Sources(found, "texts", skipped)


_Row = tuple[str, Labels] | Skipped


def _lines(path: Path, column: str | None) -> Iterator[tuple[int, _Row]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, (line.strip(), {})


def _column(path: Path, names: Sequence[str], column: str | None) -> str:
    wanted = COLUMNS if column is None else (column.lower(),)
    found = next((name for name in wanted if name in names), None)
    if found is None:
        has = ", ".join(names) or "none"
        raise ValueError(f"{path} must have a column {' or '.join(wanted)} (see the option column), but has {has}")
    return found


def _table_rows(path: Path, column: str | None) -> Iterator[tuple[int, _Row]]:
    name = _column(path, column_names(path), column)
    table = read_table(path, [name])
    for skipped in table.broken:
        yield 0, skipped
    for row in table.rows:
        text = row.cells[name]
        others: Labels = {key: value for key, value in row.cells.items() if key != name}
        yield row.line, (text, others) if text else broken_row(path, row.line, f"its {name} is empty")


def _json_rows(path: Path, column: str | None) -> Iterator[tuple[int, _Row]]:
    name: str | None = None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            yield number, broken_row(path, number, "it is no JSON object")
            continue
        lowered = {str(key).lower(): value for key, value in row.items()}
        name = name or _column(path, list(lowered), column)
        text = lowered.get(name)
        if not isinstance(text, str) or not text.strip():
            yield number, broken_row(path, number, f"its {name} is no text")
            continue
        plain = {key: value for key, value in lowered.items() if isinstance(value, str | int | float | None)}
        yield number, (text.strip(), {key: value for key, value in plain.items() if key != name})
