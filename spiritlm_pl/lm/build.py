"""Construction of any causal language model of `transformers`, from a configuration or from a checkpoint folder."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm import attention, probe
from spiritlm_pl.lm.base_model import checkpoint_config, config_of, load_whole, model_folder
from spiritlm_pl.lm.folder import quantization
from spiritlm_pl.lm.forwards import as_forward, weights_are_left_out
from spiritlm_pl.lm.layers import use_lean_layers
from spiritlm_pl.lm.logits import decoder, own_logits
from spiritlm_pl.lm.loss import LossHead, LossSettings
from spiritlm_pl.lm.shrink import with_attention
from spiritlm_pl.runtime.limits import check_layers
from spiritlm_pl.runtime.model_description import stored_vocabulary
from spiritlm_pl.streams import differences
from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Choice of a language model, and how it is run.

    Args:
        checkpoint: folder or hub name of a model whose vocabulary has been extended already; None builds a model from
            scratch.
        config: values of the `transformers` configuration. From scratch they include `model_type`; with a checkpoint
            they replace values of its configuration.
        rope_theta: base of the rotary positions; None keeps the model's own (Spirit LM raises it from 1e4 to 1e5).
        gradient_checkpointing: whether to recompute every layer in the backward pass, which saves memory and costs
            time.
        cross_documents: whether attention sees the whole row instead of its own document only.
        packing: "packed" attends to all documents of a row in one pass, each to itself. "documents" takes the rows
            apart and runs the documents side by side, padded to the longest, which is slower but right for all model
            families.
        dtype: type of the parameters: "float32" for mixed precision, "bfloat16" for true bf16 or DeepSpeed.
        loss: settings of the loss, see `LossSettings`.
    """

    checkpoint: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    rope_theta: float | None = None
    gradient_checkpointing: bool = False
    cross_documents: bool = False
    packing: Literal["packed", "documents"] = "packed"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        """Check that there is a model to build, and that the names in `config` can be attributes of a configuration."""
        for name in self.config:
            if not name.isidentifier():
                raise ValueError(
                    f"names in config must be those of the transformers configuration, but one is {name!r}"
                )
        if self.checkpoint is None and "model_type" not in self.config:
            raise ValueError(
                f"config must name a model_type (such as llama) without a checkpoint, but is {self.config}"
            )


def network_config(settings: LanguageModelConfig, vocabulary: Vocabulary) -> PreTrainedConfig:
    """Build the `transformers` configuration, with its vocabulary size checked or set.

    Args:
        settings: choice of the model.
        vocabulary: layout of the token ids.

    Raises:
        ValueError: if the checkpoint's embedding does not have as many rows as the vocabulary, its tokens have other
            meanings, or the folder holds no model.
    """
    folder: Path | None = None
    if settings.checkpoint is None:
        values = dict(settings.config)
        named = values.setdefault("vocab_size", vocabulary.num_rows)
        config = config_of({"bos_token_id": None, "eos_token_id": None, **values}, "network.config")
    else:
        folder = model_folder(settings.checkpoint, "checkpoint")
        config = checkpoint_config(str(folder))
        check_layers(settings.config, "network.config")
        for name, value in settings.config.items():
            setattr(config, name, value)
        named = config.vocab_size
    if named != vocabulary.num_rows:
        raise ValueError(
            f"vocabulary must have as many rows as the model's embedding, {named}, but has "
            f"{vocabulary.num_rows} instead; `spiritlm extend-vocab` adds speech tokens to a text model"
        )
    theirs = None if folder is None else stored_vocabulary(folder)
    if theirs is not None and not theirs.grows_into(vocabulary):
        kept, found = differences(theirs.to_dict(), vocabulary.to_dict())
        raise ValueError(
            f"vocabulary must be that of {settings.checkpoint}, with {kept}, but is with {found} instead; "
            "`spiritlm build-blocks` takes it over where its text_tokenizer is that folder"
        )
    if settings.rope_theta is not None:
        set_rope_theta(config, settings.rope_theta)
    config.use_cache = True  # an exported model generates with a cache; training turns it off in its calls
    return config


def set_rope_theta(config: PreTrainedConfig, theta: float) -> None:
    """Set the base of the rotary positions in place.

    Args:
        config: configuration that is changed.
        theta: new base, above 0.

    Raises:
        ValueError: if the model has no rotary positions, or theta is not positive.
    """
    if theta <= 0:
        raise ValueError(f"rope_theta must be positive, but is {theta} instead")
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, dict) or "rope_theta" not in parameters:
        raise ValueError(f"rope_theta must be unset, as {config.model_type} has no rotary positions, but is {theta}")
    config.rope_parameters = {**parameters, "rope_theta": float(theta)}


def check_losses(config: PreTrainedConfig, settings: LanguageModelConfig) -> None:
    """Check on a small copy of the model that packed rows give the losses of its own `forward`; once per process.

    Every rank checks by itself; the copy is whole even where a context would shard it.

    Args:
        config: configuration of the model.
        settings: how the model will be run.

    Raises:
        ValueError: if the losses differ.
    """
    way = f"{settings.packing}{', across documents' if settings.cross_documents else ''}"
    found = probe.outcome(config, way, partial(_loss_difference, settings=settings))
    if found.right:
        return
    if settings.packing == "packed":
        raise ValueError(
            f"packing must be documents with {config.model_type}, as packed its {found.told}, but is packed instead"
        )
    if found.tried:  # already one document a row, as a forward is meant to be called: there is no other way to run it
        raise ValueError(f"base model must be of another family than {config.model_type}, as its {found.told}")
    print(
        f"losses of {config.model_type} are not checked against its own forward, as its {found.told}", file=sys.stderr
    )


def _loss_difference(plain: PreTrainedModel, settings: LanguageModelConfig) -> float:
    """Return the largest difference between the losses of packed rows and those of the plain `forward` per document."""
    batch = probe.random_rows()
    documents = batch.tokens.flatten().split(attention.packing(batch, settings.cross_documents).lengths)
    expected = [F.cross_entropy(probe.plain_logits(plain, d)[:-1], d[1:], reduction="none") for d in documents]
    network = with_attention(plain, attention.NAME) if settings.packing == "packed" else plain
    _let_head_compute_loss(network, LossSettings())
    _, losses, _ = token_losses(network, batch, settings.cross_documents)
    return float((losses - torch.cat(expected)).abs().max())


def build_network(settings: LanguageModelConfig, vocabulary: Vocabulary, bits: int | None = None) -> PreTrainedModel:
    """Build the model for packed rows; under a sharding context, its parameters are sharded as they are made.

    Within `weights_left_out`, parameters and buffers have no content.

    Args:
        settings: choice of the model, and how it is run.
        vocabulary: layout of the token ids.
        bits: 8 or 4 to quantize the matrices of a checkpoint with bitsandbytes, which cannot be trained then; None to
            leave them whole.

    Raises:
        ValueError: if the configuration does not fit the vocabulary, or the model does not reproduce the losses of its
            own `forward` (see `check_losses`).
    """
    config = network_config(settings, vocabulary)
    check_losses(config, settings)
    dtype = getattr(torch, settings.dtype)
    implementation = attention.NAME if settings.packing == "packed" else None
    if settings.checkpoint is None or weights_are_left_out():
        with torch.device("meta") if weights_are_left_out() else nullcontext():
            network = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=implementation)
    else:
        folder = model_folder(settings.checkpoint, "checkpoint")
        options = {} if bits is None else {"quantization_config": quantization(bits)}
        network = load_whole(folder, config=config, dtype=dtype, attn_implementation=implementation, **options)
    _let_head_compute_loss(network, settings.loss)
    use_lean_layers(network, settings.gradient_checkpointing)
    if settings.gradient_checkpointing:
        # versions of transformers 5 have one or the other name for it
        enable = getattr(network, "activation_checkpointing_enable", network.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    return network.train()  # models are loaded in evaluation mode, without dropout and without recomputing layers


def _let_head_compute_loss(network: PreTrainedModel, settings: LossSettings) -> None:
    """Replace the output layer by one that computes the loss."""
    head = network.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        family = network.config.model_type
        raise ValueError(f"model must have a linear output layer, but {family} has {head} instead")
    network.set_output_embeddings(LossHead(head, settings, own_logits(network)))


def token_losses(
    network: PreTrainedModel,
    batch: TokenBatch,
    cross_documents: bool = False,
    weigh: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the next-token loss over packed rows.

    Args:
        network: model that was built by `build_network`.
        batch: packed rows. A token is predicted from the one before it in the same row where its `loss_mask` is True.
        cross_documents: whether attention sees the whole row instead of its own document only.
        weigh: function of the target tokens (M,) that gives the factors (M,) of their losses in the sum; None for 1.

    Returns:
        The sum of the losses (a scalar to differentiate), the loss of each predicted token in nats (M,), detached, and
        the ids of these tokens (M,).
    """
    return as_forward(network, partial(_token_losses, network, batch, cross_documents, weigh))


def _token_losses(
    network: PreTrainedModel, batch: TokenBatch, cross_documents: bool, weigh: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, predicted = _predicting(network, batch, cross_documents)
    targets = batch.tokens[:, 1:].flatten()[predicted]
    weights = None if weigh is None else weigh(targets)
    total, losses = network.get_output_embeddings()(hidden, targets, weights)
    return total, losses, targets


def document_loss(
    network: PreTrainedModel,
    batch: TokenBatch,
    of_documents: Callable[[Tensor, Tensor], Tensor],
    cross_documents: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute a loss that is a function of the log-likelihoods of whole documents, in one pass over packed rows.

    Args:
        network: model that was built by `build_network`.
        batch: packed rows. A token is predicted from the one before it in the same row where its `loss_mask` is True.
        of_documents: function from the log-likelihood of the predicted tokens of each segment of `batch.cu_seqlens`
            (N,) in nats, and their number (N,), to a scalar. Padding is a segment, too, with 0 and 0.
        cross_documents: whether attention sees the whole row instead of its own document only.

    Returns:
        The scalar to differentiate, the loss of each predicted token in nats (M,), detached, and their ids (M,).
    """
    return as_forward(network, partial(_document_loss, network, batch, of_documents, cross_documents))


def _document_loss(
    network: PreTrainedModel, batch: TokenBatch, of_documents: Callable[[Tensor, Tensor], Tensor], cross_documents: bool
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, predicted = _predicting(network, batch, cross_documents)
    targets = batch.tokens[:, 1:].flatten()[predicted]
    length = batch.tokens.shape[1]
    places = predicted + predicted // (length - 1) + 1  # of the targets in (B * T,)
    document = torch.bucketize(places, batch.cu_seqlens[1:].to(places.dtype), right=True)
    counts = torch.bincount(document, minlength=len(batch.cu_seqlens) - 1)
    parts = counts.tolist()

    def derive(losses: Tensor) -> Tensor:  # sums one by one, since those of `index_add` have a random order on GPUs
        sums = torch.stack([part.sum() for part in losses.split(parts)])
        return of_documents(-sums, counts)

    loss, losses = network.get_output_embeddings()(hidden, targets, derive=derive)
    return loss, losses, targets


def _predicting(network: PreTrainedModel, batch: TokenBatch, cross_documents: bool) -> tuple[Tensor, Tensor]:
    """Compute the hidden states (M, D) that predict a token, and their places (M,) in the flattened (B, T - 1)."""
    bounds = attention.packing(batch, cross_documents)
    packed = network.config._attn_implementation == attention.NAME
    hidden = (_hidden_of_rows if packed else _hidden_of_documents)(network, batch, bounds, cross_documents)
    wanted = batch.loss_mask[:, 1:]
    if not cross_documents:  # the first token of a document cannot be predicted from another document
        wanted = wanted & (batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1])
    predicted = wanted.flatten().nonzero().squeeze(1)
    return hidden[:, :-1].flatten(0, 1)[predicted], predicted


def _hidden_of_rows(network: PreTrainedModel, batch: TokenBatch, bounds: attention.Packing, across: bool) -> Tensor:
    """Compute hidden states (B, T, D) of all documents of a row at once."""
    positions = batch.position_ids
    if across:
        positions = torch.arange(positions.shape[1], device=positions.device).expand_as(positions)
    hidden: Tensor = decoder(network)(
        input_ids=batch.tokens,
        position_ids=positions,
        use_cache=False,
        attention_mask=attention.pass_through_mask(batch),
        bounds=bounds,
    ).last_hidden_state
    return hidden


def _hidden_of_documents(
    network: PreTrainedModel, batch: TokenBatch, bounds: attention.Packing, across: bool
) -> Tensor:
    """Compute hidden states (B, T, D) with each document in a row of its own, in one call of the model on every rank.

    Padding after a document is whatever follows it in the batch; causal attention keeps the document from seeing it.
    """
    tokens = batch.tokens.flatten()
    places = torch.arange(bounds.longest, device=tokens.device)
    within = bounds.cu_seqlens[:-1, None] + places  # (N, L)
    rows = tokens[within.clamp(max=len(tokens) - 1)]
    hidden = decoder(network)(input_ids=rows, use_cache=False).last_hidden_state  # (N, L, D)
    own = places < bounds.cu_seqlens.diff()[:, None]
    return hidden[own].view(*batch.tokens.shape, -1)
