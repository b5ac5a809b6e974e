"""Norms and gated feed-forward layers that keep less for the backward pass, in place of those of `transformers`.

The norm of Llama and its relatives (RMSNorm, arXiv 1910.07467) is written there as a chain of six operations, whose
intermediate results all stay until the backward pass, and under autocast each linear layer after it makes and keeps a
half-precision copy of its output of its own. Here the input and one number a token are kept, the result has the type in
which the next layers compute, and the backward pass has its formula. The gated layer (SwiGLU, arXiv 2002.05202)
computes the activation again instead of keeping it.

Shapes: N tokens, D features.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3RMSNorm


class _RMSNorm(torch.autograd.Function):
    """Norm of (..., D) over the last axis, in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = hidden.float()
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(wide.shape[-1])
        scale = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(hidden, weight, scale)
        normed = (wide * scale).to(hidden.dtype)
        return (normed.mul_(weight) if normed.dtype == weight.dtype else normed * weight).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, scale = ctx.saved_tensors
        size = hidden.shape[-1]
        normed = (hidden.float() * scale).view(-1, size)
        grad, wide_weight = grads[0].reshape(-1, size).float(), weight.float()
        product = grad * normed
        weight_grad = product.sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, weight_grad, None, None
        along = torch.mv(product, wide_weight)[:, None]  # part of the gradient that only changes the length
        slope = (grad * wide_weight).addcmul_(normed, along, value=-1 / size).mul_(scale.view(-1, 1))
        return slope.view(hidden.shape).to(hidden.dtype), weight_grad, None, None


class _Gated(torch.autograd.Function):
    """SiLU of one input times the other."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grads[0] * up, gate), F.silu(gate).mul_(grads[0])


class LeanRMSNorm(nn.Module):
    """RMSNorm with the parameters of that of `transformers`."""

    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden: Tensor) -> Tensor:
        """Norm (..., D); under autocast, the result has its type."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        dtype = dtype or torch.promote_types(hidden.dtype, self.weight.dtype)
        return cast(Tensor, _RMSNorm.apply(hidden, self.weight, self.variance_epsilon, dtype))


class LeanMLP(nn.Module):
    """Gated feed-forward layer with the parts of that of `transformers`."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        gated: Tensor = self.down_proj(_Gated.apply(self.gate_proj(hidden), self.up_proj(hidden)))
        return gated


NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)
FEED_FORWARDS = (LlamaMLP, MistralMLP, Qwen2MLP, Qwen3MLP)


def use_lean_layers(network: PreTrainedModel) -> None:
    """Let a network compute its norms and gated layers in this file's way; parameters keep their names and values."""
    for module in network.modules():
        if type(module) in NORMS:
            module.__class__ = LeanRMSNorm
        elif type(module) in FEED_FORWARDS and isinstance(module.act_fn, (nn.SiLU, SiLUActivation)):
            module.__class__ = LeanMLP
