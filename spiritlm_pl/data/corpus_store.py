"""Tokenised corpus: Parquet shards of deduplicated units, the source of truth for every later stage.

A tokenizer of several streams (an expressive one has pitch and style codes beside its units) has a column more for
each, with codes at their own rate.

A folder `<units>/<split>` holds `part-00000.parquet ...`, beside each the rows, bytes and SHA-256 that it was
written with (`part-00000.json`), and, once all are there, `manifest.json` with those of all. A part appears by
renaming, and carries the fingerprint of the run that made it, so that a half-written, damaged or foreign part
is never taken for a finished one.

Shapes: R runs of equal units, T frames, K codebooks, F frames of a further stream.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.runtime.provenance import atomic_path, code_version, file_sha256
from spiritlm_pl.streams import PLURALS, SpeechLayout

MANIFEST = "manifest.json"
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
    """A word with its time in seconds from the start of the utterance."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitUtterance:
    """One tokenised utterance.

    Attributes:
        id: unique over all corpora.
        corpus: name of the corpus it belongs to.
        speaker: name, may be empty.
        duration: seconds.
        text: transcript, may be empty.
        words: with times; empty when not aligned.
        units: (R,) uint16 codes of the first stream, neighbours differ; (T, K) for frames with K codebooks.
        unit_starts: (R,) uint32 frame index of each run's start.
        num_frames: T.
        custom: what the corpus says beyond that, as JSON values.
        codes: (F,) or (F, K) uint16 codes of each further stream by its name, at its rate.
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


def unit_frames(utterance: UnitUtterance) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Frame-rate units (T,) or (T, K): every unit repeated for its run."""
    durations = np.diff(utterance.unit_starts.astype(np.int64), append=utterance.num_frames)
    return np.repeat(utterance.units, durations, axis=0)


def at_frames(
    codes: np.ndarray[Any, np.dtype[np.uint16]], rate: float, frame_rate: float, num_frames: int
) -> np.ndarray[Any, Any]:
    """Codes of one rate at the (T,) frames of another; the last one is held."""
    assert len(codes), "speech with units has codes"
    places = np.floor(np.arange(num_frames) * rate / frame_rate + 1e-9).astype(np.int64)
    return codes[np.minimum(places, len(codes) - 1)]


def part_name(index: int) -> str:
    """File name of a part."""
    return f"part-{index:05d}.parquet"


def _entry_path(path: Path) -> Path:
    """Where a part's rows, bytes and SHA-256 stand."""
    return path.with_suffix(".json")


def write_part(
    folder: Path, index: int, utterances: Sequence[UnitUtterance], fingerprint: str, skipped: Sequence[Skipped] = ()
) -> Path:
    """Write one part atomically, and beside it what the manifest is to say of it: also what was left out.

    After an error, what was there before is as it was, or is no longer taken for finished.
    """
    streams = list(utterances[0].codes) if utterances else []
    assert all(list(u.codes) == streams for u in utterances), "utterances of one tokenizer have the same streams"
    schema = pa.schema([*SCHEMA, *((PLURALS.get(name, name), pa.list_(pa.uint16())) for name in streams)])
    columns: dict[str, list[Any]] = {name: [getattr(u, name) for u in utterances] for name in SCHEMA.names}
    columns["units"] = [u.units.reshape(-1) for u in utterances]
    columns |= {PLURALS.get(name, name): [u.codes[name].reshape(-1) for u in utterances] for name in streams}
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
    }
    with atomic_path(_entry_path(path)) as temporary:
        temporary.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    return path


def file_state(path: str | Path) -> list[int] | None:
    """What changes with a file: its bytes and the time of its last change; None where there is none."""
    if not Path(path).is_file():
        return None
    state = Path(path).stat()
    return [state.st_size, state.st_ctime_ns]


def check_part(path: Path, entry: Mapping[str, Any]) -> None:
    """Compare a part with what was said of it when it was written.

    Raises:
        FileNotFoundError: if the part is missing.
        ValueError: if its size or its SHA-256 is another.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must have been written, but is missing")
    if (size := path.stat().st_size) != entry["bytes"]:
        raise ValueError(f"{path} must have {entry['bytes']} bytes, but has {size} instead")
    if (digest := file_sha256(path)) != entry["sha256"]:
        raise ValueError(f"SHA-256 of {path} must be {entry['sha256'][:16]}, but is {digest[:16]} instead")


def part_is_finished(folder: Path, index: int, fingerprint: str) -> bool:
    """Whether a part is there, undamaged, made by the run with this fingerprint, and what it skipped is as it was."""
    path = folder / part_name(index)
    try:
        entry = json.loads(_entry_path(path).read_text(encoding="utf-8"))
        as_it_was = all(file_state(item["path"]) == item["state"] for item in entry["skipped"])
        if entry["fingerprint"] != fingerprint or not as_it_was:
            return False
        check_part(path, entry)
    except (OSError, ValueError, KeyError):
        return False
    return True


def has_rows(folder: Path, index: int, fingerprint: str) -> bool:
    """Whether a part of the run with this fingerprint holds any utterance; it is not read."""
    path = _entry_path(folder / part_name(index))
    entry = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return bool(entry.get("fingerprint") == fingerprint and entry["rows"])


def num_parts(folder: Path) -> int:
    """Parts in the manifest of a split, 0 where there is none."""
    path = folder / MANIFEST
    return len(json.loads(path.read_text(encoding="utf-8"))["files"]) if path.is_file() else 0


def finish_folder(
    folder: Path, fingerprints: Sequence[str], *, layout: SpeechLayout, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the manifest of a split whose parts are all there, and remove parts of earlier, larger runs.

    Args:
        folder: of the split.
        fingerprints: that the parts, in their order, were written with.
        layout: of the tokenizer.
        provenance: what the units were made of and by.

    Raises:
        FileNotFoundError: if a part is missing, or is still that of another run.
    """
    files = []
    for index, fingerprint in enumerate(fingerprints):
        path = folder / part_name(index)
        found = path.is_file() and _entry_path(path).is_file()
        entry = json.loads(_entry_path(path).read_text(encoding="utf-8")) if found else {}
        if entry.get("fingerprint") != fingerprint:
            raise FileNotFoundError(f"{path} must have been written by this run, but was not")
        files.append(entry)  # as written: damage since then stays visible
    manifest = {
        **layout.to_dict(),
        "kinds": [stream.plural for stream in layout.streams],
        "rows": sum(file["rows"] for file in files),
        "files": files,
        "code_version": code_version(),
        "provenance": dict(provenance),
    }
    with atomic_path(folder / MANIFEST) as path:
        path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    names = {file["name"] for file in files}
    for path in folder.glob("part-*.parquet"):
        if path.name not in names:
            path.unlink()
            _entry_path(path).unlink(missing_ok=True)
    return manifest


class UnitCorpus(Sequence[UnitUtterance]):
    """Reads one split of a tokenised corpus; parts are opened lazily, a few at a time.

    Args:
        folder: of the tokenised corpus.
        split: "train", "validation" or "test".
        verify: compare size and checksum of every part with the manifest when it is opened.

    Raises:
        FileNotFoundError: if there is no finished split.
    """

    def __init__(self, folder: str | Path, split: str = "train", verify: bool = True) -> None:
        """Read the manifest."""
        self.folder = Path(folder) / split
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"units must be a finished tokenised corpus, but {path} is missing")
        self.manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.verify = verify
        rows = [file["rows"] for file in self.manifest["files"]]
        self._ends = np.cumsum([0, *rows])
        self._read = lru_cache(maxsize=4)(self._open)

    @cached_property
    def layout(self) -> SpeechLayout:
        """Streams of the tokenizer, with their sizes and rates."""
        return SpeechLayout.from_dict(self.manifest)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.layout.frame_rate

    @property
    def num_units(self) -> int:
        """Number of different codes of the first stream's codebooks."""
        return self.layout.first.size

    def __len__(self) -> int:
        """Number of utterances."""
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        """The utterance at a position."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"index must be in [0, {len(self)}), but is {index} instead")
        part = int(np.searchsorted(self._ends, index, side="right")) - 1
        return _utterance(self._read(part), index - int(self._ends[part]), self.layout)

    def __iter__(self) -> Iterator[UnitUtterance]:
        """All utterances, part by part."""
        for part in range(len(self.manifest["files"])):
            table = self._open(part)
            for row in range(table.num_rows):
                yield _utterance(table, row, self.layout)

    def ids(self) -> list[str]:
        """Ids in the order of the utterances."""
        return [str(name) for part in range(len(self.manifest["files"])) for name in self._table_ids(part)]

    def by_id(self) -> "UnitIndex":
        """A mapping from id to utterance, read when asked for."""
        return UnitIndex(self)

    def _table_ids(self, part: int) -> list[Any]:
        return list(self._open(part)["id"].to_pylist())

    def _open(self, part: int) -> pa.Table:
        file = self.manifest["files"][part]
        path = self.folder / file["name"]
        if self.verify:
            check_part(path, file)
        try:
            return pq.read_table(path).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} must be a readable part, but is damaged: {error}") from error


def common_layout(corpora: Sequence[UnitCorpus]) -> SpeechLayout:
    """The layout of tokenised corpora.

    Raises:
        ValueError: if there is none, or they come from tokenizers of different rates, sizes or kinds.
    """
    if not corpora:
        raise ValueError("units must name at least one tokenised corpus, but is empty instead")
    layouts = {str(corpus.folder): corpus.layout for corpus in corpora}
    if len(set(layouts.values())) > 1:
        raise ValueError(
            "units must come from one tokenizer, but are of " + "; ".join(f"{k}: {v}" for k, v in layouts.items())
        )
    return next(iter(layouts.values()))


class UnitIndex(Mapping[str, UnitUtterance]):
    """A tokenised corpus by utterance id."""

    def __init__(self, corpus: UnitCorpus) -> None:
        """Index the ids."""
        self._corpus = corpus
        self._position = {name: index for index, name in enumerate(corpus.ids())}

    def __getitem__(self, key: str) -> UnitUtterance:
        """The utterance of an id."""
        utterance: UnitUtterance = self._corpus[self._position[key]]
        return utterance

    def __iter__(self) -> Iterator[str]:
        """All ids."""
        return iter(self._position)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self._position)


def _utterance(table: pa.Table, row: int, layout: SpeechLayout) -> UnitUtterance:
    values = {name: table[name][row] for name in table.column_names}

    def codes(column: str, num_codebooks: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
        found: np.ndarray[Any, np.dtype[np.uint16]] = values[column].values.to_numpy(zero_copy_only=False)
        return found if num_codebooks == 1 else found.reshape(-1, num_codebooks)

    return UnitUtterance(
        id=values["id"].as_py(),
        corpus=values["corpus"].as_py(),
        speaker=values["speaker"].as_py(),
        duration=values["duration"].as_py(),
        text=values["text"].as_py(),
        words=tuple(TimedWord(**word) for word in values["words"].as_py()),
        units=codes("units", layout.first.num_codebooks),
        unit_starts=values["unit_starts"].values.to_numpy(zero_copy_only=False),
        num_frames=values["num_frames"].as_py(),
        custom=json.loads(values["custom"].as_py()),
        codes={s.name: codes(s.plural, s.num_codebooks) for s in layout.streams[1:]},
    )
