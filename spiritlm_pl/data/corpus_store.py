"""Tokenised corpora: Parquet shards of deduplicated units, from which every later stage reads.

For a tokenizer of several streams, there is one more column for each further stream (an expressive tokenizer has pitch
and style codes), with codes at the stream's own rate.

A folder `<units>/<split>` holds parts, `part-00000.parquet` and so on. Beside each part, `part-00000.json` records the
rows, bytes and SHA-256 with which it was written. Once all parts exist, `manifest.json` holds these records of all of
them. A part gets its name by renaming when it is complete, and carries the fingerprint of the run that made it. So a
half-written or damaged part, or one of another run, is never taken for a finished one.

Shapes: R runs of equal units, T frames, K codebooks, F codes of a further stream.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.runtime.checksums import check_file, check_types, json_object, read_object, recorded, values_of
from spiritlm_pl.runtime.provenance import atomic_path, code_version, file_sha256
from spiritlm_pl.streams import SpeechLayout, plural

MANIFEST = "manifest.json"
PART_ENTRY = {"name": str, "rows": int, "bytes": int, "sha256": str}  # what readers need of the record of a part
WORD = pa.struct([("word", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("speaker", pa.string()),
        ("duration", pa.float64()),
        ("text", pa.string()),
        ("words", pa.list_(WORD)),
        ("units", pa.list_(pa.uint16())),
        ("unit_starts", pa.list_(pa.uint32())),
        ("num_frames", pa.uint32()),
        ("custom", pa.string()),
    ]
)


@dataclass(frozen=True)
class TimedWord:
    """A word with its time in seconds from the start of the utterance.

    Attributes:
        word: the word as it is written.
        start: time of its start, in seconds.
        end: time of its end, in seconds.
    """

    word: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitUtterance:
    """One tokenised utterance.

    Attributes:
        id: unique id over all corpora.
        corpus: name of the utterance's corpus.
        speaker: name of the speaker; empty where unknown.
        duration: duration of the utterance in seconds.
        text: transcript; empty where there is none.
        words: words with their times; empty where the utterance is not aligned.
        units: codes of the first stream, uint16: (R,), of which neighbours differ, or (T, K) for frames with K
            codebooks.
        unit_starts: index of the frame at which each run starts (R,), uint32.
        num_frames: number of frames of the first stream, T.
        custom: further values of the corpus, as JSON values.
        codes: codes of each further stream by its name, uint16, (F,) or (F, K), at the stream's rate.
    """

    id: str
    corpus: str = ""
    speaker: str = ""
    duration: float = 0.0
    text: str = ""
    words: tuple[TimedWord, ...] = ()
    units: np.ndarray[Any, np.dtype[np.uint16]]
    unit_starts: np.ndarray[Any, np.dtype[np.uint32]]
    num_frames: int
    custom: dict[str, Any] = field(default_factory=dict)
    codes: Mapping[str, np.ndarray[Any, np.dtype[np.uint16]]] = field(default_factory=dict)


def part_name(index: int) -> str:
    """Return the file name of a part."""
    return f"part-{index:05d}.parquet"


def _entry_path(path: Path) -> Path:
    """Return the path of the record with a part's rows, bytes and SHA-256."""
    return path.with_suffix(".json")


def _read_entry(path: Path) -> dict[str, Any] | None:
    """Read the record of a part; None where there is none, or a damaged one: the part does not count as written."""
    try:
        entry = json_object(_entry_path(path).read_bytes(), path)
        with values_of(path):
            check_types(entry, PART_ENTRY | {"fingerprint": str, "skipped": list})
            return entry if all({"path", "state"} <= item.keys() for item in entry["skipped"]) else None
    except (OSError, ValueError):
        return None


def write_part(
    folder: Path,
    index: int,
    utterances: Sequence[UnitUtterance],
    fingerprint: str,
    skipped: Sequence[Skipped] = (),
    tokenizer_sha256: str | None = None,
) -> Path:
    """Write one part atomically, with its record for the manifest, which tells also what was left out; return its path.

    After an error, an earlier part is either unchanged or no longer counts as finished.

    Args:
        folder: folder of the split.
        index: number of the part.
        utterances: tokenised utterances of the part.
        fingerprint: identifies the run by its settings and input.
        skipped: recordings that could not be read.
        tokenizer_sha256: fingerprint of the speech tokenizer; None leaves it out of the record.
    """
    streams = list(utterances[0].codes) if utterances else []
    assert all(list(u.codes) == streams for u in utterances), "utterances of one tokenizer have the same streams"
    schema = pa.schema([*SCHEMA, *((plural(name), pa.list_(pa.uint16())) for name in streams)])
    columns: dict[str, list[Any]] = {name: [getattr(u, name) for u in utterances] for name in SCHEMA.names}
    columns["units"] = [u.units.reshape(-1) for u in utterances]
    columns |= {plural(name): [u.codes[name].reshape(-1) for u in utterances] for name in streams}
    columns["words"] = [[asdict(word) for word in u.words] for u in utterances]
    columns["custom"] = [json.dumps(u.custom, sort_keys=True) for u in utterances]
    path = folder / part_name(index)
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")
        size, digest = temporary.stat().st_size, file_sha256(temporary)
    left_out = [asdict(item) | {"state": file_state(item.path)} for item in skipped]
    entry = {
        "name": path.name,
        "rows": len(utterances),
        "bytes": size,
        "sha256": digest,
        "skipped": left_out,
        "fingerprint": fingerprint,
        **({} if tokenizer_sha256 is None else {"tokenizer_sha256": tokenizer_sha256}),
    }
    with atomic_path(_entry_path(path)) as temporary:
        temporary.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    return path


def file_state(path: str | Path) -> list[int] | None:
    """Return size in bytes and time of the last change of a file, in ns; None where there is no such file."""
    if not Path(path).is_file():
        return None
    state = Path(path).stat()
    return [state.st_size, state.st_ctime_ns]


def part_is_finished(folder: Path, index: int, fingerprint: str) -> bool:
    """Whether a part is complete, undamaged, and of the run with this fingerprint, and skipped files are unchanged."""
    path = folder / part_name(index)
    entry = _read_entry(path)
    if entry is None or entry["fingerprint"] != fingerprint:
        return False
    try:
        check_file(path, entry["bytes"], entry["sha256"])
        return all(file_state(item["path"]) == item["state"] for item in entry["skipped"])
    except (OSError, ValueError, TypeError):
        return False


def recorded_fingerprint(folder: Path, index: int) -> str | None:
    """Return the fingerprint with which a part was written; None if there is no readable record."""
    entry = _read_entry(folder / part_name(index))
    return None if entry is None else str(entry["fingerprint"])


def has_rows(folder: Path, index: int, fingerprint: str) -> bool:
    """Whether the run with this fingerprint wrote any utterance in a part; the part itself is not read."""
    entry = _read_entry(folder / part_name(index))
    return entry is not None and entry["fingerprint"] == fingerprint and entry["rows"] > 0


def num_parts(folder: Path) -> int:
    """Return the number of parts in the manifest of a split; 0 where there is no manifest."""
    path = folder / MANIFEST
    with values_of(path):
        return len(read_object(path)["files"]) if path.is_file() else 0


def finish_folder(
    folder: Path, fingerprints: Sequence[str], *, layout: SpeechLayout, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Write and return the manifest of a split that has all its parts; remove parts of earlier, larger runs.

    Args:
        folder: folder of the split.
        fingerprints: fingerprint with which each part was written, in order.
        layout: streams of the tokenizer.
        provenance: record of the tokenizer and the corpora from which the units were made.

    Raises:
        FileNotFoundError: if a part is missing, or was written by another run.
    """
    files = []
    for index, fingerprint in enumerate(fingerprints):
        path = folder / part_name(index)
        entry = _read_entry(path) if path.is_file() else None
        if entry is None or entry["fingerprint"] != fingerprint:
            raise FileNotFoundError(f"{path} must have been written by this run, but was not")
        files.append(entry)  # as it was written, so that later damage is noticed
    manifest = {
        **layout.to_dict(),
        "rows": sum(file["rows"] for file in files),
        "files": files,
        "code_version": code_version(),
        "provenance": dict(provenance),
    }
    with recorded(folder, MANIFEST), atomic_path(folder / MANIFEST) as path:
        path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    names = {file["name"] for file in files}
    for path in folder.glob("part-*.parquet"):
        if path.name not in names:
            path.unlink()
            _entry_path(path).unlink(missing_ok=True)
    return manifest
