"""Codebook that follows its vectors by exponential moving averages (van den Oord et al., 2017, appendix A).

Codes start on vectors of the first batch. A code that has gone out of use is moved to a vector of the current batch
(Dhariwal et al., 2020). Sums are taken over all ranks before they are used, and random choices depend on seed and
update only. So R ranks with a share of a batch each compute what one process does, and a resumed run continues exactly.

Shapes: N vectors, D their dimension, K codes.
"""

import torch
from torch import Tensor, nn

from spiritlm_pl.tokenizers.kmeans import cluster_sums, gather_frames, nearest, sum_over_ranks

SMALLEST_WEIGHT = 1e-3


class EMACodebook(nn.Module):
    """Codes (K, D) with all the state that a resumed run needs.

    Args:
        num_codes: number of codes, K.
        dim: dimension of a code, D.
        decay: weight of the past in each update, in (0, 1).
        dead_below: number of vectors per batch, as a moving average, below which a code is restarted.
        seed: seed for the start and the restarts of codes.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    updates: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float = 0.99, dead_below: float = 0.5, seed: int = 0) -> None:
        """Make codes of zeros, which the first update replaces."""
        super().__init__()
        self.decay, self.dead_below, self.seed = decay, dead_below, seed
        self.register_buffer("codes", torch.zeros(num_codes, dim))
        self.register_buffer("counts", torch.ones(num_codes, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(num_codes, dim, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest code of each vector (..., D); return its index (...) and the code (..., D)."""
        index, _ = nearest(vectors.float(), self.codes)
        return index, self.codes[index]

    @torch.no_grad()
    def update(self, vectors: Tensor) -> dict[str, float]:
        """Move the codes towards this rank's share of a batch; every rank must call.

        Args:
            vectors: this rank's vectors (N, D); those that are not finite are left out.

        Returns:
            Shares and numbers: used (share of codes that a vector chose), entropy (of these choices, in bits) and
            restarts (number of codes moved).
        """
        vectors = vectors.detach().float()
        vectors = vectors[vectors.isfinite().all(1)]  # a nan would spoil its code, and then all
        if int(self.updates) == 0:
            self._place(torch.arange(len(self.codes), device=vectors.device), vectors)
        index, _ = nearest(vectors, self.codes)
        sums, counts = cluster_sums(vectors, index, len(self.codes))
        packed = sum_over_ranks(torch.cat([sums.flatten(), counts]))
        sums, counts = packed[: sums.numel()].view_as(sums), packed[sums.numel() :]
        if not float(counts.sum()):  # no vectors on any rank: the start waits for the first ones
            return {"used": 0.0, "entropy": 0.0, "restarts": 0.0}
        self.counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        self.codes.copy_(self.sums / self.counts.clamp(min=SMALLEST_WEIGHT)[:, None])
        dead = (self.counts < self.dead_below).nonzero().squeeze(1)
        if len(dead):
            self._place(dead, vectors)
        self.updates += 1
        shares = counts / counts.sum().clamp(min=1)
        return {
            "used": float((counts > 0).double().mean()),
            "entropy": float(torch.special.entr(shares).sum() / torch.log(shares.new_tensor(2.0))),
            "restarts": float(len(dead)),
        }

    def _place(self, which: Tensor, vectors: Tensor) -> None:
        """Put the codes `which` on random vectors of all ranks; two share a vector only if there are too few."""
        candidates = gather_frames(vectors)
        if not len(candidates):
            return
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))
        order = torch.randperm(len(candidates), generator=generator).to(vectors.device)
        chosen = candidates[order.repeat(-(-len(which) // len(order)))[: len(which)]]
        self.codes[which] = chosen
        weight = max(1.0, self.dead_below)
        self.counts[which] = weight
        self.sums[which] = weight * chosen.double()
