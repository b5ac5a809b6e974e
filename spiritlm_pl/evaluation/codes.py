"""Statistics of speech tokens: bitrate, use and entropy of codebooks, and information on style and speaker.

Tokens are counted as a language model sees them: runs of equal units and of equal pitch codes are one token, style
codes are not collapsed. The measured bitrate is tokens per second times log2 of the codebook's size (Spirit LM, arXiv
2402.05755, table 9); the nominal bitrate is that without collapsing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.unit_corpus import UnitCorpus, common_layout
from spiritlm_pl.evaluation.stored_speech import style_of, token_stream
from spiritlm_pl.evaluation.tables import NOTHING, Figures
from spiritlm_pl.evaluation.unit_metrics import label_figures
from spiritlm_pl.streams import SpeechLayout

LABELS = ("style", "speaker")
TOLD = tuple(f"of_{what}" for what in LABELS)


def kind_sizes(layout: SpeechLayout) -> dict[str, int]:
    """Return the number of codes of each stream, over all its codebooks, by the name of its column in shards."""
    return {stream.plural: stream.num_tokens for stream in layout.streams}


def kind_bits(layout: SpeechLayout) -> dict[str, float]:
    """Return the bits of a token of each stream, which are log2 of the size of its codebook."""
    return {stream.plural: math.log2(stream.size) for stream in layout.streams}


def nominal_bitrate(layout: SpeechLayout, expressive: bool = True) -> float:
    """Return the bits per second of all frames, of all streams or, for Base, of the first one."""
    rates = nominal_bitrates(layout)
    return sum(rates.values()) if expressive else rates[layout.first.plural]


def nominal_bitrates(layout: SpeechLayout) -> dict[str, float]:
    """Return the bits per second of all frames, for each stream."""
    return {
        stream.plural: layout.rate(stream.name) * stream.num_codebooks * math.log2(stream.size)
        for stream in layout.streams
    }


@dataclass
class CodeStatistics:
    """Counts of the tokens in utterances.

    Attributes:
        layout: streams of the tokenizer that made the tokens.
        counts: number of occurrences of each value, for each kind of token.
        labelled: the same counts for each label, by "style" and "speaker".
        seconds: total length of the speech in seconds.
        utterances: number of utterances that were counted.
    """

    layout: SpeechLayout
    counts: dict[str, Counter[int]] = field(default_factory=dict)
    labelled: dict[tuple[str, str], Counter[tuple[str, int]]] = field(default_factory=dict)
    seconds: float = 0.0
    utterances: int = 0

    def add(self, utterance: UnitUtterance) -> None:
        """Count one utterance; without a style or a speaker it is left out only of the counts by that label."""
        stream = token_stream(utterance, self.layout, self.layout.expressive)
        self.seconds += utterance.num_frames / self.layout.frame_rate
        self.utterances += 1
        for place, kind in enumerate(kind_sizes(self.layout)):
            values = stream.values[stream.streams == place].tolist()
            self.counts.setdefault(kind, Counter()).update(values)
            for what, label in (("style", style_of(utterance)), ("speaker", utterance.speaker)):
                if label:
                    pairs = self.labelled.setdefault((kind, what), Counter())
                    pairs.update((label, value) for value in values)

    def bitrate(self, kinds: Iterable[str]) -> float:
        """Return the measured bits per second of some kinds of tokens."""
        bits_of = kind_bits(self.layout)
        bits = sum(self.counts[kind].total() * bits_of[kind] for kind in kinds)
        return bits / self.seconds

    def report(self) -> dict[str, Any]:
        """Return plain values for JSON; see `code_report`."""
        sizes = kind_sizes(self.layout)
        return {
            "utterances": self.utterances,
            "seconds": self.seconds,
            "tokens_per_second": sum(counts.total() for counts in self.counts.values()) / self.seconds,
            "bitrate": self.bitrate(sizes),
            "bitrate_of_units": self.bitrate([self.layout.first.plural]),
            "nominal_bitrate": nominal_bitrate(self.layout),
            "kinds": {kind: self._kind(kind, size) for kind, size in sizes.items()},
        }

    def _kind(self, kind: str, size: int) -> dict[str, Any]:
        counts = self.counts[kind]
        stream = self.layout.streams[list(kind_sizes(self.layout)).index(kind)]
        # Tokens of several codebooks also tell which codebook they are of, which is no information.
        rate, entropy = counts.total() / self.seconds, entropy_bits(counts) - math.log2(stream.num_codebooks)
        found: dict[str, Any] = {
            "size": size,
            "tokens": counts.total(),
            "tokens_per_second": rate,
            "bitrate": rate * kind_bits(self.layout)[kind],
            "nominal_bitrate": nominal_bitrates(self.layout)[kind],
            "used": len(counts),
            "use": len(counts) / size,
            "entropy_bits": entropy,
            "perplexity": 2**entropy,
        }
        for what in LABELS:
            pairs = self.labelled.get((kind, what), Counter())
            if len({label for label, _ in pairs}) > 1:
                found[f"of_{what}"] = told_by_codes(pairs, size)
        return found


def entropy_bits(counts: Counter[int]) -> float:
    """Return the entropy of a distribution in bits."""
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values()) + 0.0


def told_by_codes(pairs: Counter[tuple[str, int]], size: int) -> dict[str, Any]:
    """Measure how much information codes give about labels.

    Returns:
        A dictionary of purity, the share of tokens whose label is the most frequent one of their code; commonest, the
        purity of codes that are independent of the labels; information, the mutual information of labels and codes
        divided by the entropy of the labels, from 0 to 1; and the number of labels and tokens.
    """
    figures = label_figures(pairs, size)
    labels: Counter[str] = Counter()
    for (label, _), count in pairs.items():
        labels[label] += count
    return {
        "labels": len(labels),
        "tokens": pairs.total(),
        "purity": figures.purity,
        "commonest": max(labels.values()) / pairs.total(),
        "information": figures.information,
    }


def code_report(*corpora: UnitCorpus) -> dict[str, Any]:
    """Measure use and bitrate of the codes in one split of tokenised corpora, all together.

    Returns:
        A dictionary of utterances, seconds, tokens_per_second, bitrate (bits per second after deduplication),
        bitrate_of_units (that of units alone), nominal_bitrate (before deduplication), and kinds. The last has, for
        units, pitches and styles, size, tokens, tokens_per_second, bitrate, nominal_bitrate, used (number of used
        codes), use (their share), entropy_bits and perplexity. If the utterances have at least two styles or speakers,
        it also has of_style or of_speaker, each as `told_by_codes` returns it.

    Raises:
        ValueError: if the corpora hold no tokens, or were made by different tokenizers.
    """
    statistics = CodeStatistics(common_layout(corpora))
    for utterance in chain(*corpora):
        if utterance.num_frames:
            statistics.add(utterance)
    if not statistics.utterances:
        folders = ", ".join(str(corpus.folder) for corpus in corpora)
        raise ValueError(f"units must hold utterances with tokens, but there are none in {folders}")
    return statistics.report()


def code_table(reports: Mapping[str, dict[str, Any]], title: str = "") -> Figures:
    """Build a table with a row for each tokenised corpus and each kind of token, from reports by name."""
    columns = ("corpus", "kind", "tokens/s", "bits/s", "all frames", "used", "entropy", "style", "speaker")
    rows = []
    for name, report in reports.items():
        short = Path(name).name
        all_kinds = [
            f"{report['tokens_per_second']:.1f}",
            f"{report['bitrate']:.0f}",
            f"{report['nominal_bitrate']:.0f}",
        ]
        rows.append([short, "all", *all_kinds, *[NOTHING] * 4])
        for kind, found in report["kinds"].items():
            told = [f"{100 * found[what]['information']:.0f}" if what in found else NOTHING for what in TOLD]
            rates = [f"{found['tokens_per_second']:.1f}", f"{found['bitrate']:.0f}", f"{found['nominal_bitrate']:.0f}"]
            use = f"{found['used']} of {found['size']}"
            rows.append(["", kind, *rates, use, f"{found['entropy_bits']:.2f}", *told])
    notes = [
        "all frames: bits/s without collapsing; entropy: bits of a token",
        "style, speaker: % of the labels' entropy that a token takes away",
    ]
    return Figures(title, columns, rows, notes)
