"""Synthesis of units, in which a continuation joins its prompt smoothly (arXiv 2402.05755, section 3.1).

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
    """Voice that speech is synthesised with.

    Attributes:
        speaker: name or id of the voice; None for the vocoder's default.
        style: name or id of the global style; None for the vocoder's default or for a vocoder without styles.
    """

    speaker: str | int | None = None
    style: str | int | None = None


@dataclass(frozen=True, eq=False)
class SpokenUnits:
    """Units to synthesise, with their pitch and style codes.

    Attributes:
        units: (R,) deduplicated phonetic units.
        pitches: (R,) pitch code of each unit, -1 for none.
        styles: (R,) style code of each unit, -1 for none.
    """

    units: Tensor
    pitches: Tensor
    styles: Tensor

    def after(self, start: int) -> "SpokenUnits":
        """Return the units from a position on."""
        return SpokenUnits(self.units[start:], self.pitches[start:], self.styles[start:])

    def joined(self) -> "SpokenUnits":
        """Merge adjacent runs of one unit, as when a continuation begins with the prompt's last unit."""
        first = torch.ones_like(self.units, dtype=torch.bool)
        first[1:] = self.units[1:] != self.units[:-1]
        return SpokenUnits(self.units[first], self.pitches[first], self.styles[first])


def spoken_units(tokens: Sequence[int], vocabulary: Vocabulary, vocoder: UnitVocoder) -> SpokenUnits:
    """Return the units in token ids, without repeats and those that the vocoder lacks, such as a CTC blank."""
    units, pitches, styles = speech_codes(tokens, vocabulary)
    known = units < vocoder.num_units
    return SpokenUnits(units[known], pitches[known], styles[known]).joined()


def device_of(network: object) -> torch.device:
    """Return the device of a network's weights; the CPU if it has none."""
    return next((weight.device for weight in getattr(network, "parameters", list)()), torch.device("cpu"))


def speak(vocoder: UnitVocoder, spoken: SpokenUnits, voice: Voice, durations: Tensor | None = None) -> Tensor:
    """Synthesise a waveform (S,); a Base vocoder ignores pitch and style."""
    pitches, styles = (spoken.pitches, spoken.styles) if vocoder.expressive else (None, None)
    return vocoder.synthesize(spoken.units, voice.speaker, durations, pitches, styles, voice.style)


@torch.inference_mode()
def speak_continuation(
    vocoder: UnitVocoder, spoken: SpokenUnits, num_prompt: int, voice: Voice, prompt_durations: Tensor | None = None
) -> Tensor:
    """Synthesise the continuation (S,) of a speech prompt; it is empty if it adds no unit.

    Args:
        vocoder: vocoder that makes the waveform.
        spoken: units of prompt and continuation together.
        num_prompt: number of units that belong to the prompt.
        voice: speaker and style of the speech.
        prompt_durations: (num_prompt,) number of frames of each of the prompt's units; predicted if None.
    """
    spoken = spoken.joined()
    if len(spoken.units) <= num_prompt:
        return torch.zeros(0)
    device = device_of(vocoder)
    durations = durations_from_log(vocoder.predict_log_durations(spoken.units[None].to(device)))[0].cpu()
    if prompt_durations is not None:
        durations[:num_prompt] = prompt_durations
    share = int(durations[:num_prompt].sum()) * vocoder.hop_length
    return speak(vocoder, spoken, voice, durations)[share:]
