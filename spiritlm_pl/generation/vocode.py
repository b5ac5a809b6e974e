"""Units to waveforms, so that a continuation sounds as one with its prompt (arXiv 2402.05755, section 3.1).

Where speech continues a speech prompt, both are spoken together and the prompt's share is cut off.

Shapes: R runs of equal units, P units of the prompt, S samples.
"""

from typing import Protocol

import torch
from torch import Tensor

from spiritlm_pl.vocoder.duration import durations_from_log


class UnitVocoder(Protocol):
    """What is asked of a vocoder."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def hop_length(self) -> int:
        """Samples a frame."""

    def predict_log_durations(self, units: Tensor) -> Tensor:
        """Predict log(1 + d) (B, R) of deduplicated units (B, R)."""

    def synthesize(self, units: Tensor, speaker: str | int = 0, durations: Tensor | None = None) -> Tensor:
        """Speak (R,) deduplicated units lasting (R,) frames: (S,)."""


@torch.inference_mode()
def speak_continuation(
    vocoder: UnitVocoder, prompt: Tensor, units: Tensor, speaker: str | int = 0, prompt_durations: Tensor | None = None
) -> Tensor:
    """Waveform (S,) of the continuation of a speech prompt.

    Args:
        vocoder: speaks.
        prompt: (P,) units of the prompt.
        units: (R,) new units.
        speaker: name or id of the voice.
        prompt_durations: (P,) frames of the prompt's units; predicted when not given.
    """
    if len(prompt) and len(units) and int(prompt[-1]) == int(units[0]):
        units = units[1:]  # the run has begun in the prompt
    if not len(units):
        return torch.zeros(0)
    joined = torch.cat([prompt, units])
    device = next((p.device for p in getattr(vocoder, "parameters", list)()), torch.device("cpu"))
    durations = durations_from_log(vocoder.predict_log_durations(joined[None].to(device)))[0].cpu()
    if prompt_durations is not None:
        durations[: len(prompt)] = prompt_durations
    share = int(durations[: len(prompt)].sum()) * vocoder.hop_length
    return vocoder.synthesize(joined, speaker, durations)[share:]
