"""Settings of LoRA, apart from the code that needs torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank updates of a frozen model's matrices (Hu et al., arXiv 2106.09685), trained in place of the matrices.

    Args:
        rank: rank of the update of each matrix.
        alpha: the update is multiplied by alpha / rank.
        dropout: probability with which an input of an update is dropped in training.
        target_modules: last names of the linear layers that get an update, such as [q_proj, v_proj]; None for all of
            them but the output layer.
        embeddings: rows of embedding and output layer that are trained as well: "new" for those of speech, modality
            and task tokens, "all" for those of text, too, "none" for none. Tied ones stay tied.
        bits: 4 or 8 to quantize the frozen matrices with bitsandbytes (QLoRA, arXiv 2305.14314), on a single GPU or
            under DDP; None to leave them as they are.
        seed: seed of the drawing of the updates.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: list[str] | None = None
    embeddings: Literal["new", "all", "none"] = "new"
    bits: Literal[4, 8] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)} instead")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout} instead")
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("target_modules must name a layer, or be left out for all, but is empty instead")
