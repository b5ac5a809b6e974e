"""Style features: a speech encoder, averaged over seconds (Spirit LM, arXiv 2402.05755, section 3.2).

Fine-tuned to tell expressive styles apart, the encoder loses the speaker; clusters of the averages are the style
codes. An encoder with a classifier over these clusters is the faster tokenizer of the release.

Shapes: B batch, S samples, T frames, Y seconds, D feature dimension, L labels.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.contracts.speech_tokenizer import FeatureSource
from spiritlm_pl.registry import check_name, find, name_of
from spiritlm_pl.runtime.checkpoint import load_network
from spiritlm_pl.streams import STYLE_RATE
from spiritlm_pl.tokenizers.encoders import TorchaudioSource, TransformersSource
from spiritlm_pl.tokenizers.features import MFCCConfig, block_means
from spiritlm_pl.tokenizers.hubert import HubertLayer
from spiritlm_pl.tokenizers.prosody import ProsodyConfig

STAGE = "style"


@dataclass(frozen=True, kw_only=True)
class StyleEncoderConfig:
    """An encoder and what follows it.

    Args:
        encoder: its type, a registered name of frame features (hubert, transformers, torchaudio, mfcc, prosody), or the
            path of a class whose only argument is a dataclass, its `config_class`.
        settings: its configuration.
        projection_dim: features of a linear layer after the encoder; 0 for none.
        normalize: scale the averages to length one, as clusters are sought among them.
        labels: what the classifier tells apart; empty for none.
        target: what they are labels of; None where it was not recorded.
    """

    encoder: str
    settings: dict[str, Any]
    projection_dim: int = 256
    normalize: bool = True
    labels: tuple[str, ...] = ()
    target: Literal["style", "speaker"] | None = None

    def __post_init__(self) -> None:
        """Check the type."""
        check_name("features", self.encoder, "encoder")


class StyleEncoder(nn.Module):
    """Waveforms to one feature vector a second; the last one may stand for less."""

    config_class = StyleEncoderConfig

    def __init__(self, config: StyleEncoderConfig, encoder: nn.Module | None = None) -> None:
        """Random weights, or a pretrained encoder."""
        super().__init__()
        self.config = config
        kind = find("features", config.encoder, "encoder")
        settings = {name: tuple(v) if isinstance(v, list) else v for name, v in config.settings.items()}
        self.encoder: Any = kind(kind.config_class(**settings)) if encoder is None else encoder
        encoder_dim: Any = self.encoder.feature_dim
        width = int(encoder_dim)
        self.projection = nn.Linear(width, config.projection_dim) if config.projection_dim else nn.Identity()
        self.head = nn.Linear(config.projection_dim or width, len(config.labels)) if config.labels else None

    @classmethod
    def on(cls, encoder: Any, **options: Any) -> "StyleEncoder":
        """A style encoder on top of a pretrained one; of another style encoder what stands below its averages."""
        encoder = encoder.encoder if isinstance(encoder, StyleEncoder) else encoder
        name = name_of("features", type(encoder))
        return cls(StyleEncoderConfig(encoder=name, settings=asdict(encoder.config), **options), encoder)

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.config.projection_dim or int(self.encoder.feature_dim)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return int(self.encoder.sample_rate)

    @property
    def frame_rate(self) -> float:
        """Feature vectors a second."""
        return STYLE_RATE

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, Y, D) and their number (B,) of waveforms (B, S) with lengths (B,).

        Audio too short for a frame of the encoder is padded with silence, so that all audio has a style.
        """
        shortest = round(2 * self.sample_rate / self.encoder.frame_rate)
        waveforms = pad(waveforms, (0, max(0, shortest - waveforms.shape[1])))
        frames, counts = self.encoder(waveforms, lengths.clamp(min=shortest))
        means, numbers = block_means(self.projection(frames), counts, round(self.encoder.frame_rate / STYLE_RATE))
        numbers = numbers.minimum(-(-lengths // self.sample_rate))  # some encoders give a frame too many
        return normalize(means, dim=-1) if self.config.normalize else means, numbers

    def utterances(self, features: Tensor, counts: Tensor) -> Tensor:
        """Features (B, Y, D) averaged over the seconds of each utterance (B, D)."""
        valid = within(counts, features.shape[1])[..., None]
        return (features * valid).sum(1) / counts.clamp(min=1)[:, None]

    def classify(self, features: Tensor) -> Tensor:
        """Scores (..., L) of features (..., D)."""
        assert self.head is not None, "a classifier has labels"
        scores: Tensor = self.head(features)
        return scores


@dataclass(frozen=True, kw_only=True)
class StyleFeatures:
    """Names the features of a trained style encoder.

    Args:
        style: an exported network of stage "style".
    """

    style: str

    def build(self) -> StyleEncoder:
        """Load it."""
        network = load_network(self.style, STAGE)
        assert isinstance(network, StyleEncoder)
        return network


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """Names features as a tokenizer holds them, the published one's once it is imported.

    Args:
        features: a folder of stage "features", such as SPEECH_TOKENIZER/extractor.
    """

    features: str

    def build(self) -> nn.Module:
        """Load them."""
        return load_network(self.features, "features")


EncoderSource: TypeAlias = (
    HubertLayer
    | TransformersSource
    | TorchaudioSource
    | StoredFeatures
    | StyleFeatures
    | ProsodyConfig
    | MFCCConfig
    | FeatureSource
)
