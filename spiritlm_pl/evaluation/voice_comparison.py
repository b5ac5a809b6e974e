"""Comparison of a vocoder before and after it has learnt another voice, on held-out recordings of that voice.

Each recording is resynthesised from its units by both vocoders, so that every difference is one of the same sentence.
The interval of a change is that of these differences (bootstrap over sentences).

Shapes: S samples at 16 kHz.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from spiritlm_pl.evaluation.classifiers import similarity, similarity_scale
from spiritlm_pl.evaluation.contours import contour_errors, log_f0_correlation
from spiritlm_pl.evaluation.expressivity import ExpressivityModels, WaveformFigures, measure_waveform
from spiritlm_pl.evaluation.interval import Estimate, ratio_estimate
from spiritlm_pl.evaluation.resyntheses import ORIGINAL, Resynthesis
from spiritlm_pl.evaluation.tables import Figures, cell
from spiritlm_pl.vocoder.mel import MelLoss

BEFORE, AFTER = "before", "after"
Sums = tuple[float, float]  # a figure of one sentence as a part and its weight, such as wrong words and words


@dataclass(frozen=True, kw_only=True)
class Change:
    """One measure before and after.

    Attributes:
        better: whether "higher" or "lower" figures are better.
        form: format of the figure.
        before: figure of the vocoder before training.
        after: figure of the vocoder after training.
        change: mean difference, after minus before, of the same sentences.
        original: figure of the recordings themselves; None where it says nothing.
    """

    better: str
    form: str
    before: Estimate | None
    after: Estimate | None
    change: Estimate | None
    original: Estimate | None = None


@dataclass(frozen=True)
class VoiceReport:
    """Changes of all measures.

    Attributes:
        sentences: number of held-out sentences.
        seconds: their length in seconds.
        changes: changes by the names of their measures.
    """

    sentences: int
    seconds: float
    changes: Mapping[str, Change]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the values alone, by vocoder and measure, for a tracker."""
        pairs = [(name, change.before, change.after) for name, change in self.changes.items()]
        return {
            BEFORE: {name: before.value for name, before, _ in pairs if before is not None},
            AFTER: {name: after.value for name, _, after in pairs if after is not None},
        }

    def table(self, title: str, notes: Sequence[str] = ()) -> Figures:
        """Build the table for readers.

        Args:
            title: title that names the voice and the data.
            notes: notes below the table.
        """
        rows = [
            [
                f"{name} ({change.better} is better)",
                cell(change.before, change.form),
                cell(change.after, change.form),
                cell(change.change, "+" + change.form),
                cell(change.original, change.form),
            ]
            for name, change in self.changes.items()
        ]
        return Figures(title, ("measure", BEFORE, AFTER, "change", "recordings"), rows, notes)


class VoiceComparison:
    """Measurement of sentences that were spoken before and after, one after another.

    Args:
        models: recognisers, F0 extractor and encoder of voices.
        sample_rate: rate of the waveforms in Hz.
    """

    def __init__(self, models: ExpressivityModels, sample_rate: int = 16_000) -> None:
        """Start without any sentence."""
        self.models = models
        self.mel = MelLoss(sample_rate)
        self.sample_rate = sample_rate
        self.seconds = 0.0
        self.measured: dict[str, list[WaveformFigures]] = {ORIGINAL: [], BEFORE: [], AFTER: []}
        self.mels: dict[str, list[Sums]] = {BEFORE: [], AFTER: []}

    def add(self, resynthesis: Resynthesis) -> None:
        """Measure the original of one sentence, and what the vocoders "before" and "after" made of it."""
        self.seconds += len(resynthesis.original) / self.sample_rate
        for name, waveform in resynthesis.waveforms().items():
            self.measured[name].append(measure_waveform(waveform, resynthesis.text, self.models))
            if name != ORIGINAL:
                self.mels[name].append(self._mel(waveform, resynthesis.original))

    def _mel(self, made: Tensor, original: Tensor) -> Sums:
        length = min(len(made), len(original))
        if length <= self.mel.log_mel.padding:
            return 0.0, 0.0
        return float(self.mel(made[None, :length], original[None, :length])), 1.0

    def report(self) -> VoiceReport:
        """Return the changes over all sentences.

        Raises:
            ValueError: if there is no sentence.
        """
        originals = self.measured[ORIGINAL]
        if not originals:
            raise ValueError("held-out sentences must be at least one, but are none instead")
        changes: dict[str, Change] = {}
        for name in originals[0].heard:
            words, letters = ({key: heard(one, name, by) for key, one in self.measured.items()} for by in (True, False))
            changes[f"words heard wrong (WER), %, {name}"] = change(words, "lower", ".1f", 100.0)
            changes[f"letters heard wrong (CER), %, {name}"] = change(letters, "lower", ".1f", 100.0)
        made = {name: list(zip(self.measured[name], originals, strict=True)) for name in (BEFORE, AFTER)}
        for title, measure, better in (
            ("F0 frame error", f0_frame_error, "lower"),
            ("mean F0 off, semitones", mean_f0_off, "lower"),
            ("correlation of log F0", f0_correlation, "higher"),
        ):
            changes[title] = change({key: [measure(*pair) for pair in pairs] for key, pairs in made.items()}, better)
        changes["log-mel distance"] = change(self.mels, "lower")
        if self.models.speaker is not None:
            alike = change({key: [likeness(*pair) for pair in pairs] for key, pairs in made.items()}, "higher")
            voices = [(one.voice, "") for one in originals if one.voice is not None]
            changes["speaker similarity"] = replace(alike, original=similarity_scale(voices).same_speaker)
        return VoiceReport(len(originals), self.seconds, changes)


def change(found: Mapping[str, Sequence[Sums]], better: str, form: str = ".2f", scale: float = 1.0) -> Change:
    """Return figures and their change from what was measured of each sentence.

    Args:
        found: part and weight of each sentence, by vocoder; of the originals, too, where that says something.
        better: whether "higher" or "lower" figures are better.
        form: format of the figure.
        scale: factor of the figure, such as 100 for percent.
    """
    pairs = list(zip(found[BEFORE], found[AFTER], strict=True))
    weights = [before[1] if after[1] else 0.0 for before, after in pairs]  # a sentence weighs the same in both
    estimates = {name: ratio_estimate(*columns(sums), scale) for name, sums in found.items()}
    return Change(
        better=better,
        form=form,
        before=estimates[BEFORE],
        after=estimates[AFTER],
        change=ratio_estimate([after[0] - before[0] for before, after in pairs], weights, scale),
        original=estimates.get(ORIGINAL),
    )


def columns(sums: Sequence[Sums]) -> tuple[list[float], list[float]]:
    """Return parts and weights apart."""
    return [part for part, _ in sums], [weight for _, weight in sums]


def heard(measured: Sequence[WaveformFigures], recogniser: str, words: bool) -> list[Sums]:
    """Return the wrong words of each sentence and its words, or the same of letters."""
    found = []
    for one in measured:
        pair = one.heard[recogniser]
        if pair is None:
            found.append((0.0, 0.0))
        elif words:
            found.append((float(pair.word_edits()), float(len(pair.said.split()))))
        else:
            found.append((float(pair.character_edits()), float(len(pair.said))))
    return found


def f0_frame_error(made: WaveformFigures, original: WaveformFigures) -> Sums:
    """Return the frames whose voicing is wrong or whose F0 is more than 20 % off, and all frames."""
    errors = contour_errors(made.contour, original.contour)
    return float(errors.voicing + errors.gross), float(errors.frames)


def mean_f0_off(made: WaveformFigures, original: WaveformFigures) -> Sums:
    """Return the distance of the mean log F0 of a sentence in semitones; without weight if it is hardly voiced."""
    own, true = made.contour.mean_log(), original.contour.mean_log()
    return (0.0, 0.0) if own is None or true is None else (12 * abs(own - true), 1.0)


def f0_correlation(made: WaveformFigures, original: WaveformFigures) -> Sums:
    """Return the correlation of log F0; without weight if the sentence is hardly voiced."""
    found = log_f0_correlation(made.contour, original.contour)
    return (0.0, 0.0) if found is None else (found, 1.0)


def likeness(made: WaveformFigures, original: WaveformFigures) -> Sums:
    """Return the cosine similarity of the voice to that of the original."""
    if made.voice is None or original.voice is None:
        return 0.0, 0.0
    return similarity(made.voice, original.voice), 1.0
