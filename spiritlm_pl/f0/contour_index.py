"""Contours of one split of a corpus by the ids of their utterances, read from the store when they are looked up.

Shapes: F frames, 200 a second; N contours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from spiritlm_pl.runtime.checksums import checked, listed
from spiritlm_pl.runtime.flat_index import FlatIndex, IndexWriter, file_key, from_json_array, json_array, open_index
from spiritlm_pl.runtime.names import Names, NamesWriter
from spiritlm_pl.runtime.provenance import file_sha256

FORMAT = 1
OPEN_FILES = 64  # of which the tables of contents are kept
KEPT = 4  # groups of contours that are kept


@dataclass(frozen=True, eq=False)
class StoredContour:
    """F0 and voicing of one utterance.

    Attributes:
        f0: F0 in Hz (F,), interpolated linearly over unvoiced frames.
        voiced: mask of voiced frames (F,).
    """

    f0: np.ndarray[Any, np.dtype[np.float32]]
    voiced: np.ndarray[Any, np.dtype[np.bool_]]


def f0_folder(corpus: str | Path, name: str) -> Path:
    """Return the folder that holds a corpus's F0 of this name.

    Raises:
        ValueError: if the name is a path, which could lead to another folder.
    """
    if name in (".", "..") or Path(name).name != name:
        raise ValueError(f"name must be that of a folder within the corpus, without slashes, but is {name!r} instead")
    return Path(corpus) / "f0" / name


def readable(path: Path, error: Exception) -> ValueError:
    """Return the error of a part that cannot be read."""
    return ValueError(f"{path} must be a readable part, but is damaged: {error}")


class ContourIndex(Mapping[str, StoredContour]):
    """Stored contours by the ids of their utterances.

    Attributes:
        names: ids of the utterances.
        frames: number of frames of each contour (N,).
        sha256: checksum of each part.

    Args:
        folder: folder of the stored F0.
        split: train, validation or test.

    Raises:
        ValueError: if a part is damaged.
    """

    def __init__(self, folder: Path, split: str) -> None:
        """Open the index, which is made first where it is missing or stale."""
        paths = sorted(folder.glob(f"{split}-*.parquet"))
        state = "\n".join([f"contours {FORMAT}", *(f"{path.name} {file_key(path)}" for path in paths)])
        self._attach(folder, open_index(folder, f"contours_{split}", state, partial(_build, folder, paths)))

    def _attach(self, folder: Path, index: FlatIndex) -> None:
        arrays = index.arrays
        self.folder, self._index, self._bounds = folder, index, arrays["part_bounds"]
        self.names = Names(arrays)
        self.frames: npt.NDArray[np.uint32] = arrays["frames"]
        about = from_json_array(arrays["parts"])
        self._parts: list[str] = about["names"]
        self.sha256: list[str] = about["sha256"]
        self._files: dict[int, tuple[pq.ParquetFile, npt.NDArray[np.int64]]] = {}
        self._groups: dict[tuple[int, int], pa.Table] = {}

    def __len__(self) -> int:
        """Return the number of contours."""
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        """Yield all ids."""
        return iter(self.names)

    def __getitem__(self, name: str) -> StoredContour:
        """Return the contour of an utterance."""
        row = self.names.find(name)
        if row is None:
            raise KeyError(name)
        return self.at(row)

    def at(self, row: int) -> StoredContour:
        """Read the contour of a row.

        Raises:
            ValueError: if its part is damaged.
        """
        number = int(np.searchsorted(self._bounds, row, side="right")) - 1
        place = row - int(self._bounds[number])
        path = self.folder / self._parts[number]
        try:
            table, place = self._group(path, number, place)
            f0, voiced = (np.array(table[column][place].values) for column in ("f0", "voiced"))
        except (OSError, pa.ArrowException) as error:
            raise readable(path, error) from error
        if len(f0) != self.frames[row]:
            raise ValueError(f"{path} must be as it was when training began, but has changed")
        return StoredContour(f0, voiced)

    def _group(self, path: Path, number: int, place: int) -> tuple[pa.Table, int]:
        """Return the group that has a row of a part, and the place of the row in the group."""
        if number not in self._files:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            _keep(self._files, OPEN_FILES)
            self._files[number] = file, np.cumsum([0, *sizes])
        file, bounds = self._files[number]
        group = int(np.searchsorted(bounds, place, side="right")) - 1
        if (number, group) not in self._groups:
            _keep(self._groups, KEPT)
            self._groups[number, group] = file.read_row_group(group, columns=["f0", "voiced"], use_threads=False)
        return self._groups[number, group], place - int(bounds[group])

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the index again in another process."""
        return _reopened, (self.folder, self._index)


def _reopened(folder: Path, index: FlatIndex) -> ContourIndex:
    found = ContourIndex.__new__(ContourIndex)
    found._attach(folder, index)
    return found


def _keep(members: dict[Any, Any], number: int) -> None:
    """Remove the oldest member if there are as many as may be kept."""
    if len(members) >= number:
        del members[next(iter(members))]


def _build(folder: Path, paths: list[Path], writer: IndexWriter) -> None:
    names, known = NamesWriter(writer), listed(folder)
    writer.append("frames", np.empty(0, np.uint32))
    bounds = [0]
    for path in paths:
        try:
            table = pq.read_table(checked(path, known), columns=["id", "voiced"], use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise readable(path, error) from error
        names.append(table["id"].to_pylist())
        lengths = [np.diff(chunk.offsets.to_numpy()).astype(np.uint32) for chunk in table["voiced"].chunks]
        writer.append("frames", np.concatenate([np.empty(0, np.uint32), *lengths]))
        bounds.append(bounds[-1] + table.num_rows)
    names.finish()
    writer.append("part_bounds", np.array(bounds, np.int64))
    about = {"names": [path.name for path in paths], "sha256": [file_sha256(path) for path in paths]}
    writer.append("parts", json_array(about))
