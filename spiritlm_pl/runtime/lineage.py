"""Which run made a folder, and out of what: a note beside what was made, read by the stages that build on it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.provenance import atomic_path, code_version

NOTE_FILE = "tracking.json"


def write_note(
    folder: str | Path,
    stage: str,
    made_from: Iterable[str | Path],
    run_id: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Leave a note in a folder.

    Args:
        folder: what was made.
        stage: that made it, such as `hubert`.
        made_from: folders that it was made from; those without a note are left out.
        run_id: of the tracker's run, if there was one.
        tracking_uri: of the tracker.
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
    """The note of `write_note`; None where there is none."""
    path = Path(folder) / NOTE_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def ancestors(folders: Iterable[str | Path]) -> dict[str, dict[str, str | None]]:
    """The stages that made these folders and all that those were made from.

    Returns:
        stage to its `run_id` (None where no tracker ran) and `code_version`; of two runs of a stage the later one.
    """
    found: dict[str, dict[str, str | None]] = {}
    for note in filter(None, map(read_note, folders)):
        for stage, made in note.get("ancestors", {}).items():
            found[stage] = made if isinstance(made, dict) else {"run_id": made, "code_version": None}
        found[note["stage"]] = {key: note[key] for key in ("run_id", "code_version")}
    return found
