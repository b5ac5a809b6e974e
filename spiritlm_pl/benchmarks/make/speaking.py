"""Speech whose samples depend on its text and voice alone, at one level and with as much silence around it.

Shapes: S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spiritlm_pl.corpora.audio import SAMPLE_RATE, to_mono
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.synthetic.espeak import Voice, new_speaker, speaker
from spiritlm_pl.corpora.synthetic.spoken import DEFAULT_VOICES, check_speed, check_voices
from spiritlm_pl.corpora.text.transcripts import spoken_words, unreadable

LEVEL = 0.06  # root mean square of every file; eSpeak's peaks are 5 to 10 times that
PEAK = 0.95
MARGIN = 0.03  # seconds of silence kept before and after the speech
QUIET = 0.02  # share of the peak below which the ends count as silence
VARIANTS = ("", "+f2", "+m3")
MORE_VARIANTS = ("", "+m3", "+m7", "+f1", "+f2", "+f4")  # of both sexes, more than one of each


@dataclass(frozen=True, eq=False)
class Utterance:
    """Speech of one text.

    Attributes:
        waveform: samples (S,) at 16 kHz, of the common level.
        words: words with their times in seconds.
    """

    waveform: Tensor
    words: Sequence[Word]


def say(text: str, voice: Voice) -> Utterance:
    """Say a text; the same text and voice always give the same samples.

    Raises:
        ValueError: if there is nothing to say, no such voice, or the voice is silent.
    """
    with new_speaker() as one:
        spoken = one.speak(text, voice)
    waveform = to_mono(torch.from_numpy(spoken.samples).float()[None] / 32768, spoken.sample_rate)
    peak = float(waveform.abs().max()) if len(waveform) else 0.0
    if peak < QUIET:
        raise ValueError(f"text must be one that voice {voice.name} says aloud, but it is silent for {text!r} instead")
    loud = (waveform.abs() > QUIET * peak).nonzero()
    first, last = int(loud[0]), int(loud[-1]) + 1
    margin = round(MARGIN * SAMPLE_RATE)
    trimmed = torch.nn.functional.pad(waveform[first:last], (margin, margin))
    shift = (margin - first) / SAMPLE_RATE
    length = len(trimmed) / SAMPLE_RATE
    words = [
        replace(word, start=max(0.0, word.start + shift), end=min(length, word.end + shift)) for word in spoken.words
    ]
    return Utterance(to_level(trimmed), words)


def to_level(waveform: Tensor) -> Tensor:
    """Scale a waveform (S,) to the common level, or to less if it would be clipped."""
    scale = LEVEL / float(waveform.square().mean().sqrt())
    return waveform * min(scale, PEAK / float(waveform.abs().max()))


def choose_voices(
    language: str | None, names: Sequence[str] | None, speed: int, variants: Sequence[str] = VARIANTS
) -> tuple[Voice, ...]:
    """Choose the voices of a benchmark, trying each once.

    Args:
        language: language as eSpeak NG names it, such as de or pt-br; None for that of the voices, else English.
        names: names of voices, such as de+f2; None for variants of the language's own voice.
        speed: rate of speech in words a minute, 80 to 450.
        variants: variants of the language's voice to take if no names are given.

    Raises:
        ValueError: if the language or a voice is not known, a voice is of another language or named twice, or the speed
            is out of range.
    """
    check_speed(speed)
    if names is None:
        base = "en-us" if language in (None, "en") else str(language)
        _check_language(base)
        names = [base + variant for variant in variants]
        if base == "en-us" and tuple(variants) == VARIANTS:
            names = list(DEFAULT_VOICES)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"voices must be different ones, but are {', '.join(names) or 'none'} instead")
    check_voices(names)
    voices = tuple(Voice(name, speed) for name in names)
    for voice in voices:
        if language is not None and voice.language != language.partition("-")[0]:
            raise ValueError(f"voices must be of language {language}, but one is {voice.name} instead")
    if len({voice.language for voice in voices}) > 1:
        raise ValueError(f"voices must be of one language, but are {', '.join(names)} instead")
    return voices


def _check_language(language: str) -> None:
    wrong = ValueError(
        f"language must be one that eSpeak NG speaks, such as en, de or pt-br, but is {language!r} instead"
    )
    if "+" in language:
        raise wrong
    try:
        speaker().set_voice(Voice(language))
    except ValueError as error:
        raise wrong from error


def check_sayable(text: str, language: str, where: str) -> None:
    """Raise a ValueError if a text has no words, or signs or numbers that have no certain reading.

    Args:
        text: text to be said, as written.
        language: language of the text.
        where: file or list that holds the text, for the error.
    """
    unknown = unreadable(text, language)
    if unknown is not None:
        raise ValueError(f"{where} must be in words, but {text!r} has {unknown!r} instead")
    if not spoken_words(text, language=language):
        raise ValueError(f"{where} must have words to say, but holds {text!r} instead")
