"""Notes in folders that tell which run made them, and from what; read by the stages that build on the folders."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.checksums import read_object
from spiritlm_pl.runtime.provenance import atomic_path, code_version
from spiritlm_pl.storage.places import place

NOTE_FILE = "tracking.json"


def write_note(
    folder: str | Path,
    stage: str,
    made_from: Iterable[str | Path],
    run_id: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Write a note in a folder.

    Args:
        folder: folder that was made.
        stage: stage that made it, such as `hubert`.
        made_from: folders that it was made from; those without a note are left out.
        run_id: id of the run in the tracker; None where there was no tracker.
        tracking_uri: address of the tracker; None where there was no tracker.
    """
    note = {
        "stage": stage,
        "run_id": run_id,
        "tracking_uri": tracking_uri,
        "code_version": code_version(),
        "ancestors": ancestors(made_from),
    }
    with atomic_path(Path(folder) / NOTE_FILE) as path:
        path.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def read_note(folder: str | Path) -> dict[str, Any] | None:
    """Read the note that `write_note` wrote; None where there is none."""
    path = place(folder) / NOTE_FILE
    return read_object(path) if path.is_file() else None


def ancestors(folders: Iterable[str | Path]) -> dict[str, dict[str, str | None]]:
    """Collect the stages that made these folders, and all that those were made from.

    Returns:
        For each stage its `run_id` (None where there was no tracker) and `code_version`; of several runs of a stage,
        the last.
    """
    found: dict[str, dict[str, str | None]] = {}
    for note in filter(None, map(read_note, folders)):
        for stage, made in note.get("ancestors", {}).items():
            found[stage] = made if isinstance(made, dict) else {"run_id": made, "code_version": None}
        found[note["stage"]] = {key: note[key] for key in ("run_id", "code_version")}
    return found
