"""Report of how much of words, melody, style and voice survives the tokens, with its table.

The table is table 9 of Spirit LM (arXiv 2402.05755) transposed: a row for each measure, a column for each system.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from spiritlm_pl.evaluation.classifiers import SimilarityScale
from spiritlm_pl.evaluation.interval import Estimate
from spiritlm_pl.evaluation.resyntheses import ORIGINAL
from spiritlm_pl.evaluation.tables import Figures, cell, span

StyleMeasure = Literal["accuracy", "kept"]


@dataclass(frozen=True, kw_only=True)
class RecognitionFigures:
    """Figures of one recogniser, in percent."""

    word_error_rate: Estimate | None
    character_error_rate: Estimate | None


@dataclass(frozen=True, kw_only=True)
class SystemFigures:
    """Figures of the originals or of one vocoder; None stands for what cannot be measured.

    Attributes:
        bitrate: measured bitrate in bits per second.
        nominal_bitrate: bitrate without collapsing of runs, in bits per second.
        recognition: recognition figures by the name of the recogniser.
        f0_frame_error: share of frames whose voicing is wrong or whose F0 is more than 20 % off.
        voicing_error: share of frames whose voicing is wrong.
        f0_rmse_cents: root mean square error of F0 over frames voiced in both, in cents.
        f0_correlation: correlation of log F0 over frames voiced in both, as mean over utterances.
        style: share of utterances with the right style, in percent.
        style_gain: difference of `style` to the first vocoder over the same utterances, in percentage points.
        speaker_similarity: mean cosine similarity of the voice to the original.
    """

    bitrate: float | None = None
    nominal_bitrate: float | None = None
    recognition: Mapping[str, RecognitionFigures] = field(default_factory=dict)
    f0_frame_error: Estimate | None = None
    voicing_error: Estimate | None = None
    f0_rmse_cents: Estimate | None = None
    f0_correlation: Estimate | None = None
    style: Estimate | None = None
    style_gain: Estimate | None = None
    speaker_similarity: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class ExpressivityReport:
    """Figures of table 9 for one corpus.

    Attributes:
        num_utterances: number of utterances that were resynthesised.
        seconds: total length of these utterances in seconds.
        systems: figures of "original" and of each vocoder, by name.
        style_measure: "accuracy" against labels, or "kept", agreement with the label that the classifier gives the
            original, if there are no labels that it knows; None without a classifier of styles.
        styles: number of utterances for each label that the classifier knows; for "kept", for each label that it gave.
        unknown_styles: labels that the classifier does not know, which do not count.
        speaker_scale: similarities of voices among the originals; None without a classifier of speakers.
    """

    num_utterances: int
    seconds: float
    systems: Mapping[str, SystemFigures]
    style_measure: StyleMeasure | None
    styles: Mapping[str, int]
    unknown_styles: Sequence[str]
    speaker_scale: SimilarityScale | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self, title: str = "", notes: Sequence[str] = ()) -> Figures:
        """Build the table for readers.

        Args:
            title: title that names the measured corpus.
            notes: notes to put before those that follow from the figures.
        """
        rows = [self._row("bits a second", lambda one: one.bitrate, ".0f")]
        rows.append(self._row("... of all frames", lambda one: one.nominal_bitrate, ".0f"))
        names = list(next(iter(self.systems.values())).recognition)
        vocoders = [name for name in self.systems if name != ORIGINAL]
        if not names:
            rows.append(self._row("words heard wrong (WER), %", lambda one: None))
        for name in names:
            rows.append(self._row(f"words heard wrong (WER), %, {name}", _wer(name), ".1f"))
        rows += [
            self._row("F0 frame error", lambda one: one.f0_frame_error, ".2f"),
            self._row("voicing error", lambda one: one.voicing_error, ".2f"),
            self._row("F0 RMSE, cents", lambda one: one.f0_rmse_cents, ".0f"),
            self._row("correlation of log F0", lambda one: one.f0_correlation, ".2f"),
            self._row(STYLE_ROWS[self.style_measure], lambda one: one.style, ".1f"),
        ]
        if len(vocoders) > 1:
            rows.append(self._row(f"... points more than {vocoders[0]}", lambda one: one.style_gain, "+.1f"))
        rows.append(self._row("speaker similarity", lambda one: one.speaker_similarity, ".2f"))
        return Figures(title, ("measure", *self.systems, "utterances"), rows, [*notes, *self._notes()])

    def _row(self, name: str, pick: Callable[[SystemFigures], Estimate | float | None], form: str = ".3g") -> list[str]:
        found = [pick(one) for one in self.systems.values()]
        counts = [one.count for one in found if isinstance(one, Estimate)]
        if not counts and any(one is not None for one in found):
            counts = [self.num_utterances]
        return [name, *(cell(one, form) for one in found), span(counts)]

    def _notes(self) -> list[str]:
        notes = []
        if self.style_measure is not None:
            total = sum(self.styles.values())
            commonest = max(self.styles, key=lambda style: self.styles[style])
            of = "labels" if self.style_measure == "accuracy" else "the classifier's labels of the originals"
            notes.append(f"style: {total} {of}, {100 * self.styles[commonest] / total:.1f} % of them {commonest}")
        if self.unknown_styles:
            notes.append(f"the classifier of style does not know {', '.join(self.unknown_styles)}: not counted")
        if self.speaker_scale is not None:
            same, other = self.speaker_scale.same_speaker, self.speaker_scale.different_speakers
            notes.append(
                f"speaker similarity of two originals: {cell(same, '.2f')} of one speaker, "
                f"{cell(other, '.2f')} of different ones"
            )
        return notes


STYLE_ROWS: dict[StyleMeasure | None, str] = {
    "accuracy": "style told right, %",
    "kept": "style kept (no labels), %",
    None: "style told right, %",
}


def _wer(name: str) -> Callable[[SystemFigures], Estimate | None]:
    return lambda one: one.recognition[name].word_error_rate
