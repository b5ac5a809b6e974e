"""Style features: a speech encoder, averaged over seconds (Spirit LM, arXiv 2402.05755, section 3.2).

Fine-tuned to tell expressive styles apart, the encoder loses information about the speaker. Clusters of the averages
are the style codes. The published release has a faster tokenizer, an encoder with a classifier over these clusters.

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
    """Configuration of an encoder and the layers after it.

    Args:
        encoder: type of the encoder: a registered name of frame features (hubert, transformers, torchaudio, mfcc,
            prosody), or the path of a class whose only argument is a dataclass, its `config_class`.
        settings: arguments of the encoder's configuration.
        projection_dim: size of the output of a linear layer after the encoder; 0 leaves the layer out.
        normalize: whether to scale the averages to length 1, as the search for clusters among them expects.
        labels: names of the classes that the classifier tells apart; empty for an encoder without a classifier.
        target: attribute of utterances that the labels are values of; None where it was not recorded.
    """

    encoder: str
    settings: dict[str, Any]
    projection_dim: int = 256
    normalize: bool = True
    labels: tuple[str, ...] = ()
    target: Literal["style", "speaker"] | None = None

    def __post_init__(self) -> None:
        """Check that the type of the encoder is known."""
        check_name("features", self.encoder, "encoder")


class StyleEncoder(nn.Module):
    """Feature extractor with one feature vector per second; the last one of an utterance may cover less."""

    config_class = StyleEncoderConfig

    def __init__(self, config: StyleEncoderConfig, encoder: nn.Module | None = None) -> None:
        """Store a pretrained encoder, or build one with random weights, and the layers after it.

        Args:
            config: type and settings of the encoder, and of the layers after it.
            encoder: pretrained encoder; None builds one from the configuration.
        """
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
        """Build a style encoder on top of a pretrained encoder; of a style encoder, only its own encoder is taken.

        Args:
            encoder: pretrained feature extractor, or style encoder.
            options: further arguments of `StyleEncoderConfig`.
        """
        encoder = encoder.encoder if isinstance(encoder, StyleEncoder) else encoder
        name = name_of("features", type(encoder))
        return cls(StyleEncoderConfig(encoder=name, settings=asdict(encoder.config), **options), encoder)

    @property
    def feature_dim(self) -> int:
        """Size of a feature vector, D."""
        return self.config.projection_dim or int(self.encoder.feature_dim)

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return int(self.encoder.sample_rate)

    @property
    def frame_rate(self) -> float:
        """Number of feature vectors per second, in Hz."""
        return STYLE_RATE

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, Y, D) and their number (B,) from waveforms (B, S) with lengths (B,).

        Audio that is too short for a frame of the encoder is padded with silence, so that all audio has a style.
        """
        shortest = round(2 * self.sample_rate / self.encoder.frame_rate)
        waveforms = pad(waveforms, (0, max(0, shortest - waveforms.shape[1])))
        frames, counts = self.encoder(waveforms, lengths.clamp(min=shortest))
        means, numbers = block_means(self.projection(frames), counts, round(self.encoder.frame_rate / STYLE_RATE))
        numbers = numbers.minimum(-(-lengths // self.sample_rate))  # some encoders give one frame too many
        return normalize(means, dim=-1) if self.config.normalize else means, numbers

    def utterances(self, features: Tensor, counts: Tensor) -> Tensor:
        """Average features (B, Y, D) over the seconds of each utterance (B, D)."""
        valid = within(counts, features.shape[1])[..., None]
        return (features * valid).sum(1) / counts.clamp(min=1)[:, None]

    def classify(self, features: Tensor) -> Tensor:
        """Compute scores (..., L) of features (..., D)."""
        assert self.head is not None, "a classifier has labels"
        scores: Tensor = self.head(features)
        return scores


@dataclass(frozen=True, kw_only=True)
class StyleFeatures:
    """Source of the features of a trained style encoder.

    Args:
        style: folder of an exported network of stage "style".
    """

    style: str

    def build(self) -> StyleEncoder:
        """Load the encoder."""
        network = load_network(self.style, STAGE)
        assert isinstance(network, StyleEncoder)
        return network


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """Source of the features that a tokenizer's folder holds, such as those of an imported published tokenizer.

    Args:
        features: folder of stage "features", such as SPEECH_TOKENIZER/extractor.
    """

    features: str

    def build(self) -> nn.Module:
        """Load the feature extractor."""
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
