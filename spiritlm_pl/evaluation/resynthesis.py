"""Measures of how much of the words survives units and vocoder, by speech recognisers.

Shapes: S samples.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spiritlm_pl.evaluation.recognition import SAMPLE_RATE, RecognitionScore, recognisers, recognition_score, said_words
from spiritlm_pl.f0.yin import f0_error
from spiritlm_pl.vocoder.mel import MelLoss


@dataclass(frozen=True, kw_only=True)
class Resynthesis:
    """Utterance to recognise: the original waveform (S,), its resynthesis (S',) and its transcript."""

    id: str
    text: str
    original: Tensor
    made: Tensor


@dataclass(frozen=True, kw_only=True)
class ResynthesisReport:
    """Figures that `evaluate_resynthesis` measured over all utterances."""

    num_utterances: int
    seconds: float
    mel_distance: float
    f0_error_semitones: float
    voicing_error: float
    recognition: dict[str, dict[str, RecognitionScore]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `recognition` has each recogniser's scores of originals and resyntheses."""
        plain = asdict(self)
        for recogniser, scores in self.recognition.items():
            for name, score in scores.items():
                plain["recognition"][recogniser][name]["word_accuracy"] = score.word_accuracy
        return plain


def evaluate_resynthesis(
    pairs: Sequence[Resynthesis],
    *,
    whisper_folder: str | Path | None = None,
    pocketsphinx: bool = True,
    language: str = "en",
    language_texts: Sequence[str] | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> ResynthesisReport:
    """Compare resynthesised utterances with their originals.

    Mel distance and F0 error compare aligned waveforms (the shorter length counts), so make them with the
    true durations; recognition also works with other durations, and is left out without transcripts.

    Args:
        pairs: utterances, each with original and resynthesis.
        whisper_folder: folder of a faster-whisper model; None not to use Whisper.
        pocketsphinx: whether to use this recogniser.
        language: language of the transcripts, which Whisper expects.
        language_texts: transcripts that the language model of pocketsphinx is estimated from; None for those of
            `pairs`.
        sample_rate: rate of all waveforms in Hz.

    Raises:
        ValueError: if there is nothing to recognise.
        ModuleNotFoundError: if `whisper_folder` is given and faster-whisper is not installed.
    """
    if not pairs:
        raise ValueError("pairs must hold at least one utterance, but is empty instead")
    mel = MelLoss(sample_rate)
    distances, semitones, voicings = [], [], []
    for pair in pairs:
        length = min(len(pair.original), len(pair.made))
        if length <= mel.log_mel.padding:
            continue
        original, made = pair.original[None, :length], pair.made[None, :length]
        distances.append(float(mel(made, original)))
        semitone, voicing = f0_error(made, original, sample_rate)
        semitones.append(float(semitone))
        voicings.append(float(voicing))
    said = [pair.text for pair in pairs]
    by_name = recognisers(
        (language_texts or said) if any(said_words(text, language) for text in said) else (),
        pocketsphinx=pocketsphinx,
        whisper_folder=whisper_folder,
        language=language,
        sample_rate=sample_rate,
    )
    return ResynthesisReport(
        num_utterances=len(pairs),
        seconds=sum(len(pair.original) for pair in pairs) / sample_rate,
        mel_distance=_mean(distances),
        f0_error_semitones=_mean(semitones),
        voicing_error=_mean(voicings),
        recognition={
            name: {
                "original": recognition_score(recogniser, ((pair.original, pair.text) for pair in pairs), language),
                "resynthesis": recognition_score(recogniser, ((pair.made, pair.text) for pair in pairs), language),
            }
            for name, recogniser in by_name.items()
        },
    )


def _mean(values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan
