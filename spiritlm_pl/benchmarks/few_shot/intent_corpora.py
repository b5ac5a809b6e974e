"""Corpora of intents: Fluent Speech Commands and SLURP, each as it is downloaded.

Fluent Speech Commands: `data/{train,valid,test}_data.csv`, whose paths are relative to the folder of data/. A label is
action, object and location. SLURP: `dataset/slurp/{train,devel,test}.jsonl` and `slurp_real/*.flac`.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from spiritlm_pl.benchmarks.few_shot.examples import Corpus, Example, Split
from spiritlm_pl.benchmarks.readers.files import unique_name
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.conversations.readers import COMMAND
from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.corpora.manifest import named
from spiritlm_pl.corpora.plain_tables import broken_row, read_table

Microphone = Literal["near", "far", "all"]
FSC_COLUMNS = ("path", "transcription", *COMMAND)
FSC_FOLDER = "fluent_speech_commands_dataset"
FSC_SPLITS, SLURP_SPLITS = ("train", "valid", "test"), ("train", "devel", "test")
SLURP_AUDIO = ("slurp_real", "audio/slurp_real", "dataset/slurp_real", "dataset/slurp/slurp_real")
NEAR = "-headset"


def find_fluent(folder: Path) -> Corpus | None:
    """Return Fluent Speech Commands in a folder, or in the folder of its archive; None if it is not there."""
    for root in (folder, folder / FSC_FOLDER):
        files = {split: root / "data" / f"{split}_data.csv" for split in FSC_SPLITS}
        splits = {split: partial(_fluent, root, path) for split, path in files.items() if path.is_file()}
        if splits:
            return _corpus("Fluent Speech Commands", splits)
    return None


def _corpus(layout: str, splits: dict[str, Any]) -> Corpus:
    return Corpus(layout, splits, ["test"] if "test" in splits else [], "train" if "train" in splits else None)


def _fluent(root: Path, path: Path) -> Split:
    table = read_table(path, FSC_COLUMNS)
    examples: list[Example] = []
    skipped = list(table.broken)
    seen: dict[str, int] = {}
    for row in table.rows:
        words = [row.cells[name] for name in COMMAND]  # "none" is a word of the label
        audio = root / row.cells["path"]
        if not all(words) or not row.cells["path"]:
            skipped.append(broken_row(path, row.line, "it lacks its path, action, object or location"))
        elif not audio.is_file():
            skipped.append(broken_row(path, row.line, f"{audio} is missing"))
        else:
            name = unique_name(row.cells["path"], seen)
            examples.append(Example(name, audio, row.cells["transcription"], " ".join(words)))
    return Split(examples, skipped)


def find_slurp(folder: Path, microphone: Microphone = "near") -> Corpus | None:
    """Return SLURP in a folder; None if it is not there.

    Args:
        folder: folder of the repository, or of its folder dataset/slurp.
        microphone: recordings of each utterance to take: "near" for one of a close microphone where there is one,
            "far" for one of the others where there is one, "all" for all of them.

    Raises:
        ValueError: if the microphone is none of these.
        FileNotFoundError: if the folder of the recordings is missing.
    """
    if microphone not in get_args(Microphone):
        raise ValueError(f"microphone must be one of {', '.join(get_args(Microphone))}, but is {microphone!r} instead")
    for texts, roots in ((folder / "dataset/slurp", [folder]), (folder, [folder, folder.resolve().parent.parent])):
        files = {split: texts / f"{split}.jsonl" for split in SLURP_SPLITS}
        present = {split: path for split, path in files.items() if path.is_file()}
        if present:
            places = [root / name for root in roots for name in SLURP_AUDIO]
            audio = next((place for place in places if place.is_dir()), None)
            if audio is None:
                raise FileNotFoundError(
                    f"SLURP must have its recordings in slurp_real/, but {folder} has no such folder"
                )
            read = {split: partial(_slurp, path, audio, microphone) for split, path in present.items()}
            return _corpus("SLURP", read)
    return None


def _slurp(path: Path, audio: Path, microphone: Microphone) -> Split:
    examples: list[Example] = []
    skipped: list[Skipped] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            label, text = row["intent"], str(row.get("sentence") or "")
            files = [str(one["file"]) for one in row["recordings"]]
        except (ValueError, KeyError, TypeError):
            skipped.append(broken_row(path, number, "it must be a JSON object with intent and recordings"))
            continue
        if not isinstance(label, str) or not named(label):
            skipped.append(broken_row(path, number, f"its intent must be a text, but is {label!r}"))
            continue
        for name in _of_microphone(files, microphone):
            if (audio / name).is_file():
                examples.append(Example(unique_name(name, seen), audio / name, text, label))
            else:
                skipped.append(broken_row(path, number, f"{audio / name} is missing"))
    return Split(examples, skipped)


def _of_microphone(files: Sequence[str], microphone: Microphone) -> list[str]:
    """Choose recordings of an utterance; where it has none of the kind that is wanted, one of the other kind."""
    if microphone == "all":
        return list(files)
    wanted = [name for name in files if (NEAR in name) == (microphone == "near")]
    return (wanted or list(files))[:1]
