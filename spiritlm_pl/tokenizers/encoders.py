"""Speech encoders of other libraries as frame features: wav2vec 2.0, HuBERT, WavLM and their kin.

Where the network normalises over time (group norm) padding would change the features, so utterances of different
lengths are computed one by one.

Shapes: B batch, S samples at 16 kHz, T frames, D feature dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

SAMPLE_RATE = 16_000  # of all these networks


class ForeignEncoder(nn.Module, ABC):
    """What both libraries share: normalisation, lengths, a layer; has gradients.

    Args:
        feature_dim: D.
        convolutions: kernel and stride of each, in samples of what comes before.
    """

    def __init__(self, feature_dim: int, convolutions: Sequence[tuple[int, int]]) -> None:
        """Work out the samples of a frame."""
        super().__init__()
        self.feature_dim = feature_dim
        self.hop_length, self.receptive_field = 1, 1
        for kernel, stride in convolutions:
            self.receptive_field += (kernel - 1) * self.hop_length
            self.hop_length *= stride

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return SAMPLE_RATE

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return SAMPLE_RATE / self.hop_length

    @abstractmethod
    def row(self, waveforms: Tensor) -> Tensor:
        """Features (B, T, D) of waveforms (B, S) without padding."""

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) and frames (B,) of waveforms (B, S) with lengths (B,)."""
        counts = ((lengths - self.receptive_field) // self.hop_length + 1).clamp(min=0)
        if len(lengths) and bool((lengths == waveforms.shape[1]).all()) and int(counts[0]):
            return self.row(waveforms), counts
        rows = [
            self.row(wave[None, :length])[0] if count else waveforms.new_zeros(0, self.feature_dim)
            for wave, length, count in zip(waveforms, lengths.tolist(), counts.tolist(), strict=True)
        ]
        return pad_sequence(rows, batch_first=True), counts


def standardized(waveforms: Tensor) -> Tensor:
    """Zero mean and unit variance of each row (B, S), as wav2vec 2.0's feature extractor does it."""
    mean = waveforms.mean(1, keepdim=True)
    return (waveforms - mean) / (waveforms.var(1, keepdim=True, correction=0) + 1e-7).sqrt()


@dataclass(frozen=True, kw_only=True)
class TransformersEncoderConfig:
    """A network of `transformers`.

    Args:
        model: its configuration as a dictionary, `model_type` included.
        layer: whose output is the features, from 1; None for the last.
        normalize: standardise waveforms, as most of these networks are trained with.
    """

    model: dict[str, Any]
    layer: int | None = None
    normalize: bool = True


class TransformersEncoder(ForeignEncoder):
    """Wav2vec 2.0, HuBERT, WavLM ... of `transformers`."""

    config_class = TransformersEncoderConfig

    def __init__(self, config: TransformersEncoderConfig) -> None:
        """Random weights."""
        from transformers import AutoConfig, AutoModel

        settings = dict(config.model)
        described = AutoConfig.for_model(settings.pop("model_type"), **settings)
        convolutions = list(zip(described.conv_kernel, described.conv_stride, strict=True))
        super().__init__(int(described.hidden_size), convolutions)
        self.config = config
        self.network = AutoModel.from_config(described)

    def row(self, waveforms: Tensor) -> Tensor:
        """Features (B, T, D) of waveforms (B, S) without padding."""
        waveforms = standardized(waveforms) if self.config.normalize else waveforms
        found = self.network(waveforms, output_hidden_states=self.config.layer is not None)
        features: Tensor = (
            found.last_hidden_state if self.config.layer is None else found.hidden_states[self.config.layer]
        )
        return features


@dataclass(frozen=True, kw_only=True)
class TorchaudioEncoderConfig:
    """A network of torchaudio.

    Args:
        model: arguments of `torchaudio.models.wav2vec2_model`.
        layer: whose output is the features, from 1; None for the last.
        normalize: apply layer norm to waveforms, as the bundle says.
    """

    model: dict[str, Any]
    layer: int | None = None
    normalize: bool = False


class TorchaudioEncoder(ForeignEncoder):
    """Wav2vec 2.0, HuBERT ... of torchaudio's bundles."""

    config_class = TorchaudioEncoderConfig

    def __init__(self, config: TorchaudioEncoderConfig) -> None:
        """Random weights."""
        from torchaudio.models import wav2vec2_model

        layers = config.model["extractor_conv_layer_config"]
        super().__init__(int(config.model["encoder_embed_dim"]), [(kernel, stride) for _, kernel, stride in layers])
        self.config = config
        self.network = wav2vec2_model(**config.model)

    def row(self, waveforms: Tensor) -> Tensor:
        """Features (B, T, D) of waveforms (B, S) without padding."""
        if self.config.normalize:
            waveforms = torch.nn.functional.layer_norm(waveforms, waveforms.shape[-1:])
        return self.network.extract_features(waveforms, num_layers=self.config.layer)[0][-1]


@dataclass(frozen=True, kw_only=True)
class TransformersSource:
    """Names a pretrained network of `transformers`.

    Args:
        transformers: name in its hub, or a folder.
        layer: whose output is the features, from 1; None for the last.
        normalize: standardise waveforms, as most of these networks are trained with.
    """

    transformers: str
    layer: int | None = None
    normalize: bool = True

    def build(self) -> TransformersEncoder:
        """Load it."""
        from transformers import AutoModel

        network = AutoModel.from_pretrained(self.transformers, dtype=torch.float32)
        network.config.apply_spec_augment = False  # masks of whole stretches, from a generator that nobody seeds
        settings = network.config.to_diff_dict() | {"model_type": network.config.model_type}
        made = TransformersEncoder(
            TransformersEncoderConfig(model=settings, layer=self.layer, normalize=self.normalize)
        )
        made.network = network
        return made


@dataclass(frozen=True, kw_only=True)
class TorchaudioSource:
    """Names a pretrained network of torchaudio.

    Args:
        bundle: name in `torchaudio.pipelines`, such as WAV2VEC2_BASE or HUBERT_BASE.
        layer: whose output is the features, from 1; None for the last.
    """

    bundle: str
    layer: int | None = None

    def build(self) -> TorchaudioEncoder:
        """Load it; torchaudio downloads the weights.

        Raises:
            ValueError: if there is no such bundle.
        """
        from torchaudio import pipelines

        bundle = getattr(pipelines, self.bundle, None)
        if not isinstance(bundle, pipelines.Wav2Vec2Bundle):
            raise ValueError(f"bundle must be a wav2vec 2.0 bundle of torchaudio.pipelines, but is {self.bundle!r}")
        settings = {**bundle._params, "aux_num_out": None}  # the arguments are kept nowhere else
        made = TorchaudioEncoder(
            TorchaudioEncoderConfig(model=settings, layer=self.layer, normalize=bundle._normalize_waveform)
        )
        network = bundle.get_model()
        network = getattr(network, "model", network)  # a wrapper normalises waveforms
        weights = {name: value for name, value in network.state_dict().items() if not name.startswith("aux.")}
        made.network.load_state_dict(weights)
        return made
