"""Measures of how much of words, melody, style and voice survives the tokens (arXiv 2402.05755, table 9).

Recordings are resynthesised from their tokens with the true durations. Recognisers measure what is lost of the words,
F0 what is lost of the melody, a classifier of styles what is lost of the style, and a classifier of speakers how
similar the voice is. Originals are measured in the same way.

Shapes: S samples at 16 kHz, F F0 frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from spiritlm_pl.evaluation.classifiers import VoiceClassifier, similarity, similarity_scale
from spiritlm_pl.evaluation.codes import CodeStatistics, kind_sizes, nominal_bitrate
from spiritlm_pl.evaluation.contours import Contour, contour_errors, extract_contour, log_f0_correlation
from spiritlm_pl.evaluation.expressivity_report import (
    ExpressivityReport,
    RecognitionFigures,
    StyleMeasure,
    SystemFigures,
)
from spiritlm_pl.evaluation.interval import Estimate, mean_estimate, ratio_estimate, share_estimate
from spiritlm_pl.evaluation.recognition import Heard, Recogniser, hear
from spiritlm_pl.evaluation.resyntheses import ORIGINAL, Resynthesis
from spiritlm_pl.evaluation.stored_speech import style_of
from spiritlm_pl.evaluation.voice_encoders import VoiceEncoder
from spiritlm_pl.f0.frames import F0Extractor
from spiritlm_pl.runtime.older_names import look_up_older_names
from spiritlm_pl.streams import SpeechLayout

PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class ExpressivityModels:
    """Recognisers, classifiers and the F0 extractor that measure resyntheses and originals.

    Attributes:
        extractor: extractor of F0 from waveforms.
        recognisers: recognisers of the words, by name.
        style: classifier of styles; None if style is not measured.
        speaker: classifier of speakers, or another encoder of voices; None if voices are not compared.
        device: device that F0 is extracted on.
        language: language of the transcripts, such as en.
    """

    extractor: F0Extractor
    recognisers: Mapping[str, Recogniser] = field(default_factory=dict)
    style: VoiceClassifier | None = None
    speaker: VoiceEncoder | None = None
    device: str = "cpu"
    language: str = "en"


@dataclass(frozen=True, kw_only=True)
class WaveformFigures:
    """What was measured of one waveform.

    Attributes:
        heard: words that each recogniser heard, by its name; None without a transcript.
        contour: F0 contour of the waveform.
        style: label that the classifier of styles gave; None without that classifier.
        voice: features that the classifier of speakers gave; None without that classifier.
    """

    heard: Mapping[str, Heard | None]
    contour: Contour
    style: str | None
    voice: Tensor | None


class Expressivity:
    """Measurement of resyntheses and their originals, one after another.

    Args:
        models: recognisers and classifiers that all waveforms are given to.
        layout: streams of the tokenizer that made the tokens.
        expressive: whether each vocoder, by its name, is given pitch and style.
    """

    def __init__(self, models: ExpressivityModels, layout: SpeechLayout, expressive: Mapping[str, bool]) -> None:
        """Start without any figures."""
        self.models, self.expressive = models, expressive
        self.tokens = CodeStatistics(layout)
        self.measured: dict[str, list[WaveformFigures]] = {name: [] for name in (ORIGINAL, *expressive)}
        self.styles: list[str] = []
        self.speakers: list[str] = []

    def add(self, resynthesis: Resynthesis) -> dict[str, Contour]:
        """Measure one resynthesis, and return the F0 contours of the original and of each vocoder."""
        self.tokens.add(resynthesis.tokens)
        self.styles.append(style_of(resynthesis.tokens))
        self.speakers.append(resynthesis.tokens.speaker)
        for name, waveform in resynthesis.waveforms().items():
            self.measured[name].append(measure_waveform(waveform, resynthesis.text, self.models))
        return {name: measured[-1].contour for name, measured in self.measured.items()}

    def report(self) -> ExpressivityReport:
        """Compute the report over all resyntheses.

        Raises:
            ValueError: if nothing was added.
        """
        originals = self.measured[ORIGINAL]
        if not originals:
            raise ValueError("resyntheses must be at least one, but are none instead")
        measure, wanted = self._wanted_styles()
        known = [style for style in wanted if style is not None]
        first = next(iter(self.expressive), ORIGINAL)
        systems = {}
        for name, measured in self.measured.items():
            found = _recognised(measured) | _styled(measured, wanted, measure, name)
            if name != ORIGINAL:
                found |= _beside(measured, originals) | self._bitrates(self.expressive[name])
            if name not in (ORIGINAL, first):
                found["style_gain"] = _style_gain(measured, self.measured[first], wanted)
            systems[name] = SystemFigures(**found)
        known_voices = [
            (measured.voice, speaker)
            for measured, speaker in zip(originals, self.speakers, strict=True)
            if measured.voice is not None and speaker
        ]
        return ExpressivityReport(
            num_utterances=len(originals),
            seconds=self.tokens.seconds,
            systems=systems,
            style_measure=measure,
            styles={style: known.count(style) for style in sorted(set(known))},
            unknown_styles=sorted(set(self.styles) - set(self._known_styles()) - {""}) if measure else [],
            speaker_scale=similarity_scale(known_voices) if self.models.speaker else None,
        )

    def _known_styles(self) -> tuple[str, ...]:
        return () if self.models.style is None else self.models.style.labels

    def _wanted_styles(self) -> tuple[StyleMeasure | None, list[str | None]]:
        """Return the style that each utterance should be recognised as; None if it is not known."""
        if self.models.style is None:
            return None, [None] * len(self.styles)
        known = self._known_styles()
        if any(style in known for style in self.styles):
            return "accuracy", [style if style in known else None for style in self.styles]
        return "kept", [measured.style for measured in self.measured[ORIGINAL]]

    def _bitrates(self, expressive: bool) -> dict[str, float]:
        layout = self.tokens.layout
        return {
            "bitrate": self.tokens.bitrate(kind_sizes(layout) if expressive else ["units"]),
            "nominal_bitrate": nominal_bitrate(layout, expressive),
        }


def measure_waveform(waveform: Tensor, text: str, models: ExpressivityModels) -> WaveformFigures:
    """Measure words, F0, style and voice of a waveform (S,)."""
    ears = models.recognisers.items()
    return WaveformFigures(
        heard={name: hear(recogniser, waveform, text, models.language) for name, recogniser in ears},
        contour=extract_contour(models.extractor, waveform.to(models.device)),
        style=None if models.style is None else models.style.label(waveform),
        voice=None if models.speaker is None else models.speaker.features(waveform),
    )


def _recognised(measured: Sequence[WaveformFigures]) -> dict[str, Any]:
    figures = {}
    for name in measured[0].heard:
        found = [heard for one in measured if (heard := one.heard[name]) is not None]
        words, letters = [len(heard.said.split()) for heard in found], [len(heard.said) for heard in found]
        figures[name] = RecognitionFigures(
            word_error_rate=ratio_estimate([heard.word_edits() for heard in found], words, PERCENT),
            character_error_rate=ratio_estimate([heard.character_edits() for heard in found], letters, PERCENT),
        )
    return {"recognition": figures}


def _styled(
    measured: Sequence[WaveformFigures], wanted: Sequence[str | None], measure: StyleMeasure | None, name: str
) -> dict[str, Any]:
    if measure == "kept" and name == ORIGINAL:
        return {}
    right = [one.style == style for one, style in zip(measured, wanted, strict=True) if style is not None]
    return {"style": share_estimate(right, PERCENT)}


def _style_gain(
    measured: Sequence[WaveformFigures], first: Sequence[WaveformFigures], wanted: Sequence[str | None]
) -> Estimate | None:
    """Return how many percentage points more utterances have the right style than with the first vocoder."""
    return mean_estimate(
        [
            PERCENT * ((one.style == style) - (other.style == style))
            for one, other, style in zip(measured, first, wanted, strict=True)
            if style is not None
        ]
    )


def _beside(measured: Sequence[WaveformFigures], originals: Sequence[WaveformFigures]) -> dict[str, Any]:
    """Measure F0 errors and voice similarity between a resynthesis and its original."""
    pairs = list(zip(measured, originals, strict=True))
    errors = [contour_errors(one.contour, original.contour) for one, original in pairs]
    frames = [float(error.frames) for error in errors]
    cents, both = [float(error.squared_cents) for error in errors], [float(error.both_voiced) for error in errors]
    return {
        "f0_frame_error": ratio_estimate([float(error.voicing + error.gross) for error in errors], frames),
        "voicing_error": ratio_estimate([float(error.voicing) for error in errors], frames),
        "f0_rmse_cents": ratio_estimate(cents, both, through=np.sqrt),
        "f0_correlation": mean_estimate([log_f0_correlation(one.contour, original.contour) for one, original in pairs]),
        "speaker_similarity": mean_estimate(
            [
                None if one.voice is None or original.voice is None else similarity(one.voice, original.voice)
                for one, original in pairs
            ]
        ),
    }


look_up_older_names(__name__)
