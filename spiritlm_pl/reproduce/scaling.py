"""How held-out losses fall with the size of the network and the number of tokens, for text and for speech apart.

The losses of all runs of a seed are fitted by loss = c N^-a D^-b, by least squares of logarithms; N is the number of
weights without the embeddings, D the number of tokens of training. There is no constant term, which nine runs cannot
tell, so that the exponents hold in the range that was run only. Compute is 6 N D operations (Kaplan et al., arXiv
2001.08361): where a is larger than b, twice the compute lowers the loss more as a larger network than as more tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiritlm_pl.evaluation.paired import PairedEstimate, crossed_mean
from spiritlm_pl.reproduce.results import Result

LOSSES = {"text": "val/text/loss", "speech": "val/speech/loss"}
FEWEST_RUNS = 4  # of one seed: one more than there are numbers to fit


@dataclass(frozen=True)
class Point:
    """One run: its size, its tokens, and its held-out losses by kind of data.

    Attributes:
        weights: number of weights without the embeddings.
        tokens: number of tokens of training.
        losses: held-out losses in nats a token, by kind of data.
    """

    weights: float
    tokens: float
    losses: Mapping[str, float]

    @property
    def compute(self) -> float:
        """Operations of the training, 6 N D."""
        return 6 * self.weights * self.tokens


def point(result: Result) -> Point | None:
    """Return the point of a run; None if it was not trained here or measured."""
    figures = result.get("steps", {}).get("train", {}).get("figures", {})
    metrics, size = figures.get("metrics", {}), figures.get("size")
    if size is None or not {*LOSSES.values(), "perf/tokens"} <= metrics.keys():
        return None
    return Point(size["weights"], metrics["perf/tokens"], {kind: metrics[name] for kind, name in LOSSES.items()})


def exponents(points: Iterable[Point], kind: str) -> tuple[float, float] | None:
    """Fit the exponents of size and of tokens; None with too few runs, or all of one size or one number of tokens."""
    found = list(points)
    if len(found) < FEWEST_RUNS or min(len({p.weights for p in found}), len({p.tokens for p in found})) < 2:
        return None
    table = np.array([[1.0, -np.log(p.weights), -np.log(p.tokens)] for p in found])
    fitted = np.linalg.lstsq(table, np.log([p.losses[kind] for p in found]), rcond=None)[0]
    return float(fitted[1]), float(fitted[2])


def scaling(runs: Mapping[str, Mapping[int, Result]], conditions: Iterable[str]) -> dict[str, Any]:
    """Return the points of all runs and the exponents, with their intervals over seeds, as plain values."""
    by_seed: dict[int, list[Point]] = {}
    points = []
    for condition in conditions:
        for seed, result in runs.get(condition, {}).items():
            found = point(result)
            if found is not None:
                by_seed.setdefault(seed, []).append(found)
                points.append(
                    {"condition": condition, "seed": seed, "compute": found.compute, "weights": found.weights}
                    | {"tokens": found.tokens, "losses": dict(found.losses)}
                )
    fitted = {}
    for kind in LOSSES:
        pairs = [pair for one in by_seed.values() if (pair := exponents(one, kind)) is not None]
        if pairs:
            size, tokens = np.array(pairs).T
            fitted[kind] = {"size": _over_seeds(size), "tokens": _over_seeds(tokens)}
    return {"points": points, "exponents": fitted}


def _over_seeds(values: np.ndarray) -> dict[str, Any]:
    found: PairedEstimate = crossed_mean(values[:, None])
    return found.to_dict()
