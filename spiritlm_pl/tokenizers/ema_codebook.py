"""A codebook that follows its vectors by exponential moving averages (van den Oord et al., 2017, appendix A).

Codes start on vectors of the first batch; a code that has gone out of use is put on a vector of the current one
(Dhariwal et al., 2020). Sums go over all ranks before they are used, and draws depend on seed and update only, so
that R ranks with a share of a batch each do what one process does, and a resumed run goes on exactly.

Shapes: N vectors, D their dimension, K codes.
"""

import torch
from torch import Tensor, nn

from spiritlm_pl.tokenizers.kmeans import cluster_sums, gather_frames, nearest, sum_over_ranks

SMALLEST_WEIGHT = 1e-3


class EMACodebook(nn.Module):
    """The codes (K, D) with all the state that a resumed run needs.

    Args:
        num_codes: K.
        dim: D.
        decay: weight of the past in each update.
        dead_below: a code with fewer vectors than this a batch, averaged as the codes are, is restarted.
        seed: of the start and of restarts.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    updates: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float = 0.99, dead_below: float = 0.5, seed: int = 0) -> None:
        """Empty codes."""
        super().__init__()
        self.decay, self.dead_below, self.seed = decay, dead_below, seed
        self.register_buffer("codes", torch.zeros(num_codes, dim))
        self.register_buffer("counts", torch.ones(num_codes, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(num_codes, dim, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Index (...) of the nearest code of each vector (..., D), and that code (..., D)."""
        index, _ = nearest(vectors.float(), self.codes)
        return index, self.codes[index]

    @torch.no_grad()
    def update(self, vectors: Tensor) -> dict[str, float]:
        """Move the codes towards this rank's share (N, D) of a batch; all ranks call.

        Returns:
            used (share of the codes that a vector chose), entropy (bits), restarts (codes moved).
        """
        vectors = vectors.detach().float()
        vectors = vectors[vectors.isfinite().all(1)]  # one nan would take its code, and then all
        if int(self.updates) == 0:
            self._place(torch.arange(len(self.codes), device=vectors.device), vectors)
        index, _ = nearest(vectors, self.codes)
        sums, counts = cluster_sums(vectors, index, len(self.codes))
        packed = sum_over_ranks(torch.cat([sums.flatten(), counts]))
        sums, counts = packed[: sums.numel()].view_as(sums), packed[sums.numel() :]
        if not float(counts.sum()):  # no vectors at all: the first that come are the start
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
        """Put some codes on vectors of all ranks, drawn at random; twice on one only where there are too few."""
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
