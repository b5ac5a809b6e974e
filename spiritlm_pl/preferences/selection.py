"""Choice of pairs among scored continuations of a prompt, and of the split that a pair belongs to."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spiritlm_pl.data.rng import derive, name_key
from spiritlm_pl.preferences.contract import Candidates
from spiritlm_pl.preferences.pairs import Pair

FEW = "fewer than two different continuations have a score"
UNFINISHED = "fewer than two different continuations with a score stopped by themselves"
CLOSE = "no two continuations differ by the margin"
LENGTHS = "no two continuations that differ by the margin are of similar length"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules by which continuations become pairs.

    Args:
        margin: difference of the scores that a pair must have at least; equal scores never make a pair.
        pairs_per_prompt: largest number of pairs of one prompt: the best with the worst, the second best with the
            second worst, and so on.
        only_stopped: whether continuations that reached the limit are left out.
        length_ratio: how many times as long the longer continuation of a pair may be; None for any number. Otherwise a
            scorer that likes short continuations teaches to be short.
    """

    margin: float = 0.0
    pairs_per_prompt: int = 1
    only_stopped: bool = True
    length_ratio: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin must be at least 0, but is {self.margin} instead")
        if self.pairs_per_prompt < 1:
            raise ValueError(f"pairs_per_prompt must be at least 1, but is {self.pairs_per_prompt} instead")
        if self.length_ratio is not None and not self.length_ratio >= 1:
            raise ValueError(f"length_ratio must be at least 1, but is {self.length_ratio} instead")


def select(candidates: Candidates, scores: Sequence[float | None], rules: Rules, end: int | None) -> list[Pair] | str:
    """Choose pairs among the continuations of a prompt.

    Args:
        candidates: the continuations.
        scores: score of each, higher is better; None for one without.
        rules: rules of the choice.
        end: id that ends a continuation that stopped by itself; None where there is none.

    Returns:
        The pairs; or the reason why there are none.
    """
    scored: dict[tuple[int, ...], float] = {}
    cut_off = 0
    for answer, stopped, score in zip(candidates.answers, candidates.stopped, scores, strict=True):
        if score is None or not math.isfinite(score) or not answer:
            continue
        if rules.only_stopped and not stopped:
            cut_off += 1
            continue
        scored.setdefault((*answer, end) if stopped and end is not None else answer, score)
    if len(scored) < 2:
        return UNFINISHED if cut_off else FEW
    order = sorted(scored, key=lambda answer: -scored[answer])
    found: list[Pair] = []
    used: set[tuple[int, ...]] = set()
    apart = False
    for chosen in order:
        for rejected in reversed(order):
            gap = scored[chosen] - scored[rejected]
            if gap <= 0 or gap < rules.margin:
                break
            apart = True
            if used & {chosen, rejected} or not _similar(chosen, rejected, rules.length_ratio):
                continue
            name = candidates.id if rules.pairs_per_prompt == 1 else f"{candidates.id}#{len(found) + 1}"
            found.append(Pair(name, candidates.prompt, chosen, rejected))
            used |= {chosen, rejected}
            break
        if len(found) == rules.pairs_per_prompt:
            break
    if found:
        return found
    return LENGTHS if apart else CLOSE


def _similar(one: Sequence[int], other: Sequence[int], ratio: float | None) -> bool:
    return ratio is None or max(len(one), len(other)) <= ratio * min(len(one), len(other))


def by_split(pairs: Iterable[Pair], validation_fraction: float, seed: int = 0) -> dict[str, list[Pair]]:
    """Divide pairs into a training and a validation split; all pairs of a prompt go into one.

    Args:
        pairs: pairs in any order, which is kept.
        validation_fraction: share of the prompts in the validation split, in [0, 1).
        seed: seed of the division.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction must be in [0, 1), but is {validation_fraction} instead")
    found: dict[str, list[Pair]] = {"train": [], "validation": []}
    for pair in pairs:
        draw = derive(derive(0, seed), name_key(" ".join(map(str, pair.prompt))))
        found["validation" if draw < validation_fraction * 2**64 else "train"].append(pair)
    return found
