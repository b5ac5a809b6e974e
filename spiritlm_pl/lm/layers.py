"""Norms, gated layers and attention that keep and copy less than those of `transformers`, in their place.

The norm of Llama and its relatives (RMSNorm, arXiv 1910.07467) is written there as a chain of six operations, whose
intermediate results all stay until the backward pass, and under autocast each linear layer after it makes and keeps a
half-precision copy of its output of its own. Here the input and one number a token are kept, the result has the type in
which the next layers compute, and the backward pass has its formula. The gated layer (SwiGLU, arXiv 2002.05202)
computes the activation again instead of keeping it. Attention rotates queries and keys and attends in one operation,
where `spiritlm_pl.lm.grouped_attention` serves.

Shapes: B rows, T tokens of a row, D features.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralAttention, MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP, Qwen3RMSNorm

from spiritlm_pl.lm import attention
from spiritlm_pl.lm.grouped_attention import grouped_attention


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


class LeanAttention(nn.Module):
    """Attention with the parts of that of `transformers`; packed rows in bfloat16 on a CPU take `grouped_attention`.

    Everything else goes the way of the class that it is mixed into.
    """

    q_proj: nn.Module
    k_proj: nn.Module
    v_proj: nn.Module
    o_proj: nn.Module
    config: PreTrainedConfig
    head_dim: int
    scaling: float
    attention_dropout: float

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        bounds: attention.Packing | None = None,
        **kwargs: Any,
    ) -> Any:
        """Attend from and to (B, T, D); see `spiritlm_pl.lm.attention.packed_attention` for the arguments."""
        if bounds is None or not self._grouped(hidden_states, position_embeddings[0], bounds):
            given = kwargs if bounds is None else {**kwargs, "bounds": bounds}
            return super().forward(hidden_states, position_embeddings, attention_mask, **given)
        tokens = hidden_states.shape[:-1].numel()
        query, key, value = (
            layer(hidden_states).view(tokens, -1, self.head_dim) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        if hasattr(self, "q_norm"):  # Qwen 3
            query, key = self.q_norm(query), self.k_norm(key)
        parts = (part.to(torch.bfloat16) for part in (query, key, value))
        attended = grouped_attention(*parts, bounds.groups, self.scaling, bounds.rotations(*position_embeddings))
        return self.o_proj(attended.view(*hidden_states.shape[:-1], -1)), None

    def _grouped(self, hidden: Tensor, cos: Tensor, bounds: attention.Packing) -> bool:
        """Whether `grouped_attention` can compute this."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        where = self if hasattr(self, "sliding_window") else self.config  # of the layer, or of all layers
        return (
            attention.grouping_pays(dtype, kind, self.attention_dropout if self.training else 0.0)
            and self.config._attn_implementation == attention.NAME
            and cos.shape[-1] == self.head_dim
            and bounds.within(getattr(where, "sliding_window", None))
        )


class LeanLlamaAttention(LeanAttention, LlamaAttention):
    """That of Llama."""


class LeanMistralAttention(LeanAttention, MistralAttention):
    """That of Mistral."""


class LeanQwen2Attention(LeanAttention, Qwen2Attention):
    """That of Qwen 2."""


class LeanQwen3Attention(LeanAttention, Qwen3Attention):
    """That of Qwen 3."""


NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)
FEED_FORWARDS = (LlamaMLP, MistralMLP, Qwen2MLP, Qwen3MLP)
ATTENTIONS: dict[type[nn.Module], type[nn.Module]] = {
    LlamaAttention: LeanLlamaAttention,
    MistralAttention: LeanMistralAttention,
    Qwen2Attention: LeanQwen2Attention,
    Qwen3Attention: LeanQwen3Attention,
}


def use_lean_layers(network: PreTrainedModel) -> None:
    """Let a network compute its layers in this file's way; parameters keep their names and values."""
    for module in network.modules():
        if type(module) in NORMS:
            module.__class__ = LeanRMSNorm
        elif type(module) in FEED_FORWARDS and isinstance(module.act_fn, (nn.SiLU, SiLUActivation)):
            module.__class__ = LeanMLP
        elif type(module) in ATTENTIONS:
            module.__class__ = ATTENTIONS[type(module)]
