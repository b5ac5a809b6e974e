"""A base language model whose vocabulary gets speech and modality tokens, as a new checkpoint.

Done once, before training: embeddings cannot be resized while ZeRO-3 shards them. New rows are drawn from a
normal distribution with each column's mean and standard deviation over the old rows, so that a new token starts
as likely as an average old one (Spirit LM: "new embeddings random"). The same goes for the biases of an output layer
that has them (Phi, GPT-J): trained ones are far below zero, beside which a new token with none would be certain.
"""

import sys
from pathlib import Path
from typing import cast

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import PreTrainedModel

from spiritlm_pl.lm.base_model import checkpoint_config, load_whole
from spiritlm_pl.lm.build import set_rope_theta
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.lm.tokenizer_check import check_text_tokenizer
from spiritlm_pl.text import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

DESCRIPTIONS = ("*.json", "*.model", "*.txt")  # configuration, weights' index and text tokenizer


def model_folder(base: str) -> Path:
    """The folder of a model, downloaded into the hub's cache where `base` is no folder.

    Args:
        base: folder or hub name.

    Raises:
        ValueError: if it is neither, or cannot be downloaded.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        folder = Path(snapshot_download(base, allow_patterns=[*DESCRIPTIONS, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(base, allow_patterns=[*DESCRIPTIONS, "*.bin"]))
    except (OSError, ValueError) as error:  # no network, no such model, no access, no name
        raise ValueError(f"base must be a folder or a hub model within reach, but is {base!r}: {error}") from error
    return folder


def extend_embeddings(network: PreTrainedModel, vocabulary: Vocabulary, seed: int = 0) -> None:
    """Resize input and output embeddings in place to the vocabulary's rows.

    Args:
        network: a text model.
        vocabulary: whose first `num_text` rows are the model's text tokens, as far as it has them; the rest is new.
        seed: of the new rows.

    """
    num_old = min(len(cast(Tensor, network.get_input_embeddings().weight)), vocabulary.num_text)
    network.resize_token_embeddings(vocabulary.num_rows, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    layers = (network.get_input_embeddings(), network.get_output_embeddings())
    parameters = [layer.weight for layer in layers] + [getattr(layer, "bias", None) for layer in layers]
    per_token = {id(values): cast(Tensor, values) for values in parameters if values is not None}  # tied ones once
    for values in per_token.values():
        _draw_new_rows(values.data, num_old, generator)


def _draw_new_rows(values: Tensor, num_old: int, generator: torch.Generator) -> None:
    """Draw what stands for new tokens in a matrix (V, D) or in biases (V,)."""
    old = values[:num_old].float()
    noise = torch.randn((len(values) - num_old, *values.shape[1:]), generator=generator)
    values[num_old:] = (old.mean(0) + old.std(0) * noise).to(values.dtype)


def extend_checkpoint(
    base: str,
    folder: str | Path,
    vocabulary: Vocabulary,
    rope_theta: float | None = None,
    text_tokenizer: str | None = None,
    seed: int = 0,
) -> Path:
    """Read a base model, extend it, and write it with its text tokenizer and `spiritlm.json`.

    Args:
        base: folder or hub name of a causal language model.
        folder: where to.
        vocabulary: of the new model.
        rope_theta: new base of the rotary positions; None keeps it.
        text_tokenizer: of the base model, where it is not in its folder.
        seed: of the new rows.

    Raises:
        ValueError: if base or tokenizer cannot be read, the base is no causal language model of text or lacks weights,
            the tokenizer is not the model's or does not have `num_text` tokens, or it would give other ids once it is
            saved or exported.
    """
    source = model_folder(base)
    config = checkpoint_config(str(source))
    tokenizer = check_text_tokenizer(
        text_tokenizer or source, vocabulary, (source / "config.json").read_text(encoding="utf-8")
    )
    if rope_theta is not None:
        set_rope_theta(config, rope_theta)
    network = load_whole(source, config=config, dtype="auto")
    _check_base(network, tokenizer, base)
    extend_embeddings(network, vocabulary, seed)
    return save_lm(folder, network, vocabulary, tokenizer, extra={"base": base, "seed": seed})


def _check_base(network: PreTrainedModel, tokenizer: TextTokenizer, base: str) -> None:
    """Refuse a tokenizer that cannot be the model's; tell of tokens that the model has no rows for.

    Raises:
        ValueError: if a piece of text has no row, or the model's special ids are no text.
    """
    rows = len(cast(Tensor, network.get_input_embeddings().weight))
    if rows < tokenizer.own_size:
        raise ValueError(
            f"text_tokenizer must have at most the {rows} pieces that {base} has rows for, but has "
            f"{tokenizer.own_size}: give the text_tokenizer that the model was trained with"
        )
    if rows < tokenizer.vocab_size:
        print(
            f"{base} has {rows} rows for the {tokenizer.vocab_size} tokens of its text tokenizer: the rows of the "
            "added tokens above are drawn, like those of speech",
            file=sys.stderr,
        )
    for settings in (network.config, network.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            ids = getattr(settings, name, None)
            highest = max(ids if isinstance(ids, list) else [-1 if ids is None else ids], default=-1)
            if highest >= tokenizer.vocab_size:
                raise ValueError(
                    f"text_tokenizer must have the {name} {highest} of {base}, but has {tokenizer.vocab_size} tokens: "
                    "give the folder of the model's tokenizer, with its added tokens"
                )
