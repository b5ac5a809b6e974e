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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.runtime.checksums import read_object, recorded, values_of
from spiritlm_pl.runtime.provenance import atomic_path, code_version, file_sha256
from spiritlm_pl.streams import SpeechLayout, differences, plural

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


def check_part(path: Path, entry: Mapping[str, Any]) -> None:
    """Compare a part with its record.

    Raises:
        FileNotFoundError: if the part is missing.
        ValueError: if its size or SHA-256 differs.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must have been written, but is missing")
    if (size := path.stat().st_size) != entry["bytes"]:
        raise ValueError(f"{path} must have {entry['bytes']} bytes, but has {size} instead")
    if (digest := file_sha256(path)) != entry["sha256"]:
        raise ValueError(f"SHA-256 of {path} must be {entry['sha256']}, but is {digest} instead")


def part_is_finished(folder: Path, index: int, fingerprint: str) -> bool:
    """Whether a part is complete, undamaged, and of the run with this fingerprint, and skipped files are unchanged."""
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
    """Whether the run with this fingerprint wrote any utterance in a part; the part itself is not read."""
    path = _entry_path(folder / part_name(index))
    entry = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return bool(entry.get("fingerprint") == fingerprint and entry["rows"])


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
        found = path.is_file() and _entry_path(path).is_file()
        entry = json.loads(_entry_path(path).read_text(encoding="utf-8")) if found else {}
        if entry.get("fingerprint") != fingerprint:
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


class UnitCorpus(Sequence[UnitUtterance]):
    """One split of a tokenised corpus, as a sequence of utterances. Parts are opened when needed, and a few are kept.

    Args:
        folder: folder of the tokenised corpus.
        split: name of the split: "train", "validation" or "test".
        verify: whether to compare size and checksum of every part with the manifest when it is opened.

    Attributes:
        layout: streams of the tokenizer, with their sizes and rates.

    Raises:
        FileNotFoundError: if the folder has no finished split of that name.
        ValueError: if the manifest is damaged.
    """

    def __init__(self, folder: str | Path, split: str = "train", verify: bool = True) -> None:
        """Read the manifest."""
        self.folder = Path(folder) / split
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"units must be a finished tokenised corpus, but {path} is missing")
        self.manifest = read_object(path)
        self.verify = verify
        with values_of(path):
            self.layout = SpeechLayout.from_dict(self.manifest)
            self.manifest["provenance"] = dict(self.manifest.get("provenance", {}))
            kept = ("rows", "bytes", "sha256")
            self._files = [(str(file["name"]), {key: file[key] for key in kept}) for file in self.manifest["files"]]
            self._ends = np.cumsum([0, *(int(entry["rows"]) for _, entry in self._files)])
        self._read = lru_cache(maxsize=4)(self.table)

    @property
    def frame_rate(self) -> float:
        """Frames of the first stream per second, in Hz."""
        return self.layout.frame_rate

    @property
    def num_units(self) -> int:
        """Number of different codes in a codebook of the first stream."""
        return self.layout.first.size

    def __len__(self) -> int:
        """Return the number of utterances."""
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        """Return the utterance at a position."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"index must be in [0, {len(self)}), but is {index} instead")
        part = int(np.searchsorted(self._ends, index, side="right")) - 1
        return _utterance(self._read(part), index - int(self._ends[part]), self.layout)

    def __iter__(self) -> Iterator[UnitUtterance]:
        """Yield all utterances, part by part."""
        for part in range(len(self.manifest["files"])):
            table = self.table(part)
            for row in range(table.num_rows):
                yield _utterance(table, row, self.layout)

    def ids(self) -> list[str]:
        """Return the ids in the order of the utterances."""
        return [str(name) for part in range(len(self.manifest["files"])) for name in self._table_ids(part)]

    def by_id(self) -> "UnitIndex":
        """Return a mapping from id to utterance; utterances are read when they are looked up."""
        return UnitIndex(self)

    def _table_ids(self, part: int) -> list[Any]:
        return list(self.table(part)["id"].to_pylist())

    def table(self, part: int) -> pa.Table:
        """Return the rows of a part.

        Raises:
            FileNotFoundError: if the part is missing.
            ValueError: if it is damaged.
        """
        name, entry = self._files[part]
        path = self.folder / name
        if self.verify:
            check_part(path, entry)
        try:
            return pq.read_table(path).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} must be a readable part, but is damaged: {error}") from error


def common_layout(corpora: Sequence[UnitCorpus]) -> SpeechLayout:
    """Return the streams that all of these corpora have.

    Raises:
        ValueError: if there is no corpus, or they come from tokenizers of different rates, sizes, streams or weights.
    """
    if not corpora:
        raise ValueError("units must name at least one tokenised corpus, but is empty instead")
    layouts = {str(corpus.folder): corpus.layout for corpus in corpora}
    (first, layout), *rest = layouts.items()
    other = next((name for name, found in rest if found != layout), None)
    if other is not None:
        one, two = differences(layout.to_dict(), layouts[other].to_dict())
        raise ValueError(f"units must come from one tokenizer, but are of {one} in {first}, and of {two} in {other}")
    made_by = {
        found: str(corpus.folder)
        for corpus in corpora
        if (found := corpus.manifest.get("provenance", {}).get("tokenizer_sha256")) is not None
    }
    if len(made_by) > 1:
        raise ValueError(
            "units must come from one tokenizer, but those of " + " and ".join(made_by.values()) + " come from "
            "tokenizers with other weights"
        )
    return layout


class UnitIndex(Mapping[str, UnitUtterance]):
    """Mapping from id to utterance of a tokenised corpus."""

    def __init__(self, corpus: UnitCorpus) -> None:
        """Index the ids."""
        self._corpus = corpus
        self._position = {name: index for index, name in enumerate(corpus.ids())}

    def __getitem__(self, key: str) -> UnitUtterance:
        """Return the utterance of an id."""
        utterance: UnitUtterance = self._corpus[self._position[key]]
        return utterance

    def __iter__(self) -> Iterator[str]:
        """Yield all ids."""
        return iter(self._position)

    def __len__(self) -> int:
        """Return the number of utterances."""
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
