"""Norms, gated layers and attention that keep and copy less than those of `transformers`, in their place.

The norm of Llama and its relatives (RMSNorm, arXiv 1910.07467) is written there as a chain of six operations, whose
intermediate results all stay until the backward pass, and under autocast each linear layer after it makes and keeps a
half-precision copy of its output of its own. Here one number a token is kept beside the output, which the next layers
keep anyway, where the input is in float32 on a CPU, and beside the input elsewhere; the result has the type in which
the next layers compute, and the backward pass has its formula. The gated layer (SwiGLU, arXiv 2002.05202)
computes the activation again instead of keeping it. Attention rotates queries and keys and attends in one operation,
where `spiritlm_pl.lm.grouped_attention` serves.

Shapes: B rows, T tokens of a row, D features.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralAttention, MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP, Qwen3RMSNorm

from spiritlm_pl.lm import attention, kept
from spiritlm_pl.lm.grouped_attention import grouped_attention

PIECE = 2**18  # numbers of a piece of a norm
SMALLEST = 1e-6  # weight by which the output of a norm is divided
SILU = "silu"


class _RMSNorm(torch.autograd.Function):
    """Norm of (..., D) over the last axis, in float32.

    The input can be left out of what is kept, since it is the output, which the next layers keep anyway, divided by
    weight and scale.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        size = hidden.shape[-1]
        flat = hidden.reshape(-1, size)
        normed, scale = torch.empty_like(flat, dtype=dtype), flat.new_empty(len(flat), 1, dtype=torch.float32)
        for part in _pieces(flat):
            wide = flat[part].float()
            mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(size)
            scale[part] = mean_square.add_(eps).rsqrt_()
            piece = (wide * scale[part]).to(hidden.dtype)
            normed[part] = piece.mul_(weight) if piece.dtype == weight.dtype else piece * weight
        ctx.divides = _can_divide(hidden, weight)
        ctx.dtype = hidden.dtype
        ctx.save_for_backward(normed if ctx.divides else flat, weight, scale)
        return normed.view(hidden.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        told, weight, scale = ctx.saved_tensors
        size, wide_weight = told.shape[-1], weight.float()
        flat, inverse = grads[0].reshape(-1, size), wide_weight.reciprocal()
        slopes = torch.empty_like(told, dtype=ctx.dtype) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(wide_weight)
        for part in _pieces(flat):
            grad = flat[part].float()
            normed = told[part].float() * (inverse if ctx.divides else scale[part])
            slope = grad * normed
            weight_grad += slope.sum(0)
            if slopes is not None:
                along = torch.mv(slope, wide_weight)[:, None]  # part of the gradient that only changes the length
                torch.mul(grad, wide_weight, out=slope).addcmul_(normed, along, value=-1 / size)
                torch.mul(slope, scale[part], out=slopes[part])
        in_weight = weight_grad.to(weight.dtype) if ctx.needs_input_grad[1] else None
        return None if slopes is None else slopes.view(grads[0].shape), in_weight, None, None


def _pieces(flat: Tensor) -> list[slice]:
    """Return slices of tokens (N, D) that go through all steps in the cache of a CPU; all at once elsewhere."""
    rows = len(flat) if flat.device.type != "cpu" else PIECE // flat.shape[1]
    return [slice(first, first + rows) for first in range(0, len(flat), max(rows, 1))]


def _can_divide(hidden: Tensor, weight: Tensor) -> bool:
    """Whether a norm's output has all of its float32 input. On a GPU this is not asked, as it would have to wait."""
    return hidden.dtype == torch.float32 and hidden.device.type == "cpu" and float(weight.abs().min()) > SMALLEST


class _Gated(torch.autograd.Function):
    """SiLU of one input times the other."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activated: dict[str, Tensor]) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activated = activated
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        gate, up = ctx.saved_tensors
        activated = ctx.activated.pop(SILU, None)
        activated = F.silu(gate) if activated is None else activated
        return torch.ops.aten.silu_backward(grads[0] * up, gate), activated.mul_(grads[0]), None


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


def _call(layer: nn.Module, hidden: Tensor, make: Callable[[], Tensor] | None = None) -> Tensor:
    """Compute `layer(hidden)`, in the form of `kept.product`."""
    result: Tensor = layer(hidden)
    return result


class LeanMLP(nn.Module):
    """Gated feed-forward layer with the parts of that of `transformers`."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    recomputes = True  # what linear layers keep

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        compute: Any = kept.product if self.recomputes else _call
        gate, up = compute(self.gate_proj, hidden), compute(self.up_proj, hidden)
        activated: dict[str, Tensor] = {}
        gated = _Gated.apply(gate, up, activated)
        inputs = gate.detach(), up.detach()

        def make() -> Tensor:
            activated[SILU] = F.silu(inputs[0])
            return activated[SILU] * inputs[1]

        result: Tensor = compute(self.down_proj, gated, make)
        return result


class LeanAttention(nn.Module):
    """Attention with the parts of that of `transformers`; packed rows in bfloat16 on a CPU take `grouped_attention`.

    Everything else goes the way of the class that it is mixed into.
    """

    q_proj: Any
    k_proj: Any
    v_proj: Any
    o_proj: Any
    q_norm: Any  # of Qwen 3 only
    k_norm: Any
    config: Any
    head_dim: int
    scaling: float
    attention_dropout: Any
    recomputes = True  # what linear layers keep

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
        tokens, compute = hidden_states.shape[:-1].numel(), kept.product if self.recomputes else _call
        query, key, value = (
            compute(layer, hidden_states).view(tokens, -1, self.head_dim)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        if hasattr(self, "q_norm"):
            query, key = self.q_norm(query), self.k_norm(key)
        query, key, value = (part.to(torch.bfloat16) for part in (query, key, value))
        turns = bounds.rotations(*position_embeddings)
        attended = grouped_attention(query, key, value, bounds.groups, self.scaling, turns)
        return compute(self.o_proj, attended.view(*hidden_states.shape[:-1], -1)), None

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


def use_lean_layers(network: PreTrainedModel, checkpointing: bool = False) -> None:
    """Let a network compute its layers in this file's way; parameters keep their names and values.

    Args:
        network: network whose layers are changed in place.
        checkpointing: whether all of a layer is recomputed in the backward pass, so that it need not do so by itself.
    """
    for module in network.modules():
        if type(module) in NORMS:
            module.__class__ = LeanRMSNorm
        elif type(module) in FEED_FORWARDS and isinstance(module.act_fn, (nn.SiLU, SiLUActivation)):
            module.__class__ = LeanMLP
            cast(LeanMLP, module).recomputes = not checkpointing
        elif type(module) in ATTENTIONS:
            module.__class__ = ATTENTIONS[type(module)]
            cast(LeanAttention, module).recomputes = not checkpointing
