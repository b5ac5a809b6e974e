"""How a corpus is cut into parts of a shard set, before any rank starts on them.

Parts depend on the corpus alone, each is tokenised by one rank in fixed batches, and finished parts are left
out: so the shards are the same whatever the number of ranks, and an interrupted run goes on.
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
        split: "train", "validation" or "test".
        index: of the part in its corpus and split.
        ids: in the order of the rows.
        batches: the same ids in the order of computation.
    """

    corpus: str
    split: str
    index: int
    ids: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]


@dataclass
class CorpusPlan:
    """What is to be tokenised.

    Attributes:
        cuts: all utterances by id.
        corpora: the corpus that each utterance belongs to.
        parts: all parts of all splits.
        finished: positions in `parts` that need not be done.
        f0: hash of the F0 that each corpus is tokenised with, where it is at hand.
        sources: folders of each corpus by its name.
    """

    cuts: Mapping[str, MonoCut]
    corpora: Mapping[str, str]
    parts: Sequence[Part]
    sources: Mapping[str, tuple[str, ...]]
    finished: set[int] = field(default_factory=set)
    f0: Mapping[str, str] = field(default_factory=dict)

    def remaining(self, rank: int, world_size: int) -> list[Part]:
        """The parts that a rank has to do."""
        todo = [part for position, part in enumerate(self.parts) if position not in self.finished]
        return todo[rank::world_size]


def corpus_name(folder: str | Path) -> str:
    """The name that a corpus gives itself, else that of its folder."""
    return str((read_info(folder) or {}).get("name") or Path(folder).resolve().name)


def load_corpora(folders: Sequence[str | Path], split: str) -> tuple[list[MonoCut], list[str]]:
    """Cuts of one split of several corpora, and the corpus of each.

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
    """Refuse ids that are among those seen, and add them with their places."""
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
    """Cut corpora into parts of `part_size` utterances, and these into batches of similar lengths.

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
