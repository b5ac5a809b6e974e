"""What preference tuning takes beside what its steps take as any training does: the reference log-likelihoods."""

from dataclasses import dataclass, fields
from math import ceil, isfinite

from spiritlm_pl.lm.cost import ModelSize
from spiritlm_pl.lm.flops import training_flops

GB = 1e9
VALUE_BYTES = 8  # of a pair: two log-likelihoods in fp32
FORWARD_SHARE = 1 / 3  # of the operations of a training step


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Pairs of continuations that a model is tuned on.

    Attributes:
        pairs: number of pairs.
        pair_tokens: number of tokens of a pair: both continuations, each with the prompt.
        pairs_per_step: number of pairs in an optimizer step over all GPUs.
        passes: number of passes over the pairs.
    """

    pairs: int = 50_000
    pair_tokens: int = 1_200
    pairs_per_step: int = 128
    passes: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: if one is not above 0.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{field.name} must be above 0, but is {value:g} instead")

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return ceil(self.pairs * self.passes / self.pairs_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Number of tokens in an optimizer step over all GPUs."""
        return self.pairs_per_step * self.pair_tokens

    def lines(self, size: ModelSize, row_length: int, speed: float) -> list[str]:
        """Return lines about pairs and their log-likelihoods.

        Args:
            size: sizes of the model.
            row_length: number of tokens in a row.
            speed: tokens a second of one GPU in training, without recomputed layers.
        """
        tokens = self.pairs * self.pair_tokens
        hours = tokens * FORWARD_SHARE / speed / 3600
        head = 2 * size.vocabulary * size.hidden
        megabytes = VALUE_BYTES * self.pairs / 1e6
        again = head / training_flops(size.matrix_weights, size.attention_width, row_length / 2)
        return [
            f"{self.pairs:,} pairs of {self.pair_tokens:,} tokens, {self.pairs_per_step:,} a step: {self.steps:,}",
            f"log-likelihoods of the pairs, once: {hours:,.1f} GPU hours; stored in {megabytes:,.1f} MB",
            f"a reference model in memory would hold {2 * size.parameters / GB:,.1f} GB more (all GPUs together",
            "under ZeRO-3, else each), and take a third more time in each step",
            f"the output layer is computed twice: {100 * again:.1f} % more operations",
        ]
