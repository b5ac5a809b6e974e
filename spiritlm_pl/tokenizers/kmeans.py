"""K-means over frame features: minibatch updates, k-means++ start, restart of dead clusters, exact over ranks.

The minibatch update is that of Sculley (2010), the start that of Arthur and Vassilvitskii (2007). Every statistic is
summed over all ranks in float64 before it is used, so that R ranks with a share of a batch each compute what one
process does with the whole batch.

Shapes: N frames, B batch, T frames, D feature dimension, K clusters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True, kw_only=True)
class KMeansConfig:
    """Sizes of a k-means codebook.

    Args:
        num_units: number of clusters, K.
        feature_dim: size of a feature vector, D.
    """

    num_units: int = 500
    feature_dim: int = 768

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_units", "feature_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)} instead")


class KMeans(nn.Module):
    """Quantizer that gives each frame the nearest centroid of its standardised features."""

    config_class = KMeansConfig
    centroids: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: KMeansConfig) -> None:
        """Make a codebook of zeros, to be filled by `MinibatchKMeans` or by loading."""
        super().__init__()
        self.config = config
        self.register_buffer("centroids", torch.zeros(config.num_units, config.feature_dim))
        self.register_buffer("mean", torch.zeros(config.feature_dim))
        self.register_buffer("deviation", torch.ones(config.feature_dim))

    @property
    def num_units(self) -> int:
        """Number of clusters."""
        return self.config.num_units

    @property
    def feature_dim(self) -> int:
        """Size of a feature vector, D."""
        return self.config.feature_dim

    def standardize(self, features: Tensor) -> Tensor:
        """Scale features (..., D) as the centroids are scaled."""
        return (features.float() - self.mean) / self.deviation

    @torch.no_grad()
    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return units (B, T) of features (B, T, D); the lengths have no influence."""
        if features.shape[-1] != self.feature_dim:
            raise ValueError(f"features must have {self.feature_dim} columns, but have {features.shape[-1]} instead")
        return nearest(self.standardize(features), self.centroids)[0]


def nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the nearest centroid (K, D) of points (..., D), and the squared distance to it."""
    with torch.autocast(points.device.type, enabled=False):  # differences of large numbers need full precision
        scores = centroids.square().sum(-1) - 2 * points @ centroids.T  # (..., K), without |p|^2
    score, index = scores.min(-1)
    return index, (score + points.square().sum(-1)).clamp(min=0)


def gather_frames(features: Tensor) -> Tensor:
    """Concatenate the frames (N_r, D) of all ranks, in the order of ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return features
    own = torch.tensor([len(features)], device=features.device)
    counts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, own)
    longest = int(torch.stack(counts).max())
    padded = features.new_zeros(longest, features.shape[1])
    padded[: len(features)] = features
    parts = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum a tensor over all ranks in place, and return it."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def kmeans_plus_plus(points: Tensor, num_units: int, generator: torch.Generator) -> Tensor:
    """Choose centroids (K, D) among points (N, D), each with a probability proportional to its squared distance.

    Args:
        points: points to choose from (N, D).
        num_units: number of centroids, K.
        generator: source of random numbers.

    Raises:
        ValueError: if there are fewer points than clusters.
    """
    if len(points) < num_units:
        raise ValueError(f"num_units must be at most the {len(points)} frames, but is {num_units} instead")
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    distances = (points - points[first]).square().sum(-1).double()
    for _ in range(num_units - 1):
        cumulative = distances.cumsum(0).cpu()
        target = torch.rand(1, generator=generator, dtype=torch.float64) * cumulative[-1]
        index = min(int(torch.searchsorted(cumulative, target, right=True)), len(points) - 1)
        chosen.append(index)
        distances = torch.minimum(distances, (points - points[index]).square().sum(-1).double())
    return points[torch.tensor(chosen, device=points.device)].clone()


class MinibatchKMeans(nn.Module):
    """Fitting of a `KMeans` batch by batch; its buffers are all the state that a resumed run needs.

    Args:
        network: codebook that is filled.
        seed: seed for the start and the restarts of clusters.
        patience: number of updates without a frame after which a cluster is moved onto a distant frame.
    """

    counts: Tensor
    idle: Tensor
    updates: Tensor

    def __init__(self, network: KMeans, seed: int = 0, patience: int = 20) -> None:
        """Start with zero counts."""
        super().__init__()
        self.network = network
        self.seed = seed
        self.patience = patience
        self.register_buffer("counts", torch.zeros(network.num_units, dtype=torch.float64))
        self.register_buffer("idle", torch.zeros(network.num_units, dtype=torch.long))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def _generator(self) -> torch.Generator:
        """Make a generator that is the same on every rank, differs at each update, and needs no saved state."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))

    @torch.no_grad()
    def start(self, features: Tensor, lloyd_iterations: int = 5) -> None:
        """Standardise, and place the centroids by this rank's share of the first frames; every rank must call.

        The frames of each cluster count as frames seen, so that the first updates only refine the centroids.

        Args:
            features: this rank's features (N, D).
            lloyd_iterations: number of passes of plain k-means over these frames.
        """
        network = self.network
        frames = gather_frames(features.float())
        network.mean.copy_(frames.double().mean(0))
        network.deviation.copy_(frames.double().std(0, unbiased=False).clamp(min=1e-5))
        points = network.standardize(frames)
        centroids = kmeans_plus_plus(points, network.num_units, self._generator())
        counts = torch.zeros_like(self.counts)
        for _ in range(lloyd_iterations):
            sums, counts = cluster_sums(points, nearest(points, centroids)[0], network.num_units)
            means = sums / counts.clamp(min=1)[:, None]
            centroids = torch.where(counts[:, None] > 0, means, centroids).float()
        network.centroids.copy_(centroids)
        self.counts.copy_(counts)
        self.updates += 1

    @torch.no_grad()
    def update(self, features: Tensor) -> dict[str, float]:
        """Move the centroids towards the means of this rank's share (N, D) of a batch; every rank must call.

        Returns:
            Values by name: inertia (mean squared distance), active (share of clusters with a frame) and restarts
            (number of clusters moved).
        """
        network = self.network
        points = network.standardize(features)
        index, distances = nearest(points, network.centroids)
        sums, counts = cluster_sums(points, index, network.num_units)
        total = distances.new_tensor([0.0, len(points)], dtype=torch.float64)
        total[0] = distances.double().sum()
        packed = sum_over_ranks(torch.cat([sums.flatten(), counts, total]))
        width = network.num_units * network.feature_dim
        sums, counts = packed[:width].view_as(sums), packed[width:-2]
        self.counts += counts
        rate = 1.0 / self.counts.clamp(min=1)
        moved = network.centroids + rate[:, None] * (sums - counts[:, None] * network.centroids)
        network.centroids.copy_(moved)
        self.idle.copy_(torch.where(counts > 0, 0, self.idle + 1))
        restarts = self._restart(points, distances)
        self.updates += 1
        return {
            "inertia": float(packed[-2] / packed[-1].clamp(min=1)),
            "active": float((counts > 0).double().mean()),
            "restarts": float(restarts),
        }

    def _restart(self, points: Tensor, distances: Tensor) -> int:
        """Move idle clusters onto the frames of all ranks that lie farthest from their centroids; return how many."""
        dead = (self.idle >= self.patience).nonzero().squeeze(1)
        if len(dead) == 0:
            return 0
        far = distances.topk(min(len(dead), len(distances))).indices
        candidates = gather_frames(torch.cat([points[far], distances[far, None]], dim=1))
        best = candidates[:, -1].argsort(descending=True, stable=True)[: len(dead)]
        dead = dead[: len(best)]
        self.network.centroids[dead] = candidates[best, :-1]
        self.counts[dead] = 1.0
        self.idle[dead] = 0
        return len(dead)


def cluster_sums(points: Tensor, index: Tensor, num_units: int) -> tuple[Tensor, Tensor]:
    """Return sums (K, D) and counts (K,) of the points (N, D) of each cluster, in float64."""
    sums = torch.zeros(num_units, points.shape[-1], dtype=torch.float64, device=points.device)
    sums.index_add_(0, index, points.double())
    return sums, torch.bincount(index, minlength=num_units).double()
