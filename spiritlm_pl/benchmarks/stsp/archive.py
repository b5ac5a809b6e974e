"""The published archive (`stsp.tar.gz`): `stsp_data/{data,manifest,model}`, with a JSON object a line in manifests."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.readers.files import listed
from spiritlm_pl.benchmarks.stsp.items import Direction, Side, reference_label
from spiritlm_pl.benchmarks.stsp.labels import LabelMap
from spiritlm_pl.benchmarks.stsp.samples import Collection, Sample, Shot, is_there
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.generation.types import Piece, Speech, Text
from spiritlm_pl.runtime.found import found_at

INNER = (".", "stsp_data", "data/stsp_data", "stsp/data/stsp_data")
SPLITS = ("train", "dev", "test")
FEW_SHOT = "few_shot"


def archive_root(folder: Path) -> Path | None:
    """Return the folder with `manifest/`, which is the folder itself or lies in it; None without one."""
    return next((folder / inner for inner in INNER if (folder / inner / "manifest").is_dir()), None)


def read_archive(
    root: Path, direction: Direction, split: str, manifests: Sequence[str] | None, names: LabelMap, shots: bool
) -> Collection:
    """Read the samples of a split, and the shots of a direction.

    Args:
        root: folder with `manifest/` and `data/`.
        direction: direction whose shots are read.
        split: train, dev or test.
        manifests: names of manifests, such as emov; None for all.
        names: map from sentiments or emotions to labels.
        shots: whether shots are read.

    Raises:
        ValueError: if the split or a manifest is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, but is {split!r} instead")
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    for name, file in _manifests(root, split, manifests).items():
        for number, row in read_rows(file):
            try:
                samples.append(_sample(root, name, row, names))
            except ValueError as error:
                skipped.append(Skipped(f"{name}/{number}", str(file), f"line {number} of {file.name}: {error}"))
    found, notes = read_shots(root, direction, names) if shots else ([], [])
    return Collection(samples, "STSP", found, skipped, notes, root / "model")


def _manifests(root: Path, split: str, wanted: Sequence[str] | None) -> dict[str, Path]:
    files = sorted((root / "manifest").rglob(f"*.{split}.jsonl"))
    found = {file.name.removesuffix(f".{split}.jsonl"): file for file in files if FEW_SHOT not in file.parts}
    if isinstance(wanted, str):
        wanted = [wanted]
    lacking = [name for name in wanted or () if name not in found]
    if lacking or not found:
        there = ", ".join(found) or "none"
        asked = ", ".join(lacking) if lacking else "any"
        raise ValueError(f"{root / 'manifest'} must hold NAME.{split}.jsonl for {asked}, but has {there}")
    return {name: found[name] for name in wanted} if wanted else found


def read_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield the numbers of lines and what is in them; text that is no JSON is yielded as a ValueError.

    Raises:
        ValueError: if the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} must be a file of JSON lines, but cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                yield number, error


def own_id(row: Any) -> str | int:
    """Return the id of a row.

    Raises:
        ValueError: if the row is no object, or has no id.
    """
    if not isinstance(row, dict):
        raise ValueError(f"a row must be a JSON object, but is {str(row)[:60]}")
    found = row.get("id")
    if isinstance(found, bool) or not isinstance(found, int | str) or found == "":
        raise ValueError(f"id must be a number or a text, but is {found!r} instead")
    return found


def _sample(root: Path, corpus: str, row: Any, names: LabelMap) -> Sample:
    number = own_id(row)
    label, told = reference_label(row, names)
    if label is None:
        raise ValueError(f"{names.kind} must have a label, but is {told}")
    text, place = row.get("asr"), row.get("wav_path")
    audio = root / "data" / place if isinstance(place, str) and place else None
    reason = "" if audio else "the row has no wav_path"
    if audio is not None and not audio.is_file():
        reason, audio = f"{audio} is missing", None
    text = text.strip() if isinstance(text, str) else ""
    return Sample(f"{corpus}/{number}", number, corpus, label, text, audio, str(row.get("speaker") or ""), reason)


def read_shots(root: Path, direction: Direction, names: LabelMap) -> tuple[list[Shot], list[str]]:
    """Read the shots of a direction; those whose files are missing are left out with a note.

    Raises:
        ValueError: if there are none, or a row is broken.
    """
    file = root / "manifest" / FEW_SHOT / f"{direction.file}.jsonl"
    if not file.is_file():
        raise ValueError(f"shots must be 0, as {found_at(file)}")
    found: list[Shot] = []
    lost: list[str] = []
    by_sentiment = LabelMap("sentiment", names.own if names.kind == "sentiment" else {})
    for number, row in read_rows(file):
        try:
            shot = _shot(root, direction, row, by_sentiment)
        except ValueError as error:
            raise ValueError(f"line {number} of {file} must be a shot, but is not: {error}") from None
        missing = [piece for piece in (shot.prompt, shot.answer) if not is_there(piece)]
        lost += [str(piece.audio) for piece in missing if isinstance(piece, Speech)]
        if not missing:
            found.append(shot)
    return found, [f"shots are left out, as files are missing: {listed(lost)}"] if lost else []


def _shot(root: Path, direction: Direction, row: Any, names: LabelMap) -> Shot:
    if not isinstance(row, dict):
        raise ValueError(f"it must be a JSON object, but is {str(row)[:60]}")
    label, told = reference_label(row, names)
    if label is None:
        raise ValueError(f"its sentiment must have a label, but is {told}")
    return Shot(_half(root, direction.prompt, row, "prompt"), _half(root, direction.answer, row, "generation"), label)


def _half(root: Path, side: Side, row: dict[str, Any], key: str) -> Piece:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be {'a path' if side == 'speech' else 'a text'}, but is {value!r}")
    return Speech(root / "data" / value) if side == "speech" else Text(value.strip())
