"""Extension of a base language model by speech and modality tokens, written as a new checkpoint.

It is done once, before training, because embeddings cannot be resized while ZeRO-3 shards them. New rows are drawn from
a normal distribution with the mean and standard deviation of each column over the old rows, so that a new token starts
as likely as an average old one (Spirit LM: "new embeddings random"). Biases of an output layer that has them (Phi,
GPT-J) are drawn likewise: trained ones lie far below zero, so that a new token with a bias of 0 would be predicted
always.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from spiritlm_pl.lm.base_model import checkpoint_config, load_whole, model_folder
from spiritlm_pl.lm.build import set_rope_theta
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.found import held_in
from spiritlm_pl.runtime.model_description import stored_vocabulary
from spiritlm_pl.streams import differences
from spiritlm_pl.text_tokenizers.check import check_text_tokenizer
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


def extend_embeddings(
    network: PreTrainedModel, vocabulary: Vocabulary, seed: int = 0, earlier: Vocabulary | None = None
) -> None:
    """Resize input and output embeddings in place to the number of rows of the vocabulary.

    Args:
        network: language model of text.
        vocabulary: vocabulary after the extension. Its first `num_text` rows are the model's text tokens, as far as the
            model has them; the other rows are new.
        seed: seed for drawing the new rows.
        earlier: vocabulary of the model where it has speech tokens already; their rows are kept, found by their names.
            None for a model of text alone.
    """
    kept = [] if earlier is None else [_named_rows(values, earlier) for values in _per_token(network)]
    num_old = min(len(cast(Tensor, network.get_input_embeddings().weight)), vocabulary.num_text)
    network.resize_token_embeddings(vocabulary.num_rows, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    for values in {id(values): values for values in _per_token(network)}.values():  # tied matrices are drawn once
        _draw_new_rows(values, num_old, generator)
    names = [vocabulary.name(token) for token in range(vocabulary.num_text, vocabulary.num_tokens)]
    for values, rows in zip(_per_token(network), kept, strict=False):
        for token, name in enumerate(names, start=vocabulary.num_text):
            if name in rows:
                values[token] = rows[name]


def _per_token(network: PreTrainedModel) -> list[Tensor]:
    """Return the matrices (V, D) and biases (V,) that have a row for each token."""
    layers = (network.get_input_embeddings(), network.get_output_embeddings())
    parameters = [layer.weight for layer in layers] + [getattr(layer, "bias", None) for layer in layers]
    return [cast(Tensor, values.data) for values in parameters if values is not None]


def _named_rows(values: Tensor, vocabulary: Vocabulary) -> dict[str | None, Tensor]:
    """Copy the rows of speech and modality tokens, by the names of the tokens."""
    tokens = range(vocabulary.num_text, vocabulary.num_tokens)
    return {vocabulary.name(token): values[token].clone() for token in tokens}


def _draw_new_rows(values: Tensor, num_old: int, generator: torch.Generator) -> None:
    """Draw the rows of new tokens, from `num_old` on, in a matrix (V, D) or in biases (V,)."""
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
        folder: folder to write, which must be empty or absent.
        vocabulary: vocabulary of the new model.
        rope_theta: new base of the rotary positions; None keeps the model's own.
        text_tokenizer: folder or file of the base model's text tokenizer; None if it lies in the model's folder.
        seed: seed for drawing the new rows.

    Raises:
        ValueError: if the base model or tokenizer cannot be read; if the base is not a causal language model of text or
            lacks weights; if the tokenizer does not belong to the model, does not have `num_text` tokens, or would give
            other ids after saving or export; if the base has speech tokens that the new model would lack; or if
            `folder` is not empty.
    """
    source = model_folder(base)
    if held := held_in(folder):
        raise ValueError(f"output must be a new folder, but {folder} holds {', '.join(held[:3])}")
    config = checkpoint_config(str(source))
    earlier = stored_vocabulary(source)
    if earlier is not None:
        vocabulary = _grown(vocabulary, earlier, base)
    tokenizer = check_text_tokenizer(
        text_tokenizer or source, vocabulary, (source / "config.json").read_text(encoding="utf-8")
    )
    if rope_theta is not None:
        set_rope_theta(config, rope_theta)
    network = load_whole(source, config=config, dtype="auto")
    _check_base(network, tokenizer, base)
    if tokenizer.opening and earlier is None:
        raise ValueError(
            f"base must be a text model or a model folder of spiritlm-pl, but {base} has the tokens of the published "
            "release: read it with spiritlm import-release first"
        )
    extend_embeddings(network, vocabulary, seed, earlier)
    return save_lm(folder, network, vocabulary, tokenizer, extra={"base": base, "seed": seed})


def _grown(vocabulary: Vocabulary, earlier: Vocabulary, base: str) -> Vocabulary:
    """Return the new vocabulary with the delimiters of documents that the earlier one has.

    Args:
        vocabulary: vocabulary that is asked for.
        earlier: vocabulary of the base model.
        base: name of the base model, for messages.

    Raises:
        ValueError: if the new vocabulary lacks tokens of the earlier one.
    """
    sizes = [(name, getattr(vocabulary, name), getattr(earlier, name)) for name in ("num_text", "num_tasks")]
    for stream in earlier.streams:
        sizes.append((f"num_{stream.plural}", vocabulary.size(stream.name), stream.size))
        found = next((new for new in vocabulary.streams if new.name == stream.name), stream)
        if replace(found, size=stream.size, clock=stream.clock) != stream:
            kept, other = differences(asdict(stream), asdict(replace(found, size=stream.size, clock=stream.clock)))
            raise ValueError(
                f"stream {stream.name} must be as that of {base}, whose trained tokens are kept, with {kept}, "
                f"but is with {other} instead"
            )
    for name, wanted, fewest in sizes:
        if wanted < fewest or (name == "num_text" and wanted != fewest):
            raise ValueError(
                f"{name} must be at least the {fewest} of {base}, whose trained tokens are kept, "
                f"but is {wanted} instead"
            )
    added = vocabulary.num_tokens - earlier.num_tokens
    print(f"{base} has speech tokens already: their rows are kept, and those of {added} tokens drawn", file=sys.stderr)
    return replace(vocabulary, begin_of_document=earlier.begin_of_document, end_of_document=earlier.end_of_document)


def _check_base(network: PreTrainedModel, tokenizer: TextTokenizer, base: str) -> None:
    """Refuse a tokenizer that cannot belong to the model, and tell of tokens for which the model has no rows.

    Raises:
        ValueError: if a token of the text tokenizer has no row, or the tokenizer lacks a special id of the model.
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
