"""Floating-point operations of training a token, and what devices can do: for the model FLOPs utilisation (MFU).

Counted as in PaLM (arXiv 2204.02311, appendix B): 6 per weight of a matrix product, and the attention over the
context, causal half only; what is recomputed for gradient checkpointing does not count.
"""

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

# Dense bf16 tensor-core peaks from the vendors' data sheets; the first of which a device's name has all words counts.
PEAK_FLOPS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "V100": 125e12,
}


def matrix_weights(network: PreTrainedModel) -> int:
    """Number of weights in matrix products: all matrices but an input embedding that is not the output layer."""
    embedding = cast(nn.Parameter, network.get_input_embeddings().weight)
    head = network.get_output_embeddings().weight
    total = sum(_size(p) for p in network.parameters() if _is_matrix(p))
    return total if embedding is head else total - _size(embedding)


def _size(parameter: nn.Parameter) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))  # the whole one under ZeRO-3


def _is_matrix(parameter: nn.Parameter) -> bool:
    return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2


def attention_width(config: PreTrainedConfig) -> int:
    """Heads x head dimension, summed over layers; 0 for a family without attention (Mamba, RWKV)."""
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        return 0
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(config.num_hidden_layers * heads * head_dim)


def training_flops(weights: int, width: int, context: float) -> float:
    """Operations of forward and backward for one token.

    Args:
        weights: from `matrix_weights`.
        width: from `attention_width`.
        context: tokens that a token sees on average (half a document's length).
    """
    return 6.0 * weights + 12.0 * width * context


def peak_flops(device: torch.device) -> float | None:
    """Look up the peak operations a second of a CUDA device in bf16; None for one that is not listed, and for CPUs.

    A slice of a device (MIG) and a laptop's device of the same name have another peak, and None.
    """
    if device.type != "cuda":
        return None
    words = set(torch.cuda.get_device_name(device).replace("-", " ").split())
    if words & {"MIG", "Laptop"}:
        return None
    return next((peak for name, peak in PEAK_FLOPS.items() if words >= set(name.split())), None)
