"""Comparison of the melody of resyntheses and originals over pairs of utterances that differ only in prosody.

A pair is one text said by one speaker in two styles, such as high and low, or fast and slow. Units should be the same
for both; the F0 of resyntheses should differ as that of the originals does, which pitch and style codes must carry.

Shapes: S samples at 16 kHz, F F0 frames.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from torchaudio.functional import edit_distance

from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.evaluation.contours import Contour, extract_contour, joined, log_f0_correlation
from spiritlm_pl.evaluation.interval import Estimate, mean_estimate, ratio_estimate
from spiritlm_pl.evaluation.recognition import normalise
from spiritlm_pl.evaluation.resyntheses import ORIGINAL, Resynthesis
from spiritlm_pl.evaluation.stored_speech import style_of
from spiritlm_pl.evaluation.tables import Figures, cell
from spiritlm_pl.f0.frames import F0Extractor

ALL = "all pairs"
CENTS = 1200.0  # an octave
ALIKE = 20.0  # percent; units that differ by less between different texts do not tell them apart any more


@dataclass(frozen=True)
class ProsodyPair:
    """Two utterances of one text by one speaker in two styles, in alphabetical order of the styles."""

    first: UnitUtterance
    second: UnitUtterance

    @property
    def contrast(self) -> str:
        """Names of both styles."""
        return f"{style_of(self.first)} / {style_of(self.second)}"


@dataclass(frozen=True, kw_only=True)
class FollowedF0:
    """Figures of how the F0 of one vocoder's resyntheses follows that of the originals.

    Attributes:
        difference_cents: mean difference in mean log F0 in cents, first style minus second; for all pairs, its absolute
            value.
        followed: difference as a share of that of the originals, by least squares over pairs; 1 follows in full, 0 not
            at all.
        correlation: correlation of log F0 with that of the original within an utterance, as mean over the utterances.
        pair_correlation: correlation of log F0 over both utterances of a pair together, as mean over pairs.
    """

    difference_cents: Estimate | None
    followed: Estimate | None
    correlation: Estimate | None
    pair_correlation: Estimate | None


@dataclass(frozen=True, kw_only=True)
class ContrastFigures:
    """Figures of the pairs of two styles, or of all pairs.

    Attributes:
        num_pairs: number of pairs that were compared.
        unit_edit_distance: edit distance between deduplicated units, in percent of their mean length.
        systems: F0 figures of "original" (only its difference) and of each vocoder, by name.
    """

    num_pairs: int
    unit_edit_distance: Estimate | None
    systems: Mapping[str, FollowedF0]


@dataclass(frozen=True, kw_only=True)
class ProsodyReport:
    """Figures of all contrasts.

    Attributes:
        contrasts: figures by the names of both styles, and those of "all pairs".
        other_texts: unit edit distance of different texts by one speaker in one style, as a scale for the other
            figures.
    """

    contrasts: Mapping[str, ContrastFigures]
    other_texts: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self, title: str = "", notes: Sequence[str] = ()) -> Figures:
        """Build a table with rows for each contrast, of the originals and of each vocoder."""
        columns = (
            *("styles", "pairs", "units differ, %", "speech"),
            *("F0 differs, cents", "followed", "correlation", "of pairs"),
        )
        rows = []
        for contrast, figures in self.contrasts.items():
            first = [contrast, str(figures.num_pairs), cell(figures.unit_edit_distance, ".1f")]
            for name, one in figures.systems.items():
                shares = (cell(value, ".2f") for value in (one.followed, one.correlation, one.pair_correlation))
                rows.append([*first, name, cell(one.difference_cents, ".0f"), *shares])
                first = [""] * 3
        ends = [
            "followed: share of the originals' difference in F0, 1 in full, 0 not at all",
            "F0 differs: of each contrast with its sign, of all pairs its size",
            "correlation: of log F0 with the original's, within an utterance, and over both of a pair together",
            f"units of different texts by one speaker in one style differ by {cell(self.other_texts, '.1f')} %",
        ]
        if self.other_texts is not None and self.other_texts.value < ALIKE:
            ends.append("so these units hardly depend on what is said, and that they agree says nothing")
        return Figures(title, columns, rows, [*notes, *ends])


def find_pairs(utterances: Iterable[UnitUtterance], contrasts: Sequence[tuple[str, str]] = ()) -> list[ProsodyPair]:
    """Find all pairs of one text by one speaker in two styles; a repeated style counts once.

    Args:
        utterances: utterances with texts, speakers and styles.
        contrasts: pairs of styles to compare; empty for all.

    Raises:
        ValueError: if there is no such pair.
    """
    said: dict[tuple[str, str], dict[str, UnitUtterance]] = defaultdict(dict)
    for utterance in utterances:
        text, style = normalise(utterance.text), style_of(utterance)
        if text and style and utterance.speaker and utterance.num_frames:
            said[utterance.speaker, text].setdefault(style, utterance)
    wanted = {tuple(sorted(contrast)) for contrast in contrasts}
    known = {style for styles in said.values() for style in styles}
    for style in sorted({style for contrast in wanted for style in contrast} - known):
        raise ValueError(f"contrasts must be of the styles {', '.join(sorted(known))}, but one is {style} instead")
    pairs = [
        ProsodyPair(styles[first], styles[second])
        for styles in said.values()
        for first, second in combinations(sorted(styles), 2)
        if not wanted or (first, second) in wanted
    ]
    if not pairs:
        asked = "two styles" if not wanted else " or ".join(" and ".join(names) for names in sorted(wanted))
        raise ValueError(
            f"units must hold one text by one speaker in {asked}, but no pair is among the "
            f"{len(said)} texts with a style: take a larger split or other contrasts"
        )
    return pairs


def unit_difference(first: UnitUtterance, second: UnitUtterance) -> tuple[float, float]:
    """Return the edits between deduplicated units, and the mean of their lengths."""
    return edit_distance(first.units.tolist(), second.units.tolist()), (len(first.units) + len(second.units)) / 2


def other_text_distance(utterances: Iterable[UnitUtterance]) -> Estimate | None:
    """Return the unit edit distance, in percent, of utterances to the next other text by the same speaker and style."""
    groups: dict[tuple[str, str], list[UnitUtterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.speaker:
            groups[utterance.speaker, style_of(utterance)].append(utterance)
    found = [
        unit_difference(one, other)
        for members in groups.values()
        for one, other in zip(members, members[1:], strict=False)
        if normalise(one.text) != normalise(other.text)
    ]
    return ratio_estimate([edits for edits, _ in found], [length for _, length in found], 100.0)


def pair_contours(
    resyntheses: Iterable[Resynthesis], extractor: F0Extractor, device: str = "cpu"
) -> dict[str, dict[str, Contour]]:
    """Extract the F0 of originals and resyntheses, by utterance and then by system."""
    return {
        resynthesis.tokens.id: {
            name: extract_contour(extractor, waveform.to(device)) for name, waveform in resynthesis.waveforms().items()
        }
        for resynthesis in resyntheses
    }


def prosody_report(
    pairs: Sequence[ProsodyPair], contours: Mapping[str, Mapping[str, Contour]], other_texts: Estimate | None = None
) -> ProsodyReport:
    """Compute the figures of pairs.

    Args:
        pairs: pairs that `find_pairs` returned.
        contours: contours that `pair_contours` returned for the utterances of the pairs.
        other_texts: distance that `other_text_distance` returned.
    """
    groups: dict[str, list[ProsodyPair]] = {ALL: list(pairs)}
    for pair in sorted(pairs, key=lambda pair: pair.contrast):
        groups.setdefault(pair.contrast, []).append(pair)
    return ProsodyReport(
        contrasts={name: _figures(members, contours, name == ALL) for name, members in groups.items()},
        other_texts=other_texts,
    )


def _figures(
    pairs: Sequence[ProsodyPair], contours: Mapping[str, Mapping[str, Contour]], of_all: bool
) -> ContrastFigures:
    edits, lengths = zip(*(unit_difference(pair.first, pair.second) for pair in pairs), strict=True)
    ids = list(dict.fromkeys(one.id for pair in pairs for one in (pair.first, pair.second)))
    differences = {
        system: [_difference(contours[pair.first.id][system], contours[pair.second.id][system]) for pair in pairs]
        for system in contours[ids[0]]
    }
    systems = {}
    for system, found in differences.items():
        sizes = [None if one is None else abs(one) for one in found] if of_all else found
        both = [(a, b) for a, b in zip(found, differences[ORIGINAL], strict=True) if a is not None and b is not None]
        made = system != ORIGINAL
        systems[system] = FollowedF0(
            difference_cents=mean_estimate(sizes),
            followed=ratio_estimate([a * b for a, b in both], [b * b for _, b in both]) if made else None,
            correlation=mean_estimate(
                [log_f0_correlation(contours[name][system], contours[name][ORIGINAL]) for name in ids if made]
            ),
            pair_correlation=mean_estimate([_of_pair(pair, contours, system) for pair in pairs if made]),
        )
    return ContrastFigures(
        num_pairs=len(pairs), unit_edit_distance=ratio_estimate(edits, lengths, 100.0), systems=systems
    )


def _difference(first: Contour, second: Contour) -> float | None:
    """Return the cents between the mean log F0 of two utterances; None if one has too few voiced frames."""
    above, below = first.mean_log(), second.mean_log()
    return None if above is None or below is None else CENTS * (above - below)


def _of_pair(pair: ProsodyPair, contours: Mapping[str, Mapping[str, Contour]], system: str) -> float | None:
    """Return the correlation over both utterances, concatenated."""
    both = [contours[one.id] for one in (pair.first, pair.second)]
    aligned = [min(len(found[system].hertz), len(found[ORIGINAL].hertz)) for found in both]
    made, original = (
        joined([found[name].first(frames) for found, frames in zip(both, aligned, strict=True)])
        for name in (system, ORIGINAL)
    )
    return log_f0_correlation(made, original)
