"""Results of a benchmark in a folder: a line for each item, and a summary that can be made again from the lines.

Several processes may write into one folder, each to a file of its own. An item that failed has a line with `error`, and
is tried again by the next run.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from spiritlm_pl.benchmarks.contract import Line
from spiritlm_pl.benchmarks.identity import digest_of
from spiritlm_pl.runtime.provenance import atomic_path

IDENTITY_FILE, SUMMARY_FILE = "identity.json", "summary.json"
JUDGES = "judges"
HASHED = (JUDGES, "language_model", "text_tokenizer", "speech_tokenizer")  # parts of an identity that tell nobody much
SUMMARISED_FILE = "summarised.json"  # content of each item of the summary, by its id


class Results:
    """Results of one benchmark and one model in a folder.

    Args:
        folder: folder of the results, which is made if it is missing.
        identity: what the results depend on: the model, the benchmark and its options.
        rank: number of this process among those that write into the folder.

    Raises:
        ValueError: if the folder holds results of another model, benchmark or other options.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], rank: int = 0) -> None:
        """Read the lines of earlier runs."""
        self.folder, self.rank = folder, rank
        self.identity = json.loads(json.dumps(identity))  # as it is read again: lists for tuples
        self.made = [
            place for place in (folder, *folder.parents) if not place.exists()
        ]  # by this run, inner ones first
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / IDENTITY_FILE
        self.begun = not file.is_file()  # by this run
        if not self.begun:
            _check_identity(folder, read_identity(folder), self.identity)
        elif self._written():
            raise ValueError(
                f"OUT must be empty or of the same run, but {folder} has results without {IDENTITY_FILE}, which says "
                "of what: choose another folder"
            )
        else:
            with atomic_path(file) as path:
                path.write_text(json.dumps(self.identity, indent=2) + "\n", encoding="utf-8")
        self.stream: IO[str] | None = None

    @property
    def file(self) -> Path:
        """File that this process writes its lines to."""
        return self.folder / ("items.jsonl" if self.rank == 0 else f"items-{self.rank}.jsonl")

    def lines(self, contents: Mapping[str, str]) -> dict[str, Line]:
        """Read the lines of all processes by id, of the items whose content is still the same.

        Args:
            contents: hash of what each item is made of, by its id; lines of other items are left out.
        """
        return read_lines(self.folder, contents)

    def write(self, lines: Iterable[Line]) -> None:
        """Append lines of items."""
        if self.stream is None:
            self.folder.mkdir(parents=True, exist_ok=True)  # another process that was refused may have removed it
            _end_last_line(self.file)
            self.stream = self.file.open("a", encoding="utf-8")
        self.stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        self.stream.flush()

    def summarise(self, summary: Mapping[str, Any], contents: Mapping[str, str]) -> Path:
        """Write the summary and which items it is of, and return its path.

        Args:
            summary: summary, with the hash of `contents` as `items`.
            contents: hash of what each item of the summary is made of, by its id.
        """
        with atomic_path(self.folder / SUMMARISED_FILE) as path:
            path.write_text(json.dumps(contents, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
        file = self.folder / SUMMARY_FILE
        with atomic_path(file) as path:
            path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return file

    def __enter__(self) -> "Results":
        """Return the results, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file of this process; a run that was refused before its first item leaves nothing."""
        if self.stream is not None:
            self.stream.close()
        if error is not None and self.begun and not self._written():
            (self.folder / IDENTITY_FILE).unlink(missing_ok=True)
            with suppress(OSError):  # of others that have something in it
                for place in self.made:
                    place.rmdir()

    def _written(self) -> bool:
        """Return whether any process has written a line."""
        return any(file.stat().st_size for file in self.folder.glob("items*.jsonl"))


def read_identity(folder: Path) -> dict[str, Any]:
    """Read what the results of a folder depend on."""
    found: dict[str, Any] = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
    return found


def read_lines(folder: Path, contents: Mapping[str, str] | None = None) -> dict[str, Line]:
    """Read the lines of a folder by id; a line of a result takes precedence over one of an error.

    Args:
        folder: folder of results.
        contents: hash of what each item is made of, by its id; lines that differ are left out. None for all lines.

    Raises:
        ValueError: if a line is damaged.
    """
    found: dict[str, Line] = {}
    for file in sorted(folder.glob("items*.jsonl")):
        for line in _whole_lines(file):
            if contents is not None and contents.get(line["id"]) != line.get("content"):
                continue
            if "error" not in line or line["id"] not in found:
                found[line["id"]] = line
    return found


def summarised_lines(folder: Path, items: str | None) -> list[Line]:
    """Read the lines of results that a summary is of, which are not all if data has changed or a run had a limit.

    Args:
        folder: folder of results.
        items: hash of the items, as the summary tells it; None for all lines, as an earlier version has not told it.

    Raises:
        ValueError: if a line is damaged, or lines are missing.
    """
    if items is None:
        return [line for line in read_lines(folder).values() if "error" not in line]
    file = folder / SUMMARISED_FILE
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
        same = digest_of(contents) == items
    except (OSError, ValueError, AttributeError):
        same = False
    if not same:
        raise ValueError(f"{file} must tell the items of the summary, but does not: run the benchmark again")
    found = read_lines(folder, contents)
    if len(found) < len(contents):
        raise ValueError(
            f"{folder} must have the lines of all {len(contents)} items, but lacks {len(contents) - len(found)}: run "
            "the benchmark again"
        )
    return [found[name] for name in contents if "error" not in found[name]]


def _check_identity(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    keys = sorted(stored.keys() | wanted.keys(), key=lambda key: (key in HASHED, key))  # what can be read comes first
    changed = next((key for key in keys if stored.get(key) != wanted.get(key)), None)
    if changed is None:
        return
    there, here = stored.get(changed), wanted.get(changed)
    if changed == JUDGES and isinstance(there, dict) and isinstance(here, dict):
        names = sorted(name for name in there | here if there.get(name) != here.get(name))
        why = f"of another {' and '.join(names)}, whose files have changed or are missing"
    elif changed in HASHED:
        why = f"of another {changed.replace('_', ' ')}"
    else:
        why = f"with {changed} {_shown(there)}, and this run has {_shown(here)}"
    raise ValueError(f"OUT must be empty or of the same run, but {folder} has results {why}: choose another folder")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items()) or "none"
    return "none" if value is None else str(value)


def _whole_lines(file: Path) -> Iterator[Line]:
    """Yield lines of JSON objects with an id; a last line that was cut off is left out.

    Raises:
        ValueError: if another line is damaged.
    """
    with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                found = json.loads(line)
                found["id"]
            except (ValueError, TypeError, KeyError):
                if not line.endswith("\n"):
                    return
                raise ValueError(
                    f"line {number} of {file} must be the result of an item, but is {line[:40]!r}"
                ) from None
            yield found


def _end_last_line(file: Path) -> None:
    """Cut a last line that was not written whole, so that the next one begins a line of its own."""
    if not file.is_file():
        return
    data = file.read_bytes()
    if data and not data.endswith(b"\n"):
        with file.open("r+b") as stream:
            stream.truncate(data.rfind(b"\n") + 1)
