"""Reader of tokenised corpora, which `spiritlm_pl.data.corpus_store` writes: utterances, or whole parts as tables."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spiritlm_pl.corpora.layout import SPLITS
from spiritlm_pl.data.corpus_store import MANIFEST, PART_ENTRY, TimedWord, UnitUtterance
from spiritlm_pl.runtime.checksums import check_file, check_types, checked_bytes, json_object, values_of
from spiritlm_pl.storage.places import Place, place
from spiritlm_pl.streams import SpeechLayout, differences

TOKENIZER = "tokenizer_sha256"  # key of the hash of the speech tokenizer in provenances and in sources of blocks


class UnitCorpus(Sequence[UnitUtterance]):
    """One split of a tokenised corpus, as a sequence of utterances. Parts are opened when needed, and a few are kept.

    Args:
        folder: folder of the tokenised corpus, on a disk or in object storage.
        split: name of the split: "train", "validation" or "test".
        verify: whether to compare size and checksum of every part with the manifest when it is opened; those of object
            storage are always compared.

    Attributes:
        layout: streams of the tokenizer, with their sizes and rates.
        tokenizer_sha256: hash of the tokenizer; None where it is not recorded.

    Raises:
        FileNotFoundError: if the folder has no finished split of that name.
        ValueError: if the manifest is damaged.
    """

    def __init__(self, folder: str | Place, split: str = "train", verify: bool = True) -> None:
        """Read the manifest."""
        self.folder = place(folder) / split
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(self._lacking(split, path))
        data = checked_bytes(path)
        self.manifest, self.manifest_sha256 = json_object(data, path), sha256(data).hexdigest()
        self.verify = verify
        with values_of(path):
            self.layout = SpeechLayout.from_dict(self.manifest)
            self.manifest["provenance"] = dict(self.manifest.get("provenance", {}))
            self.tokenizer_sha256: str | None = self.manifest["provenance"].get(TOKENIZER)
            if self.tokenizer_sha256 is not None:
                check_types(self.manifest["provenance"], {TOKENIZER: str})
            for file in self.manifest["files"]:
                check_types(file, PART_ENTRY)
            self._files = [(file["name"], file) for file in self.manifest["files"]]
            self._ends = np.cumsum([0, *(entry["rows"] for _, entry in self._files)])
        self._read = lru_cache(maxsize=4)(self.table)

    def _lacking(self, split: str, path: Place) -> str:
        """Return the message for a split that is not there; other splits are only there once all of them are."""
        there = [other for other in SPLITS if (self.folder.parent / other / MANIFEST).is_file()]
        if not there:
            return f"units must be a finished tokenised corpus, but {path} is not there"
        remedy = (
            f": prepare the corpus with a larger --{split}-fraction, and tokenise it" if split in SPLITS[1:] else ""
        )
        return f"units must have the split {split!r}, but {self.folder.parent} has {' and '.join(there)} alone{remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process open the corpus by itself."""
        return type(self), (self.folder.parent, self.folder.name, self.verify)

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
            self.fetch_ahead(part)
            table = self.table(part)
            for row in range(table.num_rows):
                yield _utterance(table, row, self.layout)

    def ids(self) -> list[str]:
        """Return the ids in the order of the utterances."""
        found: list[str] = []
        for part in range(len(self.manifest["files"])):
            self.fetch_ahead(part)
            found += self.table(part)["id"].to_pylist()
        return found

    def fetch_ahead(self, part: int) -> None:
        """Fetch the parts after one in the background, if they are in object storage."""
        if not isinstance(self.folder, Path):
            files = self.manifest["files"][part + 1 : part + 1 + self.folder.store.num_ahead]
            wanted = [(self.folder / one["name"]).content(one["bytes"], one["sha256"]) for one in files]
            self.folder.store.want(wanted, reader=self.folder)

    def table(self, part: int) -> pa.Table:
        """Return the rows of a part.

        Raises:
            FileNotFoundError: if the part is missing.
            ValueError: if it is damaged.
        """
        name, entry = self._files[part]
        path = self.folder / name
        if not isinstance(path, Path):
            with path.open_checked(entry["bytes"], entry["sha256"]) as stream:
                return _rows(path, stream)
        if self.verify:
            check_file(path, entry["bytes"], entry["sha256"])
        return _rows(path, path)


def _rows(path: Place, source: Path | BinaryIO) -> pa.Table:
    try:
        return pq.read_table(source, use_threads=False).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a readable part, but is damaged: {error}") from error


def with_split(folders: Sequence[str | Place], split: str) -> list[UnitCorpus]:
    """Open one split of tokenised corpora; a corpus that has no held-out utterances is left out of such a split.

    Args:
        folders: folders of the tokenised corpora.
        split: name of the split.

    Raises:
        FileNotFoundError: if a folder has no finished split at all, or no training split where that is asked for.
        ValueError: if a manifest is damaged.
    """
    found = []
    for folder in map(place, folders):
        own = (folder / split / MANIFEST).is_file()
        if own or split == "train" or not any((folder / other / MANIFEST).is_file() for other in SPLITS):
            found.append(UnitCorpus(folder, split))  # says what is missing
    return found


def check_named_once(folders: Sequence[str], name: str) -> None:
    """Check that folders, on a disk or in object storage, are all different, however they are written.

    Args:
        folders: paths or addresses.
        name: name of the argument that gives them, for the message.

    Raises:
        ValueError: if one is named twice.
    """
    places = map(place, folders)
    known = [str(folder.resolve() if isinstance(folder, Path) else folder) for folder in places]
    twice = next((one for number, one in enumerate(known) if one in known[:number]), None)
    if twice is not None:
        raise ValueError(f"{name} must name every corpus once, but {twice} is named twice")


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
    made_by = {one.tokenizer_sha256: str(one.folder) for one in corpora if one.tokenizer_sha256 is not None}
    if len(made_by) > 1:
        raise ValueError(
            "units must come from one tokenizer, but those of " + " and ".join(made_by.values()) + " come from "
            "tokenizers with other weights"
        )
    return layout


def tokenizer_of(corpora: Sequence[UnitCorpus]) -> dict[str, str]:
    """Return the hash of the tokenizer that made some corpora, as sources of blocks record it; empty if none tells."""
    known = next((one.tokenizer_sha256 for one in corpora if one.tokenizer_sha256 is not None), None)
    return {} if known is None else {TOKENIZER: known}


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
