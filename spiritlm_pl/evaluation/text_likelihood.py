"""Likelihood of texts under a causal language model of `transformers`, from which perplexities are computed.

A model that also speaks is asked as it was trained: with `[Text]` before the text.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from spiritlm_pl.evaluation.judges import load_judge, longest_text
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.lm.folder import load_lm
from spiritlm_pl.lm.likelihood import log_likelihoods
from spiritlm_pl.runtime.model_description import CONFIG_FILE, DESCRIPTION_FILE, LM
from spiritlm_pl.text_tokenizers.backends import TEXT_MARKER, unknown_ids
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextLikelihood:
    """Language model that tells how likely texts are.

    Args:
        network: causal language model of `transformers` in evaluation mode.
        tokens: function from a text to its token ids, without any that begin or end it.
        begin: token ids that stand before every text; none if nothing begins a text.
        longest: largest number of tokens of a text with what begins it; None for any number.
        unknown: token ids that stand for what has no token of its own.
    """

    def __init__(
        self,
        network: "PreTrainedModel",
        tokens: Callable[[str], list[int]],
        begin: Sequence[int] = (),
        longest: int | None = None,
        unknown: frozenset[int] = frozenset(),
    ) -> None:
        """Keep the parts."""
        self.network, self.tokens, self.begin, self.longest = network, tokens, list(begin), longest
        self.unknown = unknown

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Return the share of the tokens of texts that stand for what has no token of its own."""
        tokens = [token for text in texts for token in self.tokens(text)]
        return sum(token in self.unknown for token in tokens) / max(1, len(tokens))

    def losses(
        self, texts: Sequence[tuple[str, str]], batch_tokens: int = 4096
    ) -> list[tuple[float, int] | ValueError]:
        """Return the negative log-likelihood of each text in nats, and the number of tokens that it is the sum of.

        What begins a text comes first, and is not scored; if nothing does, the first token of a text that
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
            tokens = [*self.begin, *self.tokens(whole)]
            first = max(1, _shared(tokens, [*self.begin, *self.tokens(before)]))
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
        checkpoint: folder of a causal language model of `transformers` with its tokenizer, or a hub name. It may be one
            of text and speech: a folder that was trained or exported here, or any with a token `[Text]`.
        device: device that the network computes on.

    Raises:
        ValueError: if it cannot be loaded, or is another kind of model.
    """
    from transformers import AutoModelForCausalLM

    folder = Path(checkpoint)
    inner = folder / LM
    if (inner / CONFIG_FILE).is_file():
        raise ValueError(f"{argument} must be the folder of a language model alone, such as {inner}, not {folder}")
    if (folder / DESCRIPTION_FILE).is_file():
        return _of_text_and_speech(argument, folder, device)
    network, tokenizer = load_judge(argument, AutoModelForCausalLM, checkpoint, device)
    if not _is_causal(network):
        kind = network.config.model_type
        raise ValueError(
            f"{argument} must be a causal language model, but {checkpoint} ({kind}) also sees what follows"
        )
    marker = tokenizer.get_vocab().get(TEXT_MARKER)
    begin = [one for one in (tokenizer.bos_token_id, marker) if isinstance(one, int)]

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    unknown = unknown_ids(tokenizer.get_vocab(), tokenizer.unk_token_id)
    return TextLikelihood(network, tokens, begin, longest_text(network, tokenizer), unknown)


def _of_text_and_speech(argument: str, folder: Path, device: str | torch.device) -> TextLikelihood:
    """Load a model that was trained here, whose documents of text begin with [Text]."""
    try:
        network, text, vocabulary = load_lm(folder, device, torch.float32)
        begin = [*text.opening, *vocabulary.opening, *vocabulary.opened(Modality.TEXT)]
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{argument} must be a model of texts that can be loaded, unlike {folder}: {error}") from error
    return TextLikelihood(network, text.encode, begin, context_length(network), text.backend.unknown_ids)


@torch.no_grad()
def _is_causal(network: "PreTrainedModel") -> bool:
    """Return whether a change of the last token leaves what the model tells of earlier ones as it is."""
    tokens = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 4, 0]], device=network.device)
    logits = network(input_ids=tokens, use_cache=False).logits[:, :-1]
    return bool(torch.allclose(logits[0], logits[1], atol=1e-4, rtol=1e-4, equal_nan=True))
