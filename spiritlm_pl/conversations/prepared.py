"""Prepared conversations on disk: JSON lines for each split, beside the corpus of their speech."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from spiritlm_pl.conversations.record import Conversation
from spiritlm_pl.conversations.template import RECORDS
from spiritlm_pl.corpora.manifest import read_info
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.runtime.provenance import atomic_path

RECORDS_FILE = "conversations-{}.jsonl"


def write_records(path: Path, conversations: Iterable[Conversation]) -> None:
    """Write conversations, one in a line."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for one in conversations:
            file.write(json.dumps(one.to_dict(), ensure_ascii=False) + "\n")


def read_records(path: Path, skipped: Skipped) -> Iterator[tuple[str, Conversation]]:
    """Yield the conversations of a file with their places; those that cannot be read are counted.

    Args:
        path: path of the file; one that is missing holds none.
        skipped: where to count what is left out.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise ValueError("line that is no JSON object")
                conversation = Conversation.from_dict(values)
            except (ValueError, RecursionError, TypeError) as error:
                skipped.add(" ".join(str(error).split()), place)
                continue
            yield place, conversation


def form_of(folder: str | Path) -> str:
    """Return the name of the form of a folder's conversations: the task that they are of, or else "records"."""
    info = read_info(folder) or {}
    return str(info.get("arguments", {}).get("task") or RECORDS)
