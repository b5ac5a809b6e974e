"""Floating-point operations of training, and peaks of devices: for the model FLOPs utilisation (MFU).

Operations are counted as in PaLM (arXiv 2204.02311, appendix B): 6 per token and weight of a matrix product, and those
of attention over the context, causal half only. Operations that gradient checkpointing repeats do not count.
"""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

# Dense bf16 tensor-core peaks from the vendors' data sheets. The first entry counts whose words all occur in the
# device's name.
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
    """Count the weights in matrix products: all matrices except an input embedding that is not the output layer too."""
    embedding = cast(nn.Parameter, network.get_input_embeddings().weight)
    head = network.get_output_embeddings().weight
    total = sum(weight_size(p) for p in network.parameters() if _is_matrix(p))
    return total if embedding is head else total - weight_size(embedding)


def costly_weights(network: PreTrainedModel) -> float:
    """Count the weights in matrix products, those that are not trained as two thirds, since they need no gradient."""
    inner = network.get_input_embeddings()
    looked_up = {id(value) for value in inner.parameters()} - {
        id(value) for value in network.get_output_embeddings().parameters()
    }
    head: Any = network.get_output_embeddings()
    replaced = getattr(head, "rows", None)  # trained rows, which stand for as many frozen ones
    found = [p for p in network.parameters() if _is_matrix(p) and id(p) not in looked_up]
    spared = 0.0 if replaced is None else weight_size(replaced) * 2 / 3
    return sum(weight_size(p) * (1.0 if p.requires_grad else 2 / 3) for p in found) - spared


def weight_size(parameter: nn.Parameter) -> int:
    """Return the number of weights of a parameter, also of one that is sharded by ZeRO-3 or quantized."""
    quantized = getattr(getattr(parameter, "quant_state", None), "shape", None)
    if quantized is not None:  # bitsandbytes packs two weights in a byte
        return int(quantized.numel())
    return int(getattr(parameter, "ds_numel", parameter.numel()))  # the size before ZeRO-3 sharded it


def _is_matrix(parameter: nn.Parameter) -> bool:
    return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2


def attention_width(config: PreTrainedConfig) -> int:
    """Return heads times head dimension, summed over layers; 0 for a family without attention (Mamba, RWKV)."""
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        return 0
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(config.num_hidden_layers * heads * head_dim)


def training_flops(weights: float, width: int, context: float) -> float:
    """Return the floating-point operations of the forward and backward pass for one token.

    Args:
        weights: number of weights in matrix products, from `matrix_weights`, or `costly_weights` where some are frozen.
        width: width of attention, from `attention_width`.
        context: number of tokens that a token sees on average, half the length of a document.
    """
    return 6.0 * weights + 12.0 * width * context


def peak_flops(device: torch.device) -> float | None:
    """Look up the peak bf16 operations per second of a CUDA device; None for an unlisted one and for CPUs.

    A slice of a device (MIG) and a laptop's device of the same name have other peaks, and give None as well.
    """
    if device.type != "cuda":
        return None
    words = set(torch.cuda.get_device_name(device).replace("-", " ").split())
    if words & {"MIG", "Laptop"}:
        return None
    return next((peak for name, peak in PEAK_FLOPS.items() if words >= set(name.split())), None)
