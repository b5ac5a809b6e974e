"""Likelihood of texts under a causal language model of `transformers`, from which perplexities are computed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from spiritlm_pl.evaluation.judges import load_judge, longest_text
from spiritlm_pl.lm.likelihood import log_likelihoods

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TextLikelihood:
    """Language model that tells how likely texts are.

    Args:
        network: causal language model of `transformers` in evaluation mode.
        tokenizer: its text tokenizer.
    """

    def __init__(self, network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        """Keep the parts."""
        self.network, self.tokenizer = network, tokenizer
        self.longest = longest_text(network, tokenizer)
        begin = tokenizer.bos_token_id
        self.begin: list[int] = [begin] if isinstance(begin, int) else []

    def losses(
        self, texts: Sequence[tuple[str, str]], batch_tokens: int = 4096
    ) -> list[tuple[float, int] | ValueError]:
        """Return the negative log-likelihood of each text in nats, and the number of tokens that it is the sum of.

        The token that begins a text comes first, if the tokenizer has one; otherwise the first token of a text that
        stands alone is not scored.

        Args:
            texts: pairs of what stands before a text and the whole, which begins with it; "" where nothing does.
            batch_tokens: largest number of tokens in a batch, padding included.

        Returns:
            For each text its loss and number of tokens, both 0 for one without tokens; or why it cannot be scored.

        Raises:
            ValueError: if a loss is not finite, as of a model with broken weights.
        """
        found: list[tuple[float, int] | ValueError] = [(0.0, 0)] * len(texts)
        scored: list[tuple[int, list[int], int]] = []
        for place, (before, whole) in enumerate(texts):
            tokens = [*self.begin, *self._tokens(whole)]
            first = max(1, _shared(tokens, [*self.begin, *self._tokens(before)]))
            if self.longest is not None and len(tokens) > self.longest:
                found[place] = ValueError(
                    f"a text must have at most {self.longest} tokens of the language model, but has {len(tokens)}"
                )
            elif len(tokens) > first:
                scored.append((place, tokens, len(tokens) - first))
        if scored:
            sums = log_likelihoods(self.network, [(tokens, count) for _, tokens, count in scored], batch_tokens)
            for (place, _, count), value in zip(scored, sums.tolist(), strict=True):
                if not math.isfinite(value):
                    raise ValueError(
                        "likelihoods of the text model must be finite, but are not: its weights are broken"
                    )
                found[place] = (-value, count)
        return found

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences share at their beginning."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def load_text_likelihood(argument: str, checkpoint: str | Path, device: str | torch.device = "cpu") -> TextLikelihood:
    """Load a causal language model from a folder, or by its name on the Hugging Face hub.

    Args:
        argument: name of the argument that gives the checkpoint, for errors.
        checkpoint: folder of a causal language model of `transformers` with its tokenizer, or a hub name.
        device: device that the network computes on.

    Raises:
        ValueError: if it cannot be loaded, or is another kind of model.
    """
    from transformers import AutoModelForCausalLM

    network, tokenizer = load_judge(argument, AutoModelForCausalLM, checkpoint, device)
    if not _is_causal(network):
        kind = network.config.model_type
        raise ValueError(
            f"{argument} must be a causal language model, but {checkpoint} ({kind}) also sees what follows"
        )
    return TextLikelihood(network, tokenizer)


@torch.no_grad()
def _is_causal(network: "PreTrainedModel") -> bool:
    """Return whether a change of the last token leaves what the model tells of earlier ones as it is."""
    tokens = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 4, 0]], device=network.device)
    logits = network(input_ids=tokens, use_cache=False).logits[:, :-1]
    return bool(torch.allclose(logits[0], logits[1], atol=1e-4, rtol=1e-4, equal_nan=True))
