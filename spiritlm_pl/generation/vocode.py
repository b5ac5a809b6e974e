"""Units to waveforms, so that a continuation sounds as one with its prompt (arXiv 2402.05755, section 3.1).

Where speech continues a speech prompt, both are spoken together and the prompt's share is cut off.

Shapes: R runs of equal units, S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiritlm_pl.contracts.vocoder import UnitVocoder
from spiritlm_pl.generation.stream import speech_codes
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.duration import durations_from_log


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how.

    Attributes:
        speaker: name or id of the voice; None for the vocoder's default.
        style: name or id of the global style, for a vocoder that has some; None for its default, and for others.
    """

    speaker: str | int | None = None
    style: str | int | None = None


@dataclass(frozen=True, eq=False)
class SpokenUnits:
    """What is to be spoken.

    Attributes:
        units: (R,) deduplicated.
        pitches: (R,) code of each unit, -1 where there is none.
        styles: (R,) as pitches.
    """

    units: Tensor
    pitches: Tensor
    styles: Tensor

    def after(self, start: int) -> "SpokenUnits":
        """Without what stands before a place."""
        return SpokenUnits(self.units[start:], self.pitches[start:], self.styles[start:])

    def joined(self) -> "SpokenUnits":
        """Runs that meet (a continuation that begins with the prompt's last unit) as one."""
        first = torch.ones_like(self.units, dtype=torch.bool)
        first[1:] = self.units[1:] != self.units[:-1]
        return SpokenUnits(self.units[first], self.pitches[first], self.styles[first])


def spoken_units(tokens: Sequence[int], vocabulary: Vocabulary, vocoder: UnitVocoder) -> SpokenUnits:
    """What is to be spoken of token ids: runs as one, without units that the vocoder lacks (the release's blank)."""
    units, pitches, styles = speech_codes(tokens, vocabulary)
    known = units < vocoder.num_units
    return SpokenUnits(units[known], pitches[known], styles[known]).joined()


def speak(vocoder: UnitVocoder, spoken: SpokenUnits, voice: Voice, durations: Tensor | None = None) -> Tensor:
    """Waveform (S,); a Base vocoder leaves pitch and style aside."""
    pitches, styles = (spoken.pitches, spoken.styles) if vocoder.expressive else (None, None)
    return vocoder.synthesize(spoken.units, voice.speaker, durations, pitches, styles, voice.style)


@torch.inference_mode()
def speak_continuation(
    vocoder: UnitVocoder, spoken: SpokenUnits, num_prompt: int, voice: Voice, prompt_durations: Tensor | None = None
) -> Tensor:
    """Waveform (S,) of the continuation of a speech prompt; empty if it adds no unit.

    Args:
        vocoder: speaks.
        spoken: prompt and continuation.
        num_prompt: units of the prompt.
        voice: who speaks.
        prompt_durations: (num_prompt,) frames of the prompt's units; predicted when not given.
    """
    spoken = spoken.joined()
    if len(spoken.units) <= num_prompt:
        return torch.zeros(0)
    device = next((p.device for p in getattr(vocoder, "parameters", list)()), torch.device("cpu"))
    durations = durations_from_log(vocoder.predict_log_durations(spoken.units[None].to(device)))[0].cpu()
    if prompt_durations is not None:
        durations[:num_prompt] = prompt_durations
    share = int(durations[:num_prompt].sum()) * vocoder.hop_length
    return speak(vocoder, spoken, voice, durations)[share:]
