"""Division of a corpus into the parts of a shard set, before any rank starts to work.

The parts depend on the corpus alone, and each is tokenised by one rank in fixed batches. Finished parts are left out.
So the shards are the same for any number of ranks, and an interrupted run can be continued.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lhotse import CutSet, MonoCut

from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, read_info
from spiritlm_pl.data.batching import bucketed_batches


@dataclass(frozen=True)
class Part:
    """Utterances of one shard.

    Attributes:
        corpus: name of the corpus.
        split: name of the split: "train", "validation" or "test".
        index: number of the part within its corpus and split.
        ids: ids of the utterances in the order of the rows.
        batches: the same ids in batches, in the order of computation.
    """

    corpus: str
    split: str
    index: int
    ids: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]


@dataclass
class CorpusPlan:
    """Corpora that are to be tokenised, divided into parts.

    Attributes:
        cuts: all utterances by id.
        corpora: name of each utterance's corpus, by the utterance's id.
        parts: all parts of all splits.
        finished: positions in `parts` of those that are complete already.
        f0: hash of the extracted F0 with which each corpus is tokenised, by the corpus's name, where there is F0.
        sources: folders of each corpus, by its name.
    """

    cuts: Mapping[str, MonoCut]
    corpora: Mapping[str, str]
    parts: Sequence[Part]
    sources: Mapping[str, tuple[str, ...]]
    finished: set[int] = field(default_factory=set)
    f0: Mapping[str, str] = field(default_factory=dict)

    def remaining(self, rank: int, world_size: int) -> list[Part]:
        """Return the parts that a rank has to tokenise."""
        todo = [part for position, part in enumerate(self.parts) if position not in self.finished]
        return todo[rank::world_size]


def corpus_name(folder: str | Path) -> str:
    """Return the name that a corpus gives itself, or else that of its folder."""
    return str((read_info(folder) or {}).get("name") or Path(folder).resolve().name)


def load_corpora(folders: Sequence[str | Path], split: str) -> tuple[list[MonoCut], list[str]]:
    """Load the cuts of one split of several corpora, and the name of each cut's corpus.

    Raises:
        ValueError: if two cuts have the same id.
    """
    cuts: list[MonoCut] = []
    names: list[str] = []
    for folder in folders:
        members: CutSet = load_cuts(folder, split)
        found = list(members)
        cuts.extend(found)
        names.extend([corpus_name(folder)] * len(found))
    _check_ids({}, split, cuts, names)
    return cuts, names


def _check_ids(seen: dict[str, str], split: str, cuts: Sequence[MonoCut], names: Sequence[str]) -> None:
    """Refuse ids that occurred before; add the new ones to `seen` with their places."""
    for cut, name in zip(cuts, names, strict=True):
        place = f"{split} of {name}"
        if (other := seen.setdefault(cut.id, place)) is not place:
            raise ValueError(
                f"ids of utterances must be unique over all corpora and splits, but {cut.id!r} is in {other} and "
                f"in {place}"
            )


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
    cuts: dict[str, MonoCut] = {}
    corpora: dict[str, str] = {}
    parts: list[Part] = []
    places: dict[str, str] = {}
    for split in splits:
        members, names = load_corpora(folders, split)
        _check_ids(places, split, members, names)
        cuts.update({cut.id: cut for cut in members})
        corpora.update({cut.id: name for cut, name in zip(members, names, strict=True)})
        for corpus in sorted(set(names)):
            own = [cut for cut, name in zip(members, names, strict=True) if name == corpus]
            for index, start in enumerate(range(0, len(own), part_size)):
                chunk = own[start : start + part_size]
                durations = np.array([cut.duration for cut in chunk])
                batches = bucketed_batches(durations, batch_seconds, seed=0, epoch=0, shuffle=False)
                parts.append(
                    Part(
                        corpus=corpus,
                        split=split,
                        index=index,
                        ids=tuple(cut.id for cut in chunk),
                        batches=tuple(tuple(chunk[i].id for i in batch) for batch in batches),
                    )
                )
    sources: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        name = corpus_name(folder)
        sources[name] = (*sources.get(name, ()), str(folder))
    return CorpusPlan(cuts=cuts, corpora=corpora, parts=parts, sources=sources)
