"""Classifiers of style and speaker: trained style encoders (`tokenizers.style`).

A classifier of styles labels utterances; a classifier of speakers gives features by which voices are compared.

Shapes: S samples, D feature dimension, N utterances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from torchaudio.functional import resample

from spiritlm_pl.evaluation.interval import Estimate, mean_estimate
from spiritlm_pl.runtime.checkpoint import load_network
from spiritlm_pl.tokenizers.style import STAGE, StyleEncoder

MOST_PAIRED = 2000  # limit of utterances, since the number of pairs grows with their square


class VoiceClassifier:
    """Classifier that labels waveforms with a trained network.

    Args:
        network: trained style encoder, with or without a classifier.
        sample_rate: rate of the waveforms in Hz.
    """

    def __init__(self, network: StyleEncoder, sample_rate: int = 16_000) -> None:
        """Keep the network in evaluation mode."""
        self.network = network.eval()
        self.sample_rate = sample_rate

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that the network tells apart."""
        return tuple(self.network.config.labels)

    @torch.no_grad()
    def features(self, waveform: Tensor) -> Tensor:
        """Return the features (D,) of a whole waveform (S,), on the CPU."""
        return self._features(waveform).cpu()

    @torch.no_grad()
    def label(self, waveform: Tensor) -> str:
        """Return the likeliest label of a waveform (S,)."""
        return self.labels[int(self.network.classify(self._features(waveform)).argmax())]

    def _features(self, waveform: Tensor) -> Tensor:
        device = next((weight.device for weight in self.network.parameters()), torch.device("cpu"))
        waveform = resample(waveform.to(device), self.sample_rate, self.network.sample_rate)
        features, counts = self.network(waveform[None], torch.tensor([len(waveform)], device=device))
        return self.network.utterances(features, counts)[0]


def load_classifier(
    argument: str, folder: str | Path, target: Literal["style", "speaker"], device: str = "cpu"
) -> VoiceClassifier:
    """Load a classifier of style or speaker from the folder of an exported network.

    Args:
        argument: name of the argument that gives the folder, for errors.
        folder: folder of an exported network that `StyleModule` trained.
        target: kind of labels that the network must tell apart: "style" or "speaker".
        device: device that the network computes on.

    Raises:
        ValueError: if the folder holds another network, one without a classifier, or a classifier of other labels.
    """
    try:
        network = load_network(folder, STAGE, device)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error
    if not isinstance(network, StyleEncoder) or not network.config.labels:
        raise ValueError(f"{argument} must be a network that tells labels apart, but {folder} has no labels instead")
    told = network.config.target
    if told not in (target, None):
        raise ValueError(f"{argument} must be a network that tells {target}s apart, but {folder} tells {told}s apart")
    return VoiceClassifier(network)


def similarity(first: Tensor, second: Tensor) -> float:
    """Return the cosine of the angle between features (D,) and (D,)."""
    return float(cosine_similarity(first.double(), second.double(), dim=0))


@dataclass(frozen=True)
class SimilarityScale:
    """Scale for similarities of voices: their means over pairs of originals.

    Attributes:
        same_speaker: mean similarity of two utterances of one speaker, with its interval over utterances; None if no
            speaker has two.
        different_speakers: mean similarity of utterances of two speakers; None if there is only one speaker.
    """

    same_speaker: Estimate | None
    different_speakers: Estimate | None


def similarity_scale(voices: Sequence[tuple[Tensor, str]]) -> SimilarityScale:
    """Compare all pairs of utterances, given as features (D,) and the speaker; at most the first 2000."""
    if not voices:
        return SimilarityScale(None, None)
    features, speakers = zip(*voices[:MOST_PAIRED], strict=True)
    unit = normalize(torch.stack(features).double(), dim=-1)
    cosines = unit @ unit.T  # (N, N)
    names = {speaker: index for index, speaker in enumerate(speakers)}
    number = torch.tensor([names[speaker] for speaker in speakers])
    same = number[:, None] == number
    others = ~torch.eye(len(number), dtype=torch.bool)

    def mean(pairs: Tensor) -> Estimate | None:
        rows = [(cosines[row] * pairs[row]).sum() / count for row, count in enumerate(pairs.sum(1)) if count]
        return mean_estimate([float(row) for row in rows])

    return SimilarityScale(mean(same & others), mean(~same))
