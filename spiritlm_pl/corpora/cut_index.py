"""Cuts of a manifest that are parsed when they are looked up: what is needed of all of them stands in flat arrays.

The index of a manifest (`spiritlm_pl.runtime.flat_index`) is made once, beside the corpus, and made again when the
manifest changes. It holds the durations, names, speakers and styles, a hash of what is said in each cut, and the lines
themselves in compressed blocks, so that an index of millions of cuts takes little memory.

Shapes: N cuts.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import MonoCut
from lhotse.serialization import decode_json_line

from spiritlm_pl.corpora.manifest import checked_path, damaged, manifest_lines, parsed_cut, style_in
from spiritlm_pl.runtime.flat_index import (
    RECORDS,
    FlatIndex,
    IndexWriter,
    file_key,
    from_json_array,
    json_array,
    open_index,
)
from spiritlm_pl.runtime.names import Names, NamesWriter

FORMAT = 1
BLOCK = 32  # lines that are compressed together
DIGEST = 16  # bytes of the hash of what is said
KEPT = 8 << 20  # bytes of decompressed blocks that an index keeps


class CutIndex(Sequence[MonoCut]):
    """Cuts of one split of a corpus, with absolute audio paths.

    Attributes:
        durations: duration of each cut in seconds (N,).
        speakers: number of each cut's speaker (N,), whose name is in `speaker_names`.
        speaker_names: names of the speakers; empty for cuts without one.
        styles: number of each cut's style (N,), whose name is in `style_names`.
        style_names: names of the styles; empty for cuts without one.
        digests: hash of name, duration, words, speaker, text and further values of each cut (N, 16).
        names: ids of the cuts.

    Args:
        folder: path of the corpus folder.
        split: train, validation or test.

    Raises:
        FileNotFoundError: if the folder is no corpus, or an unfinished one.
        ValueError: if the manifest is damaged or there is no split of that name.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        """Open the index, which is made first where it is missing or stale."""
        path = checked_path(folder, split)
        state = f"cuts {FORMAT} {file_key(path)}"
        self._attach(path.absolute(), open_index(path.parent, f"cuts_{split}", state, partial(_build, path)))

    def _attach(self, path: Path, index: FlatIndex) -> None:
        self._path, self._root, self._index = path, path.parent.resolve(), index
        arrays = index.arrays
        self.durations = arrays["durations"]
        self.speakers, self.styles = arrays["speakers"], arrays["styles"]
        self.speaker_names: list[str] = from_json_array(arrays["speaker_names"])
        self.style_names: list[str] = from_json_array(arrays["style_names"])
        self.digests = arrays["digests"].reshape(-1, DIGEST)
        self.names = Names(arrays)
        self._blocks: dict[int, list[bytes]] = {}
        self._kept = 0

    def __len__(self) -> int:
        """Return the number of cuts."""
        return len(self.durations)

    def __getitem__(self, row: Any) -> Any:
        """Parse the cut of a row, or the cuts of a slice."""
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(f"row must be in [0, {len(self)}), but is {row} instead")
        return parsed_cut(self._block(row // BLOCK)[row % BLOCK], self._path, self._root)

    def _block(self, number: int) -> list[bytes]:
        """Return the lines of a block; the blocks that were read last are kept."""
        if number not in self._blocks:
            bounds, crcs = self._index.arrays["block_bounds"], self._index.arrays["block_crcs"]
            raw = self._index.record(int(bounds[number]), int(bounds[number + 1]), int(crcs[number]))
            content = zlib.decompress(raw)
            self._kept += len(content)
            while self._blocks and self._kept > KEPT:
                self._kept -= len(b"\n".join(self._blocks.pop(next(iter(self._blocks)))))
            self._blocks[number] = content.split(b"\n")
        return self._blocks[number]

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the index again in another process."""
        return _reopened, (self._path, self._index)


def _reopened(path: Path, index: FlatIndex) -> CutIndex:
    found = CutIndex.__new__(CutIndex)
    found._attach(path, index)
    return found


def _groups(path: Path) -> Iterator[list[bytes]]:
    lines = manifest_lines(path)
    while group := [line.rstrip(b"\n") for line in islice(lines, BLOCK)]:
        yield group


def _build(path: Path, writer: IndexWriter) -> None:
    """Write the arrays of a manifest, of which nothing but names of speakers and styles is kept in memory."""
    names, end = NamesWriter(writer), 0
    known: dict[str, dict[str, int]] = {"speaker": {}, "style": {}}
    for name, dtype in (("durations", np.float64), ("speakers", np.int32), ("styles", np.int32), ("digests", np.uint8)):
        writer.append(name, np.empty(0, dtype))
    writer.append(RECORDS, b"")
    writer.append("block_bounds", np.zeros(1, np.int64))
    writer.append("block_crcs", np.empty(0, np.uint32))
    for group in _groups(path):
        try:
            cuts = [decode_json_line(line) for line in group]
            said = [(cut.get("supervisions") or [{}])[0] for cut in cuts]
            names.append([str(cut["id"]) for cut in cuts])
            writer.append("durations", np.array([float(cut["duration"]) for cut in cuts]))
            for kind, found in (
                ("speaker", [str(one.get("speaker") or "") for one in said]),
                ("style", [style_in(one.get("custom")) for one in said]),
            ):
                numbers = [known[kind].setdefault(value, len(known[kind])) for value in found]
                writer.append(f"{kind}s", np.array(numbers, np.int32))
            writer.append("digests", b"".join(_digest(cut, one) for cut, one in zip(cuts, said, strict=True)))
            _ = [cut["recording"]["sources"][0]["source"] for cut in cuts]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise damaged(path, error) from error
        raw = zlib.compress(b"\n".join(group), 1)
        end += len(raw)
        writer.append(RECORDS, raw)
        writer.append("block_bounds", np.array([end], np.int64))
        writer.append("block_crcs", np.array([zlib.crc32(raw)], np.uint32))
    names.finish()
    for kind, values in known.items():
        writer.append(f"{kind}_names", json_array(list(values)))


def _digest(cut: dict[str, Any], said: dict[str, Any]) -> bytes:
    """Hash all of a cut that stands in a row of a tokenised corpus."""
    words = (said.get("alignment") or {}).get("word", [])
    values = [cut["id"], cut["duration"], words, said.get("speaker") or "", said.get("text") or ""]
    text = json.dumps([*values, said.get("custom") or {}], sort_keys=True)
    return blake2b(text.encode(), digest_size=DIGEST).digest()
