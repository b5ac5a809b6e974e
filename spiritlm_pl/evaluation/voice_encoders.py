"""Encoders of voices: features of a waveform whose cosine tells how alike two voices sound.

A speaker encoder of `transformers` (WavLM or wav2vec 2.0 with an x-vector head) or a classifier of speakers of this
package knows voices from many speakers. The long-term average spectrum needs no network.

Shapes: S samples, D feature dimension, M mel bands, F frames.
"""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torchaudio.functional import resample

from spiritlm_pl.evaluation.classifiers import load_classifier
from spiritlm_pl.runtime.checkpoint import CONFIG_FILE
from spiritlm_pl.runtime.checksums import read_object
from spiritlm_pl.runtime.foreign_models import UNREADABLE
from spiritlm_pl.runtime.found import lacks
from spiritlm_pl.vocoder.mel import LogMel

SHORTEST = 0.5  # seconds; shorter waveforms are repeated, since x-vector heads need some frames
QUIET = 40 / 8.685889638  # nepers (40 dB) below the loudest frame, from where a frame counts as a pause


class VoiceEncoder(Protocol):
    """Encoder of whole waveforms as features of the voice."""

    def features(self, waveform: Tensor) -> Tensor:
        """Return the features (D,) of a waveform (S,), on the CPU."""
        ...


class LongTermSpectrum:
    """Long-term average spectrum: the mean log-mel spectrum of a waveform without its pauses and its loudness.

    The cosine of two of them is their correlation. It compares timbre, and with it the microphone and the room; it does
    not know what makes a speaker, and F0 is no part of it.

    Args:
        sample_rate: rate of the waveforms in Hz.
    """

    def __init__(self, sample_rate: int = 16_000) -> None:
        """Build the spectrogram."""
        self.log_mel = LogMel(sample_rate)

    @torch.no_grad()
    def features(self, waveform: Tensor) -> Tensor:
        """Return the features (M,) of a waveform (S,); zeros for one that is too short."""
        if len(waveform) <= self.log_mel.padding:
            return torch.zeros(self.log_mel.mel.n_mels)
        frames = self.log_mel(waveform.cpu()[None])[0]  # (M, F)
        loudness = frames.logsumexp(0)
        mean = frames[:, loudness >= loudness.max() - QUIET].mean(1)
        return mean - mean.mean()


class SpeakerEmbedding:
    """Speaker encoder of `transformers` with an x-vector head.

    Args:
        folder: folder of the encoder, such as a copy of `microsoft/wavlm-base-plus-sv`.
        device: device that it computes on.
        sample_rate: rate of the waveforms in Hz.

    Raises:
        ValueError: if the folder holds no such encoder.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu", sample_rate: int = 16_000) -> None:
        """Load network and feature extractor."""
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        try:
            self.extractor: Any = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            network: Any = AutoModelForAudioXVector.from_pretrained(folder, local_files_only=True)
        except UNREADABLE as error:
            raise ValueError(
                f"speaker_encoder must be a folder of transformers with an x-vector head, but {folder} cannot be "
                f"loaded: {error}"
            ) from error
        self.network = network.to(device).eval()
        self.sample_rate = sample_rate

    @torch.no_grad()
    def features(self, waveform: Tensor) -> Tensor:
        """Return the embedding (D,) of a waveform (S,)."""
        rate = int(self.extractor.sampling_rate)
        samples = resample(waveform.cpu().float(), self.sample_rate, rate)
        while 0 < len(samples) < SHORTEST * rate:
            samples = samples.repeat(2)
        inputs = self.extractor(samples.numpy(), sampling_rate=rate, return_tensors="pt")
        embeddings: Tensor = self.network(**inputs.to(self.network.device)).embeddings
        return embeddings[0].float().cpu()


def load_voice_encoder(argument: str, folder: str | Path, device: str | torch.device = "cpu") -> VoiceEncoder:
    """Load an encoder of voices: a speaker encoder of `transformers`, or a classifier of speakers of this package.

    Args:
        argument: name of the argument that gives the folder, for errors.
        folder: folder of the network.
        device: device that it computes on.

    Raises:
        ValueError: if the folder holds neither.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{argument} must be a folder with {CONFIG_FILE}, but {lacks(folder)}")
    if "stage" in read_object(path):
        return load_classifier(argument, folder, "speaker", str(device))
    return SpeakerEmbedding(folder, device)
