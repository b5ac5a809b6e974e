"""Exponents of losses that follow a law are found; without enough runs there are none."""

import pytest

from spiritlm_pl.reproduce.scaling import Point, exponents, scaling

SIZES, LENGTHS = (1e5, 1e6, 4e6), (5e5, 1e6, 2e6)


def law(weights: float, tokens: float) -> dict[str, float]:
    return {"text": 3 * weights**-0.1 * tokens**-0.2, "speech": 9 * weights**-0.05 * tokens**-0.3}


def run(weights: float, tokens: float) -> dict[str, object]:
    metrics = {f"val/{kind}/loss": loss for kind, loss in law(weights, tokens).items()} | {"perf/tokens": tokens}
    return {"steps": {"train": {"figures": {"metrics": metrics, "size": {"weights": weights}}}}}


def test_the_exponents_of_a_law_are_found() -> None:
    points = [Point(size, length, law(size, length)) for size in SIZES for length in LENGTHS]
    assert exponents(points, "text") == pytest.approx((0.1, 0.2)) and exponents(points, "speech") == pytest.approx(
        (0.05, 0.3)
    )
    assert points[0].compute == 3e11
    assert exponents(points[:3], "text") is None and exponents(points[:3] * 2, "text") is None


def test_runs_are_fitted_seed_by_seed() -> None:
    grid = {f"{size}-{length}": (size, length) for size in SIZES for length in LENGTHS}
    runs = {name: {seed: run(*place) for seed in range(3)} for name, place in grid.items()}
    runs["other"] = {0: {"steps": {}}}
    found = scaling(runs, runs)
    assert len(found["points"]) == 27
    speech = found["exponents"]["speech"]
    assert speech["tokens"]["value"] == pytest.approx(0.3) and speech["tokens"]["seeds"] == 3
    assert speech["size"]["high"] - speech["size"]["low"] < 1e-6
    assert scaling({}, runs) == {"points": [], "exponents": {}}
