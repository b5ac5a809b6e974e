"""Sampling options of continuations, with the defaults of the paper (arXiv 2402.05755, appendix D)."""

import math
from dataclasses import dataclass

from spiritlm_pl.generation.types import OutputModality
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Modality

# Largest number of new tokens by direction.
TEXT_TOKENS = 50
TEXT_TO_SPEECH_TOKENS = 200
SPEECH_TOKENS = 300
MIN_SPEECH_UNITS = 25
PAPER_RATE = 25.0  # frames a second of the paper's units, Hz: 300 last 12 s, runs not counted


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Sampling options of continuations. The defaults are those of the paper (appendix D).

    Args:
        temperature: divisor of the logits; higher values give more varied answers.
        top_p: sample only from the likeliest tokens that together have this probability; 1 samples from all.
        top_k: sample only from this number of likeliest tokens; 0 samples from all.
        greedy: whether to take always the likeliest token instead of sampling.
        max_new_tokens: largest number of new tokens of any kind; None for 50 of text, 200 from text to speech, 300
            otherwise, and for other speech tokens than Spirit LM's for the tokens of 8 and of 12 seconds.
        seed: seed of the sampling; sample i of a prompt uses seed + i.
        num_samples: number of continuations of each prompt.
        batch_size: number of sequences that are continued together.
        min_speech_units: smallest number of units, or frames of a codec, of a new stretch of speech with output "any";
            shorter ones are dropped, see `decode_tokens`. None for 25, and for other speech tokens than Spirit LM's for
            the frames of a second.
        stop: texts that end an answer as soon as it holds one of them; the answer keeps it.
        ends_at_change: whether a token that opens another modality ends an answer of text or of speech, as at the next
            example of a prompt with several; else such tokens are banned there. Not for output "any".
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0
    greedy: bool = False
    max_new_tokens: int | None = None
    seed: int = 0
    num_samples: int = 1
    batch_size: int = 16
    min_speech_units: int | None = None
    stop: tuple[str, ...] = ()
    ends_at_change: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, but is {self.temperature} instead")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], but is {self.top_p} instead")
        for name, lowest in (("top_k", 0), ("seed", 0), ("num_samples", 1), ("batch_size", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {getattr(self, name)} instead")
        if self.greedy and self.num_samples > 1:
            raise ValueError(f"num_samples must be 1 with greedy, but is {self.num_samples} instead")
        for name, lowest in (("max_new_tokens", 1), ("min_speech_units", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {value} instead")
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise ValueError(f"stop must be texts that are not empty, but is {self.stop!r} instead")

    def limit(self, prompt: Modality, output: OutputModality, layout: SpeechLayout) -> int:
        """Return the largest number of new tokens.

        Args:
            prompt: modality in which the prompt ends.
            output: modality that may be generated.
            layout: streams of speech tokens that the model writes.
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if output == "text":
            return TEXT_TOKENS
        frames = TEXT_TO_SPEECH_TOKENS if output == "speech" and prompt is Modality.TEXT else SPEECH_TOKENS
        return frames_of_paper(frames, layout) * layout.tokens_per_frame

    def fewest_units(self, layout: SpeechLayout) -> int:
        """Return the fewest units, or frames of a codec, with which a stretch of an answer of "any" is kept.

        Args:
            layout: streams of speech tokens that the model writes.
        """
        if self.min_speech_units is not None:
            return self.min_speech_units
        return frames_of_paper(MIN_SPEECH_UNITS, layout)


def frames_of_paper(number: int, layout: SpeechLayout) -> int:
    """Return how many frames of a layout last as long as a number of frames of the paper's units.

    The number itself is returned for layouts of Spirit LM, whose units are counted as the paper does, and for layouts
    without a rate.
    """
    rate = layout.first.rate
    return number if layout.spirit_lm_sizes() is not None or rate is None else math.ceil(number * rate / PAPER_RATE)
