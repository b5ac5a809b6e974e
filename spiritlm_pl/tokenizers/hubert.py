"""HuBERT: masked prediction of frame clusters (Hsu et al., 2021), with torchaudio's encoder.

The convolutions follow the configuration: a total stride of 640 gives 25 Hz at 16 kHz (the published layout of Spirit
LM), 320 gives 50 Hz. The logits are those of torchaudio (cosine similarity over temperature), but computed as one
matrix product instead of a (frames, classes, dimension) expansion.

Shapes: B batch, S samples, T frames, L labels, D encoder dimension, K classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torchaudio.models import Wav2Vec2Model, wav2vec2_model

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.runtime.checkpoint import load_network
from spiritlm_pl.runtime.grouped_convolutions import avoid_wrong_convolutions
from spiritlm_pl.runtime.limits import check_layers
from spiritlm_pl.runtime.onednn_linear import use_onednn
from spiritlm_pl.tokenizers.features import normalize_frames, smooth_frames
from spiritlm_pl.tokenizers.masking import MaskEmbedding, draw_mask
from spiritlm_pl.tokenizers.mel_frontend import MelFrontend
from spiritlm_pl.tokenizers.packed_encoder import packed_encoder

STAGE = "hubert"
EXTRACTOR_MODES = ("group_norm", "layer_norm", "mel")
ENCODER_SHAPE = (
    "kernels",
    "strides",
    "channels",
    "embed_dim",
    "num_layers",
    "num_heads",
    "feed_forward_dim",
    "final_dim",
    "pos_conv_kernel",
    "pos_conv_groups",
    "extractor_mode",
    "conv_bias",
    "layer_norm_first",
)


@dataclass(frozen=True, kw_only=True)
class HubertConfig:
    """Sizes of a HuBERT; the defaults are those of the published 25 Hz base model.

    Args:
        sample_rate: sample rate of the waveforms, in Hz.
        kernels: taps of each convolution.
        strides: stride of each convolution; their product is the hop length in samples.
        channels: number of channels of the convolutions.
        extractor_mode: what precedes the transformer: "group_norm" (base: normalises over time after the first
            convolution), "layer_norm", or "mel", log-mel frames in place of convolutions, for which `kernels` have no
            meaning.
        conv_bias: whether convolutions have a bias.
        pad_edges: whether to pad the waveform so that S samples give S // hop frames, each centred on its samples.
        embed_dim: width of the transformer, D.
        num_layers: number of transformer layers.
        num_heads: number of attention heads of a layer.
        feed_forward_dim: width of the feed-forward layers.
        dropout: probability of dropping an activation of layers, attention and input.
        layer_drop: probability of skipping a layer in training.
        pos_conv_kernel: taps of the convolutional position embedding, in frames.
        pos_conv_groups: number of groups of the convolutional position embedding.
        layer_norm_first: whether to normalise before instead of after attention and feed-forward.
        num_classes: number of clusters to predict, K.
        final_dim: dimension in which predictions and classes are compared.
        temperature: number by which the cosine similarities are divided to get logits.
        mask_prob: expected share of masked frames if spans did not overlap.
        mask_length: number of frames in a masked span.
        feature_grad_scale: factor on the gradient of the convolutions, which lets them learn more slowly.
    """

    sample_rate: int = 16_000
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2, 2)
    channels: int = 512
    extractor_mode: str = "group_norm"
    conv_bias: bool = False
    pad_edges: bool = True
    embed_dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    feed_forward_dim: int = 3072
    dropout: float = 0.1
    layer_drop: float = 0.05
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    layer_norm_first: bool = False
    num_classes: int = 500
    final_dim: int = 256
    temperature: float = 0.1
    mask_prob: float = 0.8
    mask_length: int = 5
    feature_grad_scale: float = 0.1

    def __post_init__(self) -> None:
        """Check values for which the errors of the layers themselves would be unclear."""
        check_layers({"num_layers": self.num_layers}, "the configuration of HuBERT")
        if len(self.kernels) != len(self.strides):
            raise ValueError(
                f"strides must be {len(self.kernels)}, one for each kernel, but are {len(self.strides)} instead"
            )
        if self.extractor_mode not in EXTRACTOR_MODES:
            raise ValueError(f"extractor_mode must be one of {EXTRACTOR_MODES}, but is {self.extractor_mode!r} instead")
        if self.pad_edges and self.receptive_field < self.hop_length:
            raise ValueError(
                f"kernels must cover at least the hop of {self.hop_length} samples, "
                f"but cover {self.receptive_field} instead"
            )

    @property
    def hop_length(self) -> int:
        """Number of samples between frames."""
        return prod(self.strides)

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return self.sample_rate / self.hop_length

    @property
    def receptive_field(self) -> int:
        """Number of samples on which one frame depends."""
        steps = [prod(self.strides[:i]) for i in range(len(self.strides))]
        return 1 + sum((kernel - 1) * step for kernel, step in zip(self.kernels, steps, strict=True))


def build_encoder(config: HubertConfig) -> Wav2Vec2Model:
    """Build the convolutions (or mel frames) and the transformer."""
    mel = config.extractor_mode == "mel"
    layers = [(1, 1)] if mel else list(zip(config.kernels, config.strides, strict=True))
    shapes = [(config.channels, kernel, stride) for kernel, stride in layers]
    encoder = wav2vec2_model(
        extractor_mode="layer_norm" if mel else config.extractor_mode,
        extractor_conv_layer_config=shapes,
        extractor_conv_bias=config.conv_bias,
        encoder_embed_dim=config.embed_dim,
        encoder_projection_dropout=config.dropout,
        encoder_pos_conv_kernel=config.pos_conv_kernel,
        encoder_pos_conv_groups=config.pos_conv_groups,
        encoder_num_layers=config.num_layers,
        encoder_num_heads=config.num_heads,
        encoder_attention_dropout=config.dropout,
        encoder_ff_interm_features=config.feed_forward_dim,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=config.dropout,
        encoder_layer_norm_first=config.layer_norm_first,
        encoder_layer_drop=config.layer_drop,
        aux_num_out=None,
    )
    if mel:
        encoder.feature_extractor = MelFrontend(config.sample_rate, config.hop_length, config.channels)
    use_onednn(encoder)
    avoid_wrong_convolutions(encoder)
    return encoder


def pad_edges(waveforms: Tensor, lengths: Tensor, config: HubertConfig) -> tuple[Tensor, Tensor]:
    """Pad waveforms (B, S) with zeros on both sides, so that frames are centred; unchanged without `pad_edges`."""
    if not config.pad_edges or config.extractor_mode == "mel":
        return waveforms, lengths
    border = config.receptive_field - config.hop_length
    return functional.pad(waveforms, (border // 2, border - border // 2)), lengths + border


def labels_at_frames(labels: Tensor, label_rate: float, num_frames: int, frame_rate: float) -> Tensor:
    """Return the label at the middle of each frame (B, T), -1 beyond the labels (B, L); rates are in Hz.

    Args:
        labels: labels of each utterance (B, L).
        label_rate: labels per second, in Hz.
        num_frames: number of frames, T.
        frame_rate: frames per second, in Hz.
    """
    middles = (torch.arange(num_frames, device=labels.device) + 0.5) / frame_rate
    index = (middles * label_rate).long()
    inside = index < labels.shape[1]
    picked = labels[:, index.clamp(max=max(labels.shape[1] - 1, 0))]
    return torch.where(inside, picked, -1)


@dataclass(frozen=True)
class HubertPrediction:
    """Output of the network for a batch.

    Attributes:
        logits: logits of the classes for each frame (B, T, K).
        masked: mask (B, T), True where the input was hidden.
        inside: mask (B, T), True where there is audio.
        penalty: mean square of the convolutions' output, a scalar.
    """

    logits: Tensor
    masked: Tensor
    inside: Tensor
    penalty: Tensor


class HubertNetwork(nn.Module):
    """HuBERT for training: encoder, embedding of hidden frames, and class embeddings."""

    config_class = HubertConfig

    def __init__(self, config: HubertConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.mask = MaskEmbedding(config.embed_dim)
        self.projection = nn.Linear(config.embed_dim, config.final_dim)
        self.classes = nn.Parameter(torch.empty(config.num_classes, config.final_dim).uniform_())

    def forward(self, waveforms: Tensor, lengths: Tensor) -> HubertPrediction:
        """Predict the class of every frame of waveforms (B, S) with lengths (B,), where some frames are hidden."""
        convolved, num_frames = self.encoder.feature_extractor(*pad_edges(waveforms, lengths, self.config))
        penalty = convolved.float().square().mean()
        scale = self.config.feature_grad_scale
        convolved = convolved * scale + convolved.detach() * (1 - scale)
        outside = torch.arange(convolved.shape[1], device=convolved.device) >= num_frames[:, None]
        hidden, attention_mask = self.encoder.encoder._preprocess(convolved, num_frames)
        masked = draw_mask(~outside, self.config.mask_prob, self.config.mask_length)
        hidden = self.mask(hidden, masked)
        hidden = self.encoder.encoder.transformer(hidden, attention_mask=attention_mask)
        projected = functional.normalize(self.projection(hidden).float(), dim=-1)
        classes = functional.normalize(self.classes.float(), dim=-1)
        with torch.autocast(hidden.device.type, enabled=False):  # autocast would round the product again
            logits = projected @ classes.T / self.config.temperature  # (B, T, K)
        return HubertPrediction(logits, masked, ~outside, penalty)


@dataclass(frozen=True, kw_only=True)
class HubertFeaturesConfig(HubertConfig):
    """Configuration of the features of a HuBERT that is cut off after a layer.

    Args:
        layer: number of the layer whose output is the features, counted from 1.
        normalize: whether to subtract the utterance's mean and divide by its deviation (van Niekerk et al., 2021).
        smoothing: weight of either neighbour in each frame, which makes units depend less on where frames happen to
            begin; 0 turns it off.
    """

    layer: int = 11
    normalize: bool = False
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check layer and smoothing too."""
        super().__post_init__()
        if not 0 <= self.smoothing <= 1 / 3:
            raise ValueError(f"smoothing must be in [0, 1/3], but is {self.smoothing} instead")
        if not 1 <= self.layer <= self.num_layers:
            raise ValueError(f"layer must be in [1, {self.num_layers}], but is {self.layer} instead")


class HubertFeatures(nn.Module):
    """Feature extractor by a layer of HuBERT; features do not depend on what an utterance is batched with."""

    config_class = HubertFeaturesConfig

    def __init__(self, config: HubertFeaturesConfig) -> None:
        """Build the network with random weights, which `from_network` replaces."""
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        layers = self.encoder.encoder.transformer.layers
        self.encoder.encoder.transformer.layers = layers[: config.layer]

    @classmethod
    def from_network(
        cls, network: HubertNetwork, layer: int, normalize: bool = False, smoothing: float = 0.0
    ) -> "HubertFeatures":
        """Copy the first layers of a trained network, in evaluation mode.

        Args:
            network: trained network whose weights are copied.
            layer: number of the layer whose output is the features, counted from 1.
            normalize: whether to subtract the utterance's mean and divide by its deviation.
            smoothing: weight of either neighbour in each frame; 0 turns it off.
        """
        config = HubertFeaturesConfig(**asdict(network.config), layer=layer, normalize=normalize, smoothing=smoothing)
        features = cls(config)
        weights: Mapping[str, Tensor] = network.encoder.state_dict()
        own = features.encoder.state_dict()
        features.encoder.load_state_dict({name: weights[name] for name in own})
        return features.eval()

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return self.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return self.config.frame_rate

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector, D."""
        return self.config.embed_dim

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,) from waveforms (B, S) with lengths (B,)."""
        inside = within(lengths, waveforms.shape[1])
        padded, padded_lengths = pad_edges(waveforms * inside, lengths, self.config)
        if padded.shape[1] < max(self.config.receptive_field, self.config.hop_length):
            return waveforms.new_zeros(len(waveforms), 0, self.feature_dim), torch.zeros_like(lengths)
        hidden, num_frames = self._hidden(padded, padded_lengths)
        hidden = normalize_frames(hidden, num_frames) if self.config.normalize else hidden
        if self.config.smoothing:
            hidden = smooth_frames(hidden, num_frames, self.config.smoothing)
        return hidden, num_frames

    def _hidden(self, padded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the output (B, T, D) of the layer, and numbers of frames (B,)."""
        packed = packed_encoder(self.encoder, padded.device)
        if packed is None:
            convolved, num_frames = self._convolve(padded, lengths)
            return self.encoder.encoder.extract_features(convolved, num_frames, self.config.layer)[-1], num_frames
        rows, counts = padded, lengths
        if packed.convolutions is None:
            rows, counts = self.encoder.feature_extractor(padded, lengths)
        found = packed.features([row[:count] for row, count in zip(rows, counts.tolist(), strict=True)])
        return pad_sequence(found, batch_first=True), torch.tensor([len(row) for row in found])

    def _convolve(self, padded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the output (B, T, C) of the convolutions; group norm sees each utterance without its padding."""
        extractor = self.encoder.feature_extractor
        if self.config.extractor_mode != "group_norm":
            convolved, num_frames = extractor(padded, lengths)
            return convolved, num_frames.clamp(min=0)
        longest = (padded.shape[1] - self.config.receptive_field) // self.config.hop_length + 1
        rows = []
        num_frames = ((lengths - self.config.receptive_field) // self.config.hop_length + 1).clamp(min=0)
        for row, length, count in zip(padded, lengths.tolist(), num_frames.tolist(), strict=True):
            if count == 0:
                rows.append(padded.new_zeros(longest, self.config.channels))
                continue
            convolved = extractor(row[None, :length], None)[0][0]
            rows.append(functional.pad(convolved, (0, 0, 0, longest - count)))
        return torch.stack(rows), num_frames


@dataclass(frozen=True, kw_only=True)
class HubertLayer:
    """Source of the features of a trained HuBERT.

    Args:
        folder: folder of an exported network of stage "hubert", which `build` loads.
        layer: number of the layer whose output is the features, counted from 1.
        normalize: whether to subtract the utterance's mean and divide by its deviation (van Niekerk et al., 2021).
        smoothing: weight of either neighbour in each frame; 0 turns it off.
    """

    folder: str
    layer: int
    normalize: bool = False
    smoothing: float = 0.0

    def build(self) -> HubertFeatures:
        """Load the extractor."""
        network = load_network(self.folder, STAGE)
        assert isinstance(network, HubertNetwork)
        return HubertFeatures.from_network(network, self.layer, self.normalize, self.smoothing)


def start_from(network: HubertNetwork, folder: str) -> None:
    """Copy the weights of an earlier iteration except the class embeddings, since its clusters were different.

    Args:
        network: network whose weights are set.
        folder: folder of the earlier network.

    Raises:
        ValueError: if the earlier network has another encoder.
    """
    earlier = load_network(folder, STAGE)
    assert isinstance(earlier, HubertNetwork)
    for name in ENCODER_SHAPE:
        new, old = getattr(network.config, name), getattr(earlier.config, name)
        if new != old:
            raise ValueError(f"{name} must be {old} as in {folder}, but is {new} instead")
    network.load_state_dict({**earlier.state_dict(), "classes": network.classes.detach()})
