"""Estimates of the memory and time of a training run, from the configuration of a model.

Bytes per parameter in bf16 mixed training with AdamW (ZeRO, arXiv 1910.02054, section 3): 2 for weights, 2 for
gradients, and 12 for the optimizer (fp32 master weights and two moments). They are divided over the GPUs from stage 3,
2 and 1 on. The bytes that the backward pass needs per token and layer were measured on `transformers`' Llama in bf16
with flash attention (saved tensors): 20 per hidden unit, 4 per key-value unit, 8 per unit of the feed-forward. Under
gradient checkpointing they are 2 per hidden unit, and one layer's in full.

With low-rank adapters, gradients and optimizer are those of the adapters alone, and frozen matrices may have 4 or 8
bits. Updates of all linear layers by `peft`, in float32 under autocast, add 4 bytes per hidden unit and 14 per rank.
"""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from spiritlm_pl.lm.flops import attention_width, matrix_weights, training_flops

GIB = 2**30
LOSS_BYTES = 10  # bytes per logit of a chunk: bf16, fp32, and scratch for its gradient in bf16 and fp32
CUDA_CONTEXT = 1.0 * GIB  # context, communication buffers, and scratch memory of the kernels
QUANTIZED = {4: 0.5 + 4 / 64, 8: 1.0}  # bytes per weight of bitsandbytes: with a float32 scale per 64 of 4 bits
NEW_ROWS = 512  # of an embedding, about the speech and modality tokens of Spirit LM Base
BUCKETS = 3 * 2 * 200_000_000  # bytes of ZeRO's reduce, gather and prefetch buffers


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Sizes of a model that determine its memory and time.

    Attributes:
        parameters: number of all parameters.
        matrix_weights: number of weights in matrix products, see `flops.matrix_weights`.
        attention_width: heads times head dimension, summed over layers.
        layers: number of transformer layers.
        hidden: width of the hidden states.
        key_value: key-value heads times head dimension.
        feed_forward: width of the feed-forward network.
        vocabulary: rows of the embedding.
        largest_layer: parameters of a layer or of the output layer, whichever has more.
        layer_parameters: parameters of all layers together.
        input_layer: parameters of the embedding.
        output_layer: parameters of the output layer.
        tied: whether embedding and output layer are the same parameters, which count once in `parameters`.
    """

    parameters: int
    matrix_weights: int
    attention_width: int
    layers: int
    hidden: int
    key_value: int
    feed_forward: int
    vocabulary: int
    largest_layer: int
    layer_parameters: int
    input_layer: int
    output_layer: int
    tied: bool


def model_size(config: PreTrainedConfig) -> ModelSize:
    """Measure a model without allocating its weights.

    Args:
        config: configuration of a family that is built like Llama.

    Raises:
        ValueError: if the family is not built like Llama, for which alone the memory was measured.
    """
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    missing = [name for name in sizes if not isinstance(getattr(config, name, None), int)]
    if missing:
        raise ValueError(
            f"model must be of a family whose layers are attention and a feed-forward network, as memory was measured "
            f"on those, but {config.model_type} has no {' and no '.join(missing)}"
        )
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    layers = next(module for module in network.modules() if isinstance(module, torch.nn.ModuleList))
    inputs, head = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        matrix_weights=matrix_weights(network),
        attention_width=attention_width(config),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        key_value=key_value_heads * head_dim,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        largest_layer=max(head.numel(), sum(parameter.numel() for parameter in layers[0].parameters())),
        layer_parameters=sum(parameter.numel() for parameter in layers.parameters()),
        input_layer=inputs.numel(),
        output_layer=head.numel(),
        tied=inputs is head,
    )


@dataclass(frozen=True, kw_only=True)
class AdapterSize:
    """Sizes of low-rank adapters of all linear layers, with the new rows of the embeddings.

    Attributes:
        rank: rank of the updates.
        trained: number of parameters that are trained.
        frozen_bytes: bytes of the model's own parameters.
    """

    rank: int
    trained: int
    frozen_bytes: float


def adapter_size(config: PreTrainedConfig, rank: int, bits: int | None = None) -> AdapterSize:
    """Measure adapters of a model without allocating weights.

    Args:
        config: configuration of the model.
        rank: rank of the updates.
        bits: 4 or 8 for quantized matrices of the layers; None for bf16.

    Raises:
        ValueError: if a value is out of range.
    """
    if rank < 1:
        raise ValueError(f"adapter_rank must be at least 1, but is {rank} instead")
    if bits not in (None, *QUANTIZED):
        raise ValueError(f"bits must be 4 or 8, but is {bits} instead")
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    head = network.get_output_embeddings()
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear | Conv1D) and m is not head]
    matrices = sum(layer.weight.numel() for layer in linear)
    others = sum(parameter.numel() for parameter in network.parameters()) - matrices
    tied = head.weight is network.get_input_embeddings().weight
    return AdapterSize(
        rank=rank,
        trained=rank * sum(sum(layer.weight.shape) for layer in linear)
        + (1 if tied else 2) * NEW_ROWS * config.hidden_size,
        frozen_bytes=2 * others + (2 if bits is None else QUANTIZED[bits]) * matrices,
    )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of one GPU in bytes, and of the host per GPU.

    Attributes:
        weights: bytes of the parameters, in bf16; frozen ones may be quantized.
        gradients: bytes of the gradients, in bf16.
        optimizer: bytes of fp32 master weights and two moments.
        activations: bytes of the tensors that the backward pass needs.
        working: bytes of buffers, scratch memory, and the logits of a chunk.
        host: bytes of state that is offloaded to the host, per GPU.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    working: float
    host: float

    @property
    def gpu(self) -> float:
        """Sum of all bytes on the GPU."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.working


def memory(
    size: ModelSize,
    gpus: int,
    stage: int,
    rows: int,
    row_length: int,
    checkpointing: bool,
    offload_optimizer: bool = False,
    loss_chunk: int = 1024,
    adapter: AdapterSize | None = None,
) -> Memory:
    """Estimate the peak memory of one GPU.

    Args:
        size: sizes of the model.
        gpus: number of GPUs over which the state is divided.
        stage: stage of ZeRO, 0 (nothing divided) to 3.
        rows: number of rows in one GPU's batch.
        row_length: number of tokens in a row.
        checkpointing: whether layers are recomputed in the backward pass.
        offload_optimizer: whether a GPU's share of gradients and optimizer state lives on the host.
        loss_chunk: number of tokens whose logits exist at one time.
        adapter: adapters that are trained in place of the model; None if the model is.

    Raises:
        ValueError: if gpus, rows, row_length or stage are out of range.
    """
    for name, value in (("gpus", gpus), ("rows", rows), ("row_length", row_length)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value} instead")
    if stage not in (0, 1, 2, 3):
        raise ValueError(f"stage must be 0, 1, 2 or 3, but is {stage} instead")
    trained = size.parameters if adapter is None else adapter.trained
    part = trained / gpus
    frozen = 0.0 if adapter is None else adapter.frozen_bytes
    weights = 2 * (part if stage >= 3 else trained) + (frozen / gpus if stage >= 3 else frozen)
    gradients = 2 * (part if stage >= 2 else trained)
    optimizer = 12 * (part if stage >= 1 else trained)
    host = 0.0
    if offload_optimizer:
        host, gradients, optimizer = gradients + optimizer + 2 * part, 0.0, 0.0
    tokens = rows * row_length
    layer: float = 20 * size.hidden + 4 * size.key_value + 8 * size.feed_forward
    if adapter is not None:
        layer += 4 * size.hidden + 14 * adapter.rank
    a_token = 2 * size.hidden * size.layers + layer if checkpointing else layer * size.layers
    working = CUDA_CONTEXT + LOSS_BYTES * loss_chunk * size.vocabulary
    if adapter is None:
        working += 4 * size.hidden * size.vocabulary  # the gradient of the output layer, in fp32
    else:
        working += 2 * size.hidden * size.vocabulary  # a copy of the output layer with its trained rows
        working += 2 * size.hidden * size.feed_forward  # a quantized matrix, whole while it is used
    if stage >= 1 and gpus > 1 or offload_optimizer:
        working += BUCKETS
    if stage >= 3 and gpus > 1:
        working += 2 * 2 * size.largest_layer  # weights of this layer, and of the next one, which is fetched ahead
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=a_token * tokens,
        working=working,
        host=host,
    )


def tokens_per_second(
    size: ModelSize, row_length: int, peak: float, mfu: float, recompute: bool, adapter: AdapterSize | None = None
) -> float:
    """Estimate the tokens per second of one GPU.

    Args:
        size: sizes of the model.
        row_length: number of tokens in a row; a token sees half of them on average.
        peak: peak floating-point operations per second of the GPU.
        mfu: share of the peak that the model's operations reach, in [0, 1], recomputed ones not counted.
        recompute: whether the forward pass is computed twice, which lowers that share by a quarter; by a third with
            adapters, as frozen weights have no gradient.
        adapter: adapters that are trained in place of the model; None if the model is.
    """
    weights = size.matrix_weights if adapter is None else size.matrix_weights * 2 / 3 + adapter.trained
    operations = training_flops(weights, size.attention_width, row_length / 2)
    share = 1.0 if not recompute else 0.75 if adapter is None else 2 / 3
    return peak * mfu * share / operations
