"""Speech encoders of other libraries as feature extractors: wav2vec 2.0, HuBERT, WavLM and similar networks.

In networks that normalise over time (group norm), padding would change the features. So utterances of different lengths
are computed one by one.

Shapes: B batch, S samples at 16 kHz, T frames, D feature dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.runtime.foreign_models import WRONG_VALUES
from spiritlm_pl.runtime.grouped_convolutions import avoid_wrong_convolutions
from spiritlm_pl.tokenizers.packed_encoder import packed_encoder

SAMPLE_RATE = 16_000  # sample rate in Hz of all these networks


class ForeignEncoder(nn.Module, ABC):
    """Base class for networks of both libraries: lengths and rates. Gradients pass through.

    Args:
        feature_dim: size of a frame's feature vector, D.
        convolutions: kernel and stride of each convolution, in samples of its own input.
    """

    network: Any
    config: Any

    def __init__(self, feature_dim: int, convolutions: Sequence[tuple[int, int]]) -> None:
        """Compute the hop and the receptive field of a frame."""
        super().__init__()
        self.feature_dim = feature_dim
        self.hop_length, self.receptive_field = 1, 1
        for kernel, stride in convolutions:
            self.receptive_field += (kernel - 1) * self.hop_length
            self.hop_length *= stride

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return SAMPLE_RATE

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return SAMPLE_RATE / self.hop_length

    @abstractmethod
    def scaled(self, waveforms: Tensor) -> Tensor:
        """Scale waveforms (B, S) without padding as the network takes them."""

    @abstractmethod
    def row(self, waveforms: Tensor) -> Tensor:
        """Compute features (B, T, D) of scaled waveforms (B, S) without padding."""

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,) from waveforms (B, S) with lengths (B,)."""
        counts = ((lengths - self.receptive_field) // self.hop_length + 1).clamp(min=0)
        packed = packed_encoder(self.network, waveforms.device)
        whole = packed is None or packed.convolutions is None
        if whole and len(lengths) and bool((lengths == waveforms.shape[1]).all()) and int(counts[0]):
            return self.row(self.scaled(waveforms)), counts
        scaled = [
            self.scaled(wave[None, :length]) if count else wave.new_zeros(1, 0)
            for wave, length, count in zip(waveforms, lengths.tolist(), counts.tolist(), strict=True)
        ]
        if packed is not None and packed.convolutions is not None:
            rows = packed.features([wave[0] for wave in scaled], self.config.layer)
        else:
            rows = [self.row(wave)[0] if wave.numel() else wave.new_zeros(0, self.feature_dim) for wave in scaled]
        return pad_sequence(rows, batch_first=True), counts


def check_layer(layer: int | None, count: int) -> None:
    """Check the number of a layer, counted from 1, of a network of so many layers; None stands for the last.

    Raises:
        ValueError: if there is no such layer.
    """
    if layer is not None and not 1 <= layer <= count:
        raise ValueError(f"layer must be in [1, {count}], but is {layer} instead")


def standardized(waveforms: Tensor) -> Tensor:
    """Scale each row (B, S) to zero mean and unit variance, as wav2vec 2.0's feature extractor does."""
    mean = waveforms.mean(1, keepdim=True)
    return (waveforms - mean) / (waveforms.var(1, keepdim=True, correction=0) + 1e-7).sqrt()


@dataclass(frozen=True, kw_only=True)
class TransformersEncoderConfig:
    """Configuration of an encoder of `transformers`.

    Args:
        model: configuration of the network as a dictionary, `model_type` included.
        layer: number of the layer whose output is the features, counted from 1; None for the last.
        normalize: whether to standardise waveforms, as most of these networks were trained with.
    """

    model: dict[str, Any]
    layer: int | None = None
    normalize: bool = True


class TransformersEncoder(ForeignEncoder):
    """Encoder of `transformers`: wav2vec 2.0, HuBERT, WavLM and similar networks.

    Folders of networks may hold a layer that is counted from the end, -1 for the last, or 0 for the input of the first.
    """

    config_class = TransformersEncoderConfig

    def __init__(self, config: TransformersEncoderConfig) -> None:
        """Build the network with random weights.

        Raises:
            ValueError: if the network has no such layer.
        """
        from transformers import AutoConfig, AutoModel

        settings = dict(config.model)
        described = AutoConfig.for_model(settings.pop("model_type"), **settings)
        convolutions = list(zip(described.conv_kernel, described.conv_stride, strict=True))
        super().__init__(int(described.hidden_size), convolutions)
        layer, count = config.layer, int(described.num_hidden_layers)
        if layer is not None and -count <= layer + 1 <= 0:
            layer += count + 1
        if layer != 0:
            check_layer(layer, count)
        self.config = replace(config, layer=layer)
        self.network = AutoModel.from_config(described)
        avoid_wrong_convolutions(self.network)

    def scaled(self, waveforms: Tensor) -> Tensor:
        """Standardise waveforms (B, S) if the network was trained so."""
        return standardized(waveforms) if self.config.normalize else waveforms

    def row(self, waveforms: Tensor) -> Tensor:
        """Compute features (B, T, D) of scaled waveforms (B, S) without padding."""
        found = self.network(waveforms, output_hidden_states=self.config.layer is not None)
        features: Tensor = (
            found.last_hidden_state if self.config.layer is None else found.hidden_states[self.config.layer]
        )
        return features


@dataclass(frozen=True, kw_only=True)
class TorchaudioEncoderConfig:
    """Configuration of an encoder of torchaudio.

    Args:
        model: arguments of `torchaudio.models.wav2vec2_model` as a dictionary.
        layer: number of the layer whose output is the features, counted from 1; None for the last.
        normalize: whether to apply layer norm to waveforms; each bundle of torchaudio says which it needs.
    """

    model: dict[str, Any]
    layer: int | None = None
    normalize: bool = False


class TorchaudioEncoder(ForeignEncoder):
    """Encoder of torchaudio's bundles: wav2vec 2.0, HuBERT and similar networks."""

    config_class = TorchaudioEncoderConfig

    def __init__(self, config: TorchaudioEncoderConfig) -> None:
        """Build the network with random weights.

        Raises:
            ValueError: if the network has no such layer.
        """
        from torchaudio.models import wav2vec2_model

        check_layer(config.layer, int(config.model["encoder_num_layers"]))
        layers = config.model["extractor_conv_layer_config"]
        super().__init__(int(config.model["encoder_embed_dim"]), [(kernel, stride) for _, kernel, stride in layers])
        self.config = config
        self.network = wav2vec2_model(**config.model)
        avoid_wrong_convolutions(self.network)

    def scaled(self, waveforms: Tensor) -> Tensor:
        """Apply layer norm to waveforms (B, S) if the network was trained so."""
        return torch.nn.functional.layer_norm(waveforms, waveforms.shape[-1:]) if self.config.normalize else waveforms

    def row(self, waveforms: Tensor) -> Tensor:
        """Compute features (B, T, D) of scaled waveforms (B, S) without padding."""
        return self.network.extract_features(waveforms, num_layers=self.config.layer)[0][-1]


@dataclass(frozen=True, kw_only=True)
class TransformersSource:
    """Source of the features of a pretrained network of `transformers`.

    Args:
        transformers: name of the network on the Hugging Face hub, or a folder.
        layer: number of the layer whose output is the features, counted from 1; None for the last.
        normalize: whether to standardise waveforms, as most of these networks were trained with.
    """

    transformers: str
    layer: int | None = None
    normalize: bool = True

    def build(self) -> TransformersEncoder:
        """Load the network; `transformers` downloads it where it is not in the cache.

        Raises:
            ValueError: if the network has no such layer.
        """
        from transformers import AutoConfig, AutoModel

        try:
            num_layers = int(AutoConfig.from_pretrained(self.transformers).num_hidden_layers)
            check_layer(self.layer, num_layers)
            network = AutoModel.from_pretrained(self.transformers, dtype=torch.float32)
        except WRONG_VALUES as error:
            told = " ".join(str(error).split())
            raise ValueError(
                f"transformers must be the name or folder of an encoder, but {self.transformers} is not: {told}"
            ) from error
        network.config.apply_spec_augment = False  # it would mask stretches of audio, by a generator without a seed
        settings = network.config.to_diff_dict() | {"model_type": network.config.model_type}
        made = TransformersEncoder(
            TransformersEncoderConfig(model=settings, layer=self.layer, normalize=self.normalize)
        )
        made.network = network
        return made


@dataclass(frozen=True, kw_only=True)
class TorchaudioSource:
    """Source of the features of a pretrained network of torchaudio.

    Args:
        bundle: name of the bundle in `torchaudio.pipelines`, such as WAV2VEC2_BASE or HUBERT_BASE.
        layer: number of the layer whose output is the features, counted from 1; None for the last.
    """

    bundle: str
    layer: int | None = None

    def build(self) -> TorchaudioEncoder:
        """Load the network; torchaudio downloads the weights.

        Raises:
            ValueError: if torchaudio has no such bundle, or the network no such layer.
        """
        from torchaudio import pipelines

        bundle = getattr(pipelines, self.bundle, None)
        if not isinstance(bundle, pipelines.Wav2Vec2Bundle):
            raise ValueError(f"bundle must be a wav2vec 2.0 bundle of torchaudio.pipelines, but is {self.bundle!r}")
        settings = {**bundle._params, "aux_num_out": None}  # a bundle keeps its arguments nowhere else
        made = TorchaudioEncoder(
            TorchaudioEncoderConfig(model=settings, layer=self.layer, normalize=bundle._normalize_waveform)
        )
        network = bundle.get_model()
        network = getattr(network, "model", network)  # some bundles wrap the network to normalise waveforms
        weights = {name: value for name, value in network.state_dict().items() if not name.startswith("aux.")}
        made.network.load_state_dict(weights)
        return made
