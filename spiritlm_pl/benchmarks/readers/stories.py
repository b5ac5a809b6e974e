"""Layouts of StoryCloze: files beside each other, or Parquet files, as stories with what each has."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from spiritlm_pl.benchmarks.readers import parquet
from spiritlm_pl.benchmarks.readers.files import is_audio, listed
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.vocabulary import Modality

_Files: TypeAlias = Mapping[Path, Sequence[Path]]
_WHOLE = re.compile(r"(\d+)_(.+)_(correct|incorrect)")
_PART = re.compile(r"(.+)_(mutual|correct|incorrect)")
Kind: TypeAlias = Literal["spoken", "topic"]
TITLES: dict[Kind, str] = {"spoken": "StoryCloze (sStoryCloze)", "topic": "Topic StoryCloze (tStoryCloze)"}
_KINDS: dict[str, Kind] = {"ssc": "spoken", "sstorycloze": "spoken", "tsc": "topic", "tstorycloze": "topic"}
_TEXTS = ("correct_text", "negative_text")
_AUDIO = ("correct_audio", "negative_audio")


@dataclass(frozen=True, kw_only=True)
class Story:
    """Story with a right and a wrong ending; texts and recordings are of the whole story, or of its parts.

    Attributes:
        id: id of the story, which it has in every voice.
        name: id of the story in this voice.
        voice: name of the voice; None if there is only one.
        names: names of the right and of the wrong file.
        path: file to name in messages.
        right_audio: recording with the right ending; None if it is missing.
        wrong_audio: recording with the wrong ending; None if it is missing.
        right_text: text with the right ending; None if it is missing.
        wrong_text: text with the wrong ending; None if it is missing.
        beginning_audio: recording of the beginning alone; None where stories are whole, or it is missing.
        beginning_text: text of the beginning alone; None where stories are whole, or it is missing.
    """

    id: str
    name: str
    voice: str | None
    names: tuple[str, str]
    path: Path
    right_audio: Path | None = None
    wrong_audio: Path | None = None
    right_text: str | None = None
    wrong_text: str | None = None
    beginning_audio: Path | None = None
    beginning_text: str | None = None


@dataclass(frozen=True)
class Stories:
    """Stories of a folder.

    Attributes:
        stories: stories in the order of the files.
        layout: name of the layout.
        apart: whether beginnings and endings lie apart.
        skipped: stories that are named, but lack a file.
        notes: sentences about files that belong to no story.
    """

    stories: Sequence[Story]
    layout: str
    apart: bool
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()


@dataclass
class _Parts:
    """Files of a story by part, such as "correct", and by suffix, such as ".txt"; ".wav" stands for any audio."""

    files: dict[tuple[str, str], Path] = field(default_factory=dict)

    def stem(self, part: str) -> str:
        path = self.files.get((part, ".wav")) or self.files.get((part, ".txt"))
        return path.stem if path else part

    def text(self, part: str, wanted: bool) -> str | None:
        path = self.files.get((part, ".txt"))
        return read_text(path).strip() if path and wanted else None


def read_stories(
    folder: Path, files: _Files, wanted: frozenset[Modality], cache: Path | None, kind: Kind | None = None
) -> Stories:
    """Read the stories of a folder in whichever layout it has.

    Args:
        folder: folder that was given, for messages.
        files: files below it, by folder.
        wanted: modalities that are needed; others are not read.
        cache: folder to which audio in Parquet files is written; None if there is none.
        kind: benchmark that is read where a folder holds both; None for the only one.

    Raises:
        ValueError: if it has no known layout, texts are wanted that it has not, or it holds another benchmark.
    """
    files = of_kind(folder, files, kind)
    layout = layout_of(files)
    if layout in ("cross-modal", "flat"):
        return _files_of(folder, _plain(files), layout, wanted)
    if layout == "hub":
        return _parquet_of(folder, _hub(files), wanted, cache)
    raise ValueError(
        f"{folder} must hold files <n>_<story>_correct.wav and <n>_<story>_incorrect.wav with .txt beside them, files "
        f"<base>_mutual, _correct and _incorrect, or Parquet files with columns {', '.join((*_TEXTS, *_AUDIO))}, but "
        f"has none of them among {sum(map(len, files.values()))} files"
    )


def layout_of(files: _Files) -> str | None:
    """Return the name of the layout that the files of a folder have; None if they are no stories."""
    stems = [path.stem for inner in _plain(files).values() for path in inner]
    if any(_PART.fullmatch(stem) and stem.endswith("_mutual") for stem in stems):
        return "cross-modal"
    if any(_WHOLE.fullmatch(stem) for stem in stems):
        return "flat"
    return "hub" if _hub(files) else None


def _plain(files: _Files) -> dict[Path, list[Path]]:
    return {place: [one for one in inner if is_audio(one) or one.suffix == ".txt"] for place, inner in files.items()}


def _hub(files: _Files) -> list[Path]:
    columns = {path: parquet.parquet_columns(path) for path in parquet.parquet_files(files)}
    return [path for path, names in columns.items() if {*_TEXTS, *_AUDIO}.intersection(names)]


def of_kind(folder: Path, files: _Files, kind: Kind | None) -> dict[Path, list[Path]]:
    """Return the files of one benchmark where both StoryCloze and Topic StoryCloze lie below a folder.

    Args:
        folder: folder that was given.
        files: files below it, by folder.
        kind: benchmark that is wanted; None for that which is there.

    Raises:
        ValueError: if the names of folders tell that only the other one is there, or both and none is wanted.
    """
    kinds = {place: _kind_of(place.relative_to(folder.parent) if folder.name else place) for place in files}
    names = {found: name for found, name in kinds.values() if found}
    if kind is None and len(names) > 1:
        raise ValueError(
            f"{folder} must hold one benchmark, but holds {' and '.join(names.values())}: give one of them"
        )
    if kind is not None and names and kind not in names:
        raise ValueError(f"{folder} must hold {TITLES[kind]}, but holds {' and '.join(names.values())}")
    left = [place for place, (found, _) in kinds.items() if len(names) < 2 or found == kind]
    return {place: list(files[place]) for place in left}


def _kind_of(place: Path) -> tuple[Kind | None, str]:
    """Return which benchmark the names of a folder and of those above it tell, with the name; None for neither."""
    for part in reversed(place.parts):
        if kind := _KINDS.get(re.sub(r"[^a-z]", "", part.lower())):
            return kind, part
    return None, ""


def _files_of(folder: Path, files: _Files, layout: str, wanted: frozenset[Modality]) -> Stories:
    pattern = _PART if layout == "cross-modal" else _WHOLE
    matches = {
        place: [(match, path) for path in inner if (match := pattern.fullmatch(path.stem))]
        for place, inner in files.items()
    }
    places = [place for place, found in matches.items() if found]
    stories: list[Story] = []
    skipped: list[Skipped] = []
    for place in places:
        voice = None if place == folder or len(places) == 1 else str(place.relative_to(folder))
        groups = _grouped(matches[place]) if layout == "flat" else _by_base(matches[place])
        for (name, story_id), parts in groups.items():
            label = f"{voice}/{name}" if voice else name
            given = {part for part, _ in parts.files}
            if not {"correct", "incorrect"} <= given:
                missing = "wrong" if "correct" in given else "right"
                path = next(iter(parts.files.values()))
                skipped.append(Skipped(label, str(path), f"story {label} of {folder} lacks its {missing} ending"))
                continue
            try:
                stories.append(_story(parts, label, story_id, voice, wanted))
            except (ValueError, OSError) as error:  # a text that is in no known encoding
                skipped.append(Skipped(label, str(place), f"story {label} cannot be used: {error}"))
    used = {path for found in matches.values() for _, path in found}
    left = sorted(str(path.relative_to(folder)) for inner in files.values() for path in inner if path not in used)
    notes = [f"{folder} holds {len(left)} files that belong to no story: {listed(left)}"] if left else []
    return Stories(stories, layout, layout == "cross-modal", skipped, notes)


def _story(parts: _Parts, name: str, story_id: str, voice: str | None, wanted: frozenset[Modality]) -> Story:
    texts = Modality.TEXT in wanted
    return Story(
        id=story_id,
        name=name,
        voice=voice,
        names=(parts.stem("correct"), parts.stem("incorrect")),
        path=next(iter(parts.files.values())),
        right_audio=parts.files.get(("correct", ".wav")),
        wrong_audio=parts.files.get(("incorrect", ".wav")),
        right_text=parts.text("correct", texts),
        wrong_text=parts.text("incorrect", texts),
        beginning_audio=parts.files.get(("mutual", ".wav")),
        beginning_text=parts.text("mutual", texts),
    )


def _by_base(found: Sequence[tuple[re.Match[str], Path]]) -> dict[tuple[str, str], _Parts]:
    groups: dict[tuple[str, str], _Parts] = {}
    for match, path in found:
        groups.setdefault((match[1], match[1]), _Parts()).files[match[2], _kind(path)] = path
    return groups


def _grouped(found: Sequence[tuple[re.Match[str], Path]]) -> dict[tuple[str, str], _Parts]:
    """Group the files of whole stories by story; of several with one name, the right is number n, the wrong n + 1."""
    numbers: dict[str, dict[tuple[str, int], _Parts]] = {}
    for match, path in found:
        one = numbers.setdefault(match[2], {}).setdefault((match[3], int(match[1])), _Parts())
        one.files[match[3], _kind(path)] = path
    groups: dict[tuple[str, str], _Parts] = {}
    for story, parts in numbers.items():
        several = len(parts) > 2 or len({part for part, _ in parts}) < len(parts)
        for (part, number), one in sorted(parts.items(), key=lambda pair: (pair[0][1], pair[0][0])):
            first = number if part == "correct" else number - 1
            name = f"{first}_{story}" if several else story
            groups.setdefault((name, name), _Parts()).files.update(one.files)
    return groups


def _kind(path: Path) -> str:
    return ".wav" if is_audio(path) else ".txt"


def _parquet_of(folder: Path, paths: Sequence[Path], wanted: frozenset[Modality], cache: Path | None) -> Stories:
    speakers = {path.parent for path in paths}
    stories: list[Story] = []
    skipped: list[Skipped] = []
    needed = [*(_TEXTS if Modality.TEXT in wanted else ()), *(_AUDIO if Modality.SPEECH in wanted else ())]
    for path in paths:
        columns = parquet.parquet_columns(path)
        if missing := [column for column in needed if column not in columns]:
            raise ValueError(f"{path} must have columns {', '.join(needed)}, but lacks {', '.join(missing)}")
        voice = path.parent.name if len(speakers) > 1 else None
        plain = [column for column in ("id", *_TEXTS) if column in columns]
        rows = list(parquet.label_rows(path, plain))
        audio: list[parquet.Found] = [{} for _ in rows]
        if Modality.SPEECH in wanted:
            cached = parquet.check_cache(cache, "audio lies in Parquet files")
            audio = parquet.extract_audio(path, _AUDIO, range(len(rows)), cached)
        for number, (row, found) in enumerate(zip(rows, audio, strict=True)):
            story_id = str(row["id"]) if row.get("id") is not None else f"{path.stem}/{number}"
            name = f"{voice}/{story_id}" if voice else story_id
            if reason := next((one for one in found.values() if isinstance(one, str)), None):
                skipped.append(Skipped(name, str(path), f"row {number} of {path} {reason}"))
                continue
            right, wrong = (found.get(column) for column in _AUDIO)
            stories.append(
                Story(
                    id=story_id,
                    name=name,
                    voice=voice,
                    names=(f"{story_id}_correct", f"{story_id}_incorrect"),
                    path=path,
                    right_audio=right if isinstance(right, Path) else None,
                    wrong_audio=wrong if isinstance(wrong, Path) else None,
                    right_text=(row.get("correct_text") or "").strip() or None,
                    wrong_text=(row.get("negative_text") or "").strip() or None,
                )
            )
    return Stories(stories, "hub", False, skipped)
