from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans, nearest

CONFIG = KMeansConfig(num_units=6, feature_dim=3)


def blobs(count: int = 600) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centers = 10 * torch.randn(6, 3, generator=generator)
    return centers[torch.arange(count) % 6] + 0.1 * torch.randn(count, 3, generator=generator)


def test_it_finds_separate_clusters() -> None:
    points = blobs()
    network = KMeans(CONFIG)
    fitter = MinibatchKMeans(network)
    fitter.start(points[:200])
    for batch in points[200:].split(100):
        fitter.update(batch)
    units = network(points)
    assert all(len(units[first::6].unique()) == 1 for first in range(6)) and len(units.unique()) == 6


def test_updates_refine_what_the_start_found() -> None:
    torch.manual_seed(0)
    points = torch.randn(60, 8)[torch.randint(60, (6000,))] + 0.7 * torch.randn(6000, 8)
    network = KMeans(KMeansConfig(num_units=40, feature_dim=8))
    fitter = MinibatchKMeans(network)

    def inertia() -> float:
        return float(nearest(network.standardize(points[4000:]), network.centroids)[1].mean())

    fitter.start(points[:3000])
    start = inertia()
    fitter.update(points[3000:3200])
    assert inertia() < 1.005 * start
    fitter.update(points[3200:4000])
    assert inertia() < start


def test_distances_under_autocast() -> None:
    network = KMeans(CONFIG)
    network.centroids.copy_(100 + torch.randn(6, 3))
    points = 100 + torch.randn(50, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = nearest(points, network.centroids)
    assert rounded[1].dtype == torch.float32 and torch.equal(rounded[0], nearest(points, network.centroids)[0])


def test_dead_clusters_come_back() -> None:
    network = KMeans(CONFIG)
    fitter = MinibatchKMeans(network, patience=2)
    fitter.start(blobs())
    network.centroids[0] = 1e6
    before = float(nearest(network.standardize(blobs()), network.centroids)[1].mean())
    moved = [fitter.update(blobs())["restarts"] for _ in range(4)]
    after = float(nearest(network.standardize(blobs()), network.centroids)[1].mean())
    assert sum(moved) >= 1 and after < 0.3 * before


def test_too_few_frames() -> None:
    with pytest.raises(ValueError, match="num_units must be at most the 3 frames"):
        MinibatchKMeans(KMeans(CONFIG)).start(torch.randn(3, 3))


def fit(points: torch.Tensor) -> KMeans:
    network = KMeans(CONFIG)
    fitter = MinibatchKMeans(network, patience=1)
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    share = points.chunk(world)[rank]
    fitter.start(share)
    network.centroids[2] = 1e3  # a dead cluster, to be moved by all ranks alike
    for _ in range(5):
        fitter.update(share)
    return network


def _rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(fit(blobs(601)).state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_processes")
def test_two_ranks_do_what_one_process_does(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in fit(blobs(601)).state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value)
