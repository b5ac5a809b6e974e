"""Next-token loss from hidden states, without keeping the logits of a whole batch.

At 4096 x 32768, the logits of one row take 0.5 GiB in fp32, and their gradient as much again. The head works through
the tokens in chunks. It forms the gradient of a chunk while it has its logits, so that nothing is computed twice and no
more than one chunk of logits exists (the idea of Cut Your Losses, arXiv 2411.09009; torch 2.14's `linear_cross_entropy`
is another form of it and can be chosen instead). Factors and caps of logits that some families have
(`spiritlm_pl.lm.logits`) are applied to each chunk.

Shapes: M tokens to predict, D hidden size, V rows of the embedding, N rows of it that are trained apart.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spiritlm_pl.lm.logits import Logits

Method = Literal["auto", "chunked", "torch", "full"]
Derive = Callable[[Tensor], Tensor]  # from the losses of all tokens (M,) to any scalar
HAS_TORCH_FUSED = hasattr(F, "linear_cross_entropy") and hasattr(nn, "LinearCrossEntropyOptions")


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Settings of the loss.

    Args:
        method: "chunked" (this file's), "torch" (`F.linear_cross_entropy`), "full" (all logits at once), or "auto",
            which takes "chunked", the fastest of those that bound memory (`benchmarks/loss_memory.py`).
        chunk: number of tokens whose logits exist at one time.
        z_loss: weight of the term log(Z)^2 (PaLM, arXiv 2204.02311); 0 leaves it out.
    """

    method: Method = "auto"
    chunk: int = 512
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, but is {self.chunk} instead")
        if self.z_loss < 0:
            raise ValueError(f"z_loss must be at least 0, but is {self.z_loss} instead")
        if self.method == "torch" and not HAS_TORCH_FUSED:
            raise ValueError(f"method must be chunked or full on torch {torch.__version__}, but is torch")
        if self.method == "torch" and self.z_loss:
            raise ValueError(f"method must be chunked or full with z_loss {self.z_loss}, but is torch")


class _ChunkedLoss(torch.autograd.Function):
    """Sum over tokens of loss and z-loss, and the loss of every token. Gradients are formed in `forward`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor | None,
        chunk: int,
        z_loss: float,
        own: Logits,
        rows: Tensor | None,
        first: int,
    ) -> tuple[Tensor, Tensor]:
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        need_bias = bias is not None and ctx.needs_input_grad[2]
        need_rows = rows is not None and ctx.needs_input_grad[8]
        hidden_grad = torch.empty_like(hidden) if need_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        bias_grad = torch.zeros_like(bias, dtype=torch.float32) if need_bias and bias is not None else None
        rows_grad = torch.zeros_like(rows, dtype=torch.float32) if need_rows and rows is not None else None
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        matrix = with_rows(weight.to(hidden.dtype), rows, first)
        offset = None if bias is None else bias.to(hidden.dtype)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = own(F.linear(hidden[part], matrix, offset).float())  # (m, V)
            columns = targets[part, None]
            chosen, largest = logits.gather(1, columns), logits.amax(-1, keepdim=True)
            inner = own.slope(logits)
            powers = logits.sub_(largest).exp_()  # in the place of the logits, and then of their gradient
            sums = powers.sum(-1, keepdim=True)
            losses[part] = (sums.log() + (largest - chosen)).squeeze(1)
            log_z = sums.log() + largest
            terms = losses[part] + z_loss * log_z.squeeze(1).square() if z_loss else losses[part]
            total += (terms if weights is None else terms * weights[part]).sum()
            if not (need_hidden or need_weight or need_bias or need_rows):
                continue
            slope = powers.mul_((1 + 2 * z_loss * log_z) / sums)
            slope.scatter_add_(1, columns, torch.full_like(columns, -1, dtype=slope.dtype))
            if inner is not None:
                slope.mul_(inner)
            if weights is not None:
                slope.mul_(weights[part, None])
            if bias_grad is not None:
                bias_grad += slope.sum(0)
            slope = slope.to(hidden.dtype)
            del logits, powers  # products take memory, too
            if hidden_grad is not None:
                torch.mm(slope, matrix, out=hidden_grad[part])
            if weight_grad is not None:
                _add_product(weight_grad, slope, hidden[part])
            if rows_grad is not None:
                _add_product(rows_grad, slope[:, first : first + len(rows_grad)], hidden[part])
            del slope
        ctx.formed = [hidden_grad, weight_grad, bias_grad, rows_grad]
        ctx.dtypes = [None if given is None else given.dtype for given in (weight, bias, rows)]
        ctx.mark_non_differentiable(losses)
        return total, losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.formed:
            raise RuntimeError("gradients of the loss are gone after one backward pass, as they are not copied")
        (hidden_grad, *others), total_grad, ctx.formed = ctx.formed, grads[0], []
        weight_grad, bias_grad, rows_grad = (
            None if found is None else found.mul_(total_grad).to(dtype)
            for found, dtype in zip(others, ctx.dtypes, strict=True)
        )
        in_hidden = None if hidden_grad is None else hidden_grad.mul_(total_grad.to(hidden_grad.dtype))
        return in_hidden, weight_grad, bias_grad, None, None, None, None, None, rows_grad, None


def _add_product(total: Tensor, slope: Tensor, hidden: Tensor) -> None:
    """Add slope (m, N) transposed times hidden (m, D) to a float32 sum (N, D)."""
    if hidden.dtype == torch.float32:
        total.addmm_(slope.T, hidden)
    else:
        total += slope.T @ hidden


def with_rows(weight: Tensor, rows: Tensor | None, first: int) -> Tensor:
    """Return a matrix (V, D) with rows from `first` on in place of its own; None for the matrix as it is.

    Args:
        weight: the matrix (V, D).
        rows: the rows (N, D); None for none.
        first: place of the first of them in the matrix.
    """
    if rows is None:
        return weight
    return torch.cat([weight[:first], rows.to(weight.dtype), weight[first + len(rows) :]])


def next_token_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    settings: LossSettings,
    own: Logits = Logits(),  # noqa: B008  frozen
    weights: Tensor | None = None,
    rows: Tensor | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Compute the loss of predicting `targets` from `hidden`.

    Args:
        hidden: hidden states (M, D).
        weight: weights (V, D) of the output layer.
        bias: biases (V,) of the output layer; None for a layer without them.
        targets: ids of the tokens to predict (M,), int64 in [0, V).
        settings: method and terms of the loss.
        own: what the model does to the layer's output; by default nothing.
        weights: (M,) factors of the tokens in the sum; None for 1.
        rows: trained rows (N, D) in place of those of `weight` from `first` on; None for none.
        first: place of the first of these rows.

    Returns:
        The sum over tokens (with z-loss) as a scalar to differentiate, and the negative log-likelihood of every token
        in nats (M,), fp32, detached.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    with torch.autocast(hidden.device.type, enabled=False):
        if settings.method in ("auto", "chunked"):
            if not torch.is_grad_enabled():  # `forward` of a Function cannot see it
                hidden, weight = hidden.detach(), weight.detach()
                bias, rows = (None if given is None else given.detach() for given in (bias, rows))
            how = settings.chunk, settings.z_loss, own
            return _ChunkedLoss.apply(hidden, weight, bias, targets, weights, *how, rows, first)
        matrix = with_rows(weight.to(hidden.dtype), rows, first)
        offset = None if bias is None else bias.to(hidden.dtype)
        if settings.method == "torch":
            assert own.softcap is None  # LossHead refuses the other case
            hidden, offset = hidden * own.scale, None if offset is None else offset * own.scale
            losses = F.linear_cross_entropy(
                hidden,
                matrix,
                targets,
                linear_bias=offset,
                reduction="none",
                options=nn.LinearCrossEntropyOptions(batch_chunk_size=settings.chunk),
            ).float()
            return _weighted_sum(losses, weights), losses.detach()
        logits = own(F.linear(hidden, matrix, offset).float())
        losses = F.cross_entropy(logits, targets, reduction="none")
        terms = losses + settings.z_loss * logits.logsumexp(dim=-1).square()
        return _weighted_sum(terms, weights), losses.detach()


def _weighted_sum(terms: Tensor, weights: Tensor | None) -> Tensor:
    return terms.sum() if weights is None else (terms * weights).sum()


def derived_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    settings: LossSettings,
    own: Logits,
    derive: Derive,
) -> tuple[Tensor, Tensor]:
    """Compute a loss that is any function of the losses of the tokens, such as one of sums over documents.

    The function's slopes are the weights of the tokens in a second pass of the head, since the first one keeps no
    logits. The network below the head is run once.

    Args:
        hidden: hidden states (M, D).
        weight: weights (V, D) of the output layer.
        bias: biases (V,) of the output layer; None for a layer without them.
        targets: ids of the tokens to predict (M,), int64 in [0, V).
        settings: method of the loss; its z-loss is left out.
        own: what the model does to the layer's output.
        derive: function from the negative log-likelihoods of the tokens (M,) in nats, fp32, to a scalar.

    Returns:
        The value of the function as a scalar to differentiate, and the negative log-likelihoods (M,), detached.
    """
    plain = replace(settings, z_loss=0.0)
    with torch.no_grad():
        _, losses = next_token_loss(hidden, weight, bias, targets, plain, own)
    with torch.enable_grad():
        leaf = losses.detach().requires_grad_()
        value = derive(leaf)
    if not torch.is_grad_enabled():
        return value.detach(), losses
    (slopes,) = torch.autograd.grad(value, leaf)
    total, _ = next_token_loss(hidden, weight, bias, targets, plain, own, slopes)
    return total + (value.detach() - total.detach()), losses


class LossHead(nn.Module):
    """Output layer of a language model: gives logits as before, or with targets the loss directly.

    It takes over the parameters of the layer it replaces under the same names. So checkpoints, tied embeddings and
    ZeRO-3's gathering of parameters (which follows calls of modules) work as before.
    """

    def __init__(self, layer: nn.Linear, settings: LossSettings, own: Logits = Logits()) -> None:  # noqa: B008  frozen
        """Take over the parameters of a layer.

        Args:
            layer: output layer of the model.
            settings: settings of the loss.
            own: what the model does to the layer's output; by default nothing.

        Raises:
            ValueError: if the method of the loss cannot apply it.
        """
        super().__init__()
        if settings.method == "torch" and own.softcap is not None:
            raise ValueError(
                f"method must be chunked or full with logits that the model caps at {own.softcap:g}, but is torch"
            )
        self.weight = layer.weight
        self.bias: nn.Parameter | None
        self.register_parameter("bias", layer.bias)
        self.settings, self.own = settings, own
        self.rows: nn.Parameter | None
        self.register_parameter("rows", None)
        self.first = 0

    def train_rows(self, rows: nn.Parameter, first: int) -> None:
        """Take trained rows (N, D) in place of those of the matrix from `first` on."""
        self.rows, self.first = rows, first

    def forward(
        self, hidden: Tensor, targets: Tensor | None = None, weights: Tensor | None = None, derive: Derive | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the layer's output (..., V) from (..., D), or with targets (M,) their loss.

        It is their `next_token_loss`, or with a function to derive another one from, their `derived_loss`.
        """
        if targets is None:
            return F.linear(hidden, with_rows(self.weight, self.rows, self.first), self.bias)
        if derive is not None:
            matrix = with_rows(self.weight, self.rows, self.first)
            return derived_loss(hidden, matrix, self.bias, targets, self.settings, self.own, derive)
        how = self.settings, self.own, weights, self.rows, self.first
        return next_token_loss(hidden, self.weight, self.bias, targets, *how)
