"""Blocks of shuffled documents, made from sorted runs in any number of processes.

A block has the documents of a range of places (see `spiritlm_pl.data.runs`). The ranges are equally wide, so that
blocks are of about equal size, and which documents a block has depends on their keys, the seed and the number of blocks
alone.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from spiritlm_pl.data.blocks import BlockEntry, write_block
from spiritlm_pl.data.runs import Run, Sorted, place_bounds
from spiritlm_pl.runtime.checksums import read_object
from spiritlm_pl.runtime.heap import keep_heap
from spiritlm_pl.runtime.opens_for_itself import OpensForItself
from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.vocabulary import Vocabulary

GROUP_TOKENS = 1 << 23  # of the blocks that are made together


@dataclass(frozen=True)
class BlockGroup:
    """Neighbouring blocks of a stream, which are made together, so that runs are opened less often.

    Attributes:
        stream: folder of the stream below that of all: its split and its name, such as train/text.
        runs: files of its runs.
        number: number of blocks of the whole stream.
        first: number of the first block of this group.
        last: number of the block after its last one.
    """

    stream: str
    runs: tuple[Path, ...]
    number: int
    first: int
    last: int

    def record(self, folder: Path) -> Path:
        """Return the path of the file that tells that the blocks are complete."""
        return folder / f"blocks-{self.stream.replace('/', '-')}-{self.first:06d}.json"


def groups_of(stream: str, runs: Sequence[Path], num_tokens: int, block_tokens: int) -> list[BlockGroup]:
    """Divide the blocks of a stream into groups.

    Args:
        stream: split and name of the stream, such as train/text.
        runs: files of its runs.
        num_tokens: number of tokens of all its documents.
        block_tokens: approximate number of tokens in one block.
    """
    number = max(1, -(-num_tokens // block_tokens))
    together = max(1, GROUP_TOKENS // block_tokens)
    return [
        BlockGroup(stream, tuple(runs), number, first, min(first + together, number))
        for first in range(0, number, together)
    ]


class GroupWriter(OpensForItself):
    """Writer of groups of blocks, which keeps where in the runs of a stream the arrays are.

    Args:
        folder: folder of all streams.
        records: folder of the records.
        vocabulary: layout of the token ids.
    """

    def __init__(self, folder: Path, records: Path, vocabulary: Vocabulary) -> None:
        """Read nothing yet."""
        self.folder, self.records, self.vocabulary = folder, records, vocabulary

    def __call__(self, group: BlockGroup) -> list[BlockEntry]:
        """Write the blocks of a group and its record; return their entries, at once if they are complete already.

        A block that gets no document is left out.
        """
        path = group.record(self.records)
        if path.is_file():
            return [BlockEntry(**entry) for entry in read_object(path)["blocks"]]
        keep_heap()
        bounds = place_bounds(group.number)
        found = [run.between(bounds[group.first], bounds[group.last]) for run in self._runs(group.runs)]
        parts = [part for part in found if len(part.table)]
        entries = []
        if parts:
            merged = Sorted.merge(parts)
            for number in range(group.first, group.last):
                table = merged.between(bounds[number], bounds[number + 1]).table
                if len(table):
                    entries.append(write_block(self.folder / group.stream, number, table, self.vocabulary))
        with atomic_path(path) as temporary:
            record = {"stream": group.stream, "blocks": [asdict(entry) for entry in entries]}
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
        return entries

    @cached_property
    def _runs(self) -> Callable[[tuple[Path, ...]], list[Run]]:
        return lru_cache(maxsize=1)(lambda paths: [Run(path) for path in paths])  # those of one stream
