"""Division of a corpus into the parts of a shard set, before any rank starts to work.

The parts depend on the corpus alone, and each is tokenised by one rank in fixed batches. Finished parts are left out.
So the shards are the same for any number of ranks, and an interrupted run can be continued.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spiritlm_pl.corpora.cuts import Cuts, check_unique, open_cuts
from spiritlm_pl.corpora.manifest import SPLITS, read_info
from spiritlm_pl.data.batching import Batches, bucketed_batches


@dataclass(frozen=True)
class Part:
    """Utterances of one shard.

    Attributes:
        corpus: name of the corpus.
        split: name of the split: "train", "validation" or "test".
        index: number of the part within its corpus and split.
        cuts: utterances in the order of the rows.
        batch_seconds: largest duration of a batch in seconds, padding included.
    """

    corpus: str
    split: str
    index: int
    cuts: Cuts
    batch_seconds: float

    @property
    def ids(self) -> list[str]:
        """Ids of the utterances in the order of the rows, read at each call."""
        return self.cuts.ids

    @property
    def places(self) -> Batches:
        """Places of the utterances in batches, in the order of computation, computed at each call."""
        return bucketed_batches(self.cuts.durations, self.batch_seconds, seed=0, epoch=0, shuffle=False)

    @property
    def batches(self) -> list[list[str]]:
        """Ids of the utterances in batches, in the order of computation, computed at each call."""
        ids = self.ids
        return [[ids[place] for place in batch] for batch in self.places]


@dataclass
class CorpusPlan:
    """Corpora that are to be tokenised, divided into parts.

    Attributes:
        cuts: all utterances.
        part_of: position in `parts` of each utterance's part (N,).
        parts: all parts of all splits.
        finished: positions in `parts` of those that are complete already.
        f0: hash of the extracted F0 with which each corpus is tokenised, by the corpus's name, where there is F0.
        sources: folders of each corpus, by its name.
    """

    cuts: Cuts
    part_of: npt.NDArray[np.int32]
    parts: Sequence[Part]
    sources: Mapping[str, tuple[str, ...]]
    finished: set[int] = field(default_factory=set)
    f0: Mapping[str, str] = field(default_factory=dict)

    def remaining(self, rank: int, world_size: int) -> list[Part]:
        """Return the parts that a rank has to tokenise."""
        todo = [part for position, part in enumerate(self.parts) if position not in self.finished]
        return todo[rank::world_size]

    def position(self, name: str) -> int:
        """Return the position of the part that has an utterance."""
        row = self.cuts.find(name)
        assert row is not None, "utterances of a batch are those of the plan"
        return int(self.part_of[row])


def corpus_name(folder: str | Path) -> str:
    """Return the name that a corpus gives itself, or else that of its folder."""
    return str((read_info(folder) or {}).get("name") or Path(folder).resolve().name)


def load_corpora(folders: Sequence[str | Path], split: str) -> list[tuple[str, Cuts]]:
    """Open one split of several corpora, and return the name and the cuts of each folder.

    Raises:
        ValueError: if two cuts have the same id.
    """
    sources = open_cuts(folders, split)
    names = [corpus_name(folder) for folder in folders]
    check_unique(sources, [f"{split} of {name}" for name in names])
    starts = np.cumsum([0, *(len(source) for source in sources)])
    return [
        (name, Cuts(sources, np.arange(start, start + len(source))))
        for name, source, start in zip(names, sources, starts, strict=False)
    ]


def plan_corpus(
    folders: Sequence[str | Path],
    *,
    splits: Sequence[str] = SPLITS,
    part_size: int = 1000,
    batch_seconds: float = 200.0,
) -> CorpusPlan:
    """Divide corpora into parts of `part_size` utterances, and these into batches of similar lengths.

    Args:
        folders: folders of the corpora.
        splits: names of the splits.
        part_size: number of utterances in a part.
        batch_seconds: largest duration of a batch in seconds, padding included.

    Raises:
        ValueError: if `part_size` or `batch_seconds` is out of range, or two utterances have the same id.
    """
    if part_size < 1:
        raise ValueError(f"part_size must be at least 1, but is {part_size} instead")
    if not batch_seconds > 0:
        raise ValueError(f"batch_seconds must be above 0, but is {batch_seconds} instead")
    names = [corpus_name(folder) for folder in folders]
    sources = [source for split in splits for source in open_cuts(folders, split)]
    check_unique(sources, [f"{split} of {name}" for split in splits for name in names])
    rows = np.split(np.arange(sum(map(len, sources))), np.cumsum([len(source) for source in sources])[:-1])
    part_of = np.zeros(sum(map(len, sources)), dtype=np.int32)
    parts: list[Part] = []
    for first, split in enumerate(splits):
        members = rows[first * len(folders) : (first + 1) * len(folders)]
        for corpus in sorted(set(names)):
            own = np.concatenate([member for member, name in zip(members, names, strict=True) if name == corpus])
            for index, start in enumerate(range(0, len(own), part_size)):
                chunk = own[start : start + part_size]
                part_of[chunk] = len(parts)
                parts.append(Part(corpus, split, index, Cuts(sources, chunk), batch_seconds))
    found: dict[str, tuple[str, ...]] = {}
    for name, folder in zip(names, folders, strict=True):
        found[name] = (*found.get(name, ()), str(folder))
    return CorpusPlan(cuts=Cuts(sources), part_of=part_of, parts=parts, sources=found)
