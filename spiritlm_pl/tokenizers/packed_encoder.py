"""Encoders built like wav2vec 2.0 base, HuBERT among them, computed on a CPU from weights that were packed once.

Utterances of any lengths are computed together without padding: what mixes no frames sees the frames of all of them as
rows of one matrix. The convolutions take a second or two of audio at a time, so that what they make stays in the cache.

Shapes: S samples, T frames of an utterance, N frames of all, C channels, D width, K taps, F frequencies, G groups.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritlm_pl.runtime.inference import is_prepared
from spiritlm_pl.runtime.packed_linear import PackedCopies, PackedLinear, has_products

STRETCH = 60  # frames, about, whose convolutions are computed at a time
QUERIES = 256  # frames that attend at a time in bfloat16


class PackedConvolutions:
    """Convolutions with GELU, of which the first is normalised over the time of an utterance.

    Args:
        layers: layers with `conv`, the first with `layer_norm`, a group norm of one channel each.
        dtype: type to compute in; the first convolution, less than a hundredth of the work, is always in float32.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        """Copy the weights."""
        self.first, self.norm = layers[0].conv, layers[0].layer_norm
        self.shapes = [(layer.conv.kernel_size[0], layer.conv.stride[0]) for layer in layers]
        self.dtype = dtype
        self.reach, self.hop = 1, 1  # samples that a frame depends on, and samples between frames
        for kernel, stride in self.shapes:
            self.reach += (kernel - 1) * self.hop
            self.hop *= stride
        self.others = []
        for layer in layers[1:]:
            weight, bias = layer.conv.weight.to(dtype), layer.conv.bias
            flat = weight.transpose(1, 2).flatten(1)  # (C', K * C), as frames lie one after the other
            self.others.append(PackedLinear([flat], [None if bias is None else bias.to(dtype)]))

    def __call__(self, waveform: Tensor) -> Tensor:
        """Compute frames (T, C) of a waveform (S,) in float32, as many as fit."""
        count = (len(waveform) - self.reach) // self.hop + 1
        if count < 1:
            return waveform.new_zeros(0, self.first.out_channels, dtype=self.dtype)
        first = self._normalised(waveform)
        stretches = []
        parts = max(1, round(count / STRETCH))
        for start, stop in pairwise(count * part // parts for part in range(parts + 1)):
            hidden = waveform[start * self.hop : (stop - 1) * self.hop + self.reach, None]
            for (kernel, stride), layer in zip(self.shapes, (first, *self.others), strict=True):
                length, channels = hidden.shape
                windows = hidden.as_strided(
                    ((length - kernel) // stride + 1, kernel * channels), (stride * channels, 1)
                )
                hidden = layer(windows.contiguous(), gelu=True).to(self.dtype)
            stretches.append(hidden)
        return torch.cat(stretches)

    def _normalised(self, waveform: Tensor) -> PackedLinear:
        """Return the first convolution with its norm, as they are for this waveform (S,).

        The convolution is linear, so the mean and the variance of a channel follow from those of the K samples that it
        is computed from.
        """
        windows = waveform.unfold(0, *self.shapes[0]).double()  # (., K)
        weight = self.first.weight[:, 0].double()  # (C, K)
        mean = windows.mean(0)
        moments = windows.T @ windows / len(windows) - mean.outer(mean)
        variance = ((weight @ moments) * weight).sum(1).clamp(min=0)
        scale = self.norm.weight.double() / (variance + self.norm.eps).sqrt()
        bias = self.norm.bias - scale * (weight @ mean)
        return PackedLinear([(weight * scale[:, None]).float()], [bias.float()])


class PackedPositions:
    """Convolution over many frames in groups, by Fourier transforms, with GELU.

    Args:
        conv: convolution padded by half of its taps; with an even number of them, its last output is left out.
    """

    def __init__(self, conv: Any) -> None:
        """Transform the weight."""
        self.taps, self.groups, self.bias = conv.kernel_size[0], conv.groups, conv.bias.detach()
        self.size, self.step = 2 * self.taps, self.taps + 1  # of a block, and how many of its outputs are whole
        weight = torch.fft.rfft(conv.weight.detach(), self.size).conj()  # (D, D / G, F)
        self.weight = weight.unflatten(0, (self.groups, -1)).permute(3, 0, 2, 1).contiguous()  # (F, G, D / G, D / G)

    def __call__(self, frames: Tensor, counts: list[int]) -> Tensor:
        """Map frames (N, D) of utterances of so many frames to positions (N, D)."""
        blocks = [self._blocks(rows) for rows in frames.float().split(counts)]
        spectra = torch.fft.rfft(torch.cat(blocks)).unflatten(1, (self.groups, -1)).permute(3, 1, 0, 2)
        products = (spectra @ self.weight).permute(2, 0, 1, 3).flatten(2)  # (blocks, F, D)
        outputs = torch.fft.irfft(products, self.size, dim=1)[:, : self.step]
        parts = outputs.split([len(block) for block in blocks])
        rows = [part.flatten(0, 1)[:count] for part, count in zip(parts, counts, strict=True)]
        return functional.gelu(torch.cat(rows) + self.bias).to(frames.dtype)

    def _blocks(self, rows: Tensor) -> Tensor:
        """Cut frames (T, D) into blocks (., D, size) that overlap by all taps but one."""
        number, before = -(-len(rows) // self.step), self.taps // 2
        after = number * self.step + self.taps - 1 - before - len(rows)
        return functional.pad(rows, (0, 0, before, after)).unfold(0, self.size, self.step)


class PackedLayer:
    """Layer of a transformer that normalises after attention and after feed-forward."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        """Pack the weights."""
        attention, feed_forward = layer.attention, layer.feed_forward
        self.heads = attention.num_heads
        self.inputs = PackedLinear.of(attention.q_proj, attention.k_proj, attention.v_proj, dtype=dtype)
        self.output = PackedLinear.of(attention.out_proj, dtype=dtype)
        self.grow = PackedLinear.of(feed_forward.intermediate_dense, dtype=dtype)
        self.shrink = PackedLinear.of(feed_forward.output_dense, dtype=dtype)
        self.norm, self.final_norm = layer.layer_norm, layer.final_layer_norm

    def __call__(self, hidden: Tensor, counts: list[int]) -> Tensor:
        """Map hidden states (N, D) of utterances of so many frames."""
        inputs = self.inputs(hidden).view(len(hidden), 3, self.heads, -1)
        mixed = torch.cat([attended(one) for one in inputs.split(counts)])
        hidden = self.norm(self.output(mixed, hidden))
        return self.final_norm(self.shrink(self.grow(hidden, gelu=True), hidden))


def attended(inputs: Tensor) -> Tensor:
    """Attend over all frames of an utterance, from queries, keys and values (T, 3, heads, E) to (T, D)."""
    queries, keys, values = inputs.permute(1, 2, 0, 3)  # (heads, T, E)
    if inputs.dtype == torch.float32:
        mixed = functional.scaled_dot_product_attention(queries[None], keys[None], values[None])[0]
    else:  # the fused attention of torch multiplies bfloat16 no faster than float32
        keys, values = keys.transpose(1, 2).contiguous(), values.contiguous()
        mixed = torch.cat([
            torch.baddbmm(rows.new_zeros(()), rows, keys, beta=0, alpha=rows.shape[-1] ** -0.5).softmax(-1) @ values
            for rows in queries.split(QUERIES, 1)
        ], 1)  # fmt: skip
    return mixed.transpose(0, 1).flatten(1)


class PackedTransformer:
    """Transformer after the convolutions: projection, positions, norm and layers.

    Args:
        projection: layer with `layer_norm` and `projection`.
        transformer: network with `pos_conv_embed`, `layer_norm` and `layers`.
        dtype: type to compute in.
    """

    def __init__(self, projection: Any, transformer: Any, dtype: torch.dtype) -> None:
        """Pack the weights."""
        self.dtype = dtype
        self.first_norm = projection.layer_norm
        self.projection = PackedLinear.of(projection.projection, dtype=dtype)
        self.positions = PackedPositions(transformer.pos_conv_embed.conv)
        self.norm = transformer.layer_norm
        self.layers = [PackedLayer(layer, dtype) for layer in transformer.layers]

    def __call__(self, rows: Sequence[Tensor], layer: int | None = None) -> list[Tensor]:
        """Map frames (T, C) of each utterance to the output (T, D) of a layer; None for the last."""
        assert layer is None or 0 <= layer <= len(self.layers), f"there are {len(self.layers)} layers, but not {layer}"
        counts = [len(row) for row in rows]
        hidden = self.projection(self.first_norm(torch.cat(list(rows)).to(self.dtype)))
        hidden = self.norm(hidden + self.positions(hidden, counts))
        for one in self.layers[:layer]:
            hidden = one(hidden, counts)
        return list(hidden.split(counts))


class PackedEncoder:
    """Packed weights of an encoder.

    Args:
        extractor: what gives the transformer its input; it is packed if it is convolutions with a group norm.
        projection: layer after it.
        transformer: the transformer.
        dtype: type to compute in.
    """

    def __init__(self, extractor: Any, projection: Any, transformer: Any, dtype: torch.dtype) -> None:
        """Pack the weights."""
        norms = [getattr(layer, "layer_norm", None) for layer in getattr(extractor, "conv_layers", ())]
        packed = bool(norms) and isinstance(norms[0], nn.GroupNorm) and not any(norms[1:])
        self.convolutions = PackedConvolutions(extractor.conv_layers, dtype) if packed else None
        self.transformer = PackedTransformer(projection, transformer, dtype)
        self.width = transformer.layer_norm.weight.shape[0]

    def features(self, rows: Sequence[Tensor], layer: int | None = None) -> list[Tensor]:
        """Compute the output (T, D) of a layer for each utterance.

        Args:
            rows: waveforms (S,), or frames (T, C) where `convolutions` is None.
            layer: number of the layer, counted from 1; 0 for the input of the first, None for the last.
        """
        with torch.autocast("cpu", enabled=False):
            frames = (
                rows if self.convolutions is None else [self.convolutions(row.float().contiguous()) for row in rows]
            )
            spoken = [row for row in frames if len(row)]
            found = iter(self.transformer(spoken, layer) if spoken else ())
            return [next(found) if len(row) else row.new_zeros(0, self.width) for row in frames]


_packed: PackedCopies[dict[torch.dtype, PackedEncoder | None]] = PackedCopies()


def packed_encoder(network: nn.Module, device: torch.device) -> PackedEncoder | None:
    """Return the packed weights of an encoder of torchaudio or `transformers`, in the type that is asked for.

    None if it computes on another device, is not for inference alone (`prepare`), is built otherwise, has weights that
    are not in float32, or this processor has no such products.
    """
    if device.type != "cpu" or torch.is_grad_enabled() or not is_prepared(network):
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    kept = _packed.of(network, dict)
    if dtype not in kept:
        parts = _parts(network)
        kept[dtype] = PackedEncoder(*parts, dtype) if parts is not None and has_products(dtype) else None
    return kept[dtype]


def _parts(network: Any) -> tuple[Any, Any, Any] | None:
    """Return extractor, projection and transformer of a network whose layers normalise after each half; else None."""
    kind = f"{type(network).__module__}.{type(network).__name__}"
    if any(weight.dtype != torch.float32 for weight in network.parameters()):
        return None
    if kind == "torchaudio.models.wav2vec2.model.Wav2Vec2Model":
        transformer = network.encoder.transformer
        plain = transformer.layer_norm_first and not any(
            layer.layer_norm_first or type(layer.attention).__name__ != "SelfAttention" for layer in transformer.layers
        )
        return (network.feature_extractor, network.encoder.feature_projection, transformer) if plain else None
    if kind in (
        "transformers.models.wav2vec2.modeling_wav2vec2.Wav2Vec2Model",
        "transformers.models.hubert.modeling_hubert.HubertModel",
    ):
        config = network.config
        plain = (
            {config.hidden_act, config.feat_extract_activation} == {"gelu"}
            and not config.do_stable_layer_norm
            and not getattr(config, "add_adapter", False)
            and not getattr(config, "conv_pos_batch_norm", False)
            and getattr(config, "feat_proj_layer_norm", True)
        )
        return (network.feature_extractor, network.feature_projection, network.encoder) if plain else None
    return None
