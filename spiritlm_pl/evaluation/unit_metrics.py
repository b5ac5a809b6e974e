"""Measures of units: agreement with phones, use of the codebook, and stability under augmentation.

Phone purity and phone-normalised mutual information as in HuBERT (Hsu et al., 2021, section 4.3), the unit
edit distance of Gat et al. (2023). All are computed from counts, so that corpora of any size fit into memory.

Shapes: T frames, K units, L labels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lhotse import MonoCut
from torchaudio.functional import edit_distance

from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer, Units
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import Word, load_cuts, phone_alignment
from spiritlm_pl.corpora.splitting import spread_evenly
from spiritlm_pl.runtime.checkpoint import is_own_class
from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.tokenizers.augment import Augmentation
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer

SILENCE = "(silence)"


def frame_phones(phones: Sequence[Word], num_frames: int, frame_rate: float) -> list[str]:
    """Name the phone at the middle of each frame; time that no phone covers is silence."""
    names = [SILENCE] * num_frames
    for phone in phones:
        first = max(0, int(np.ceil(phone.start * frame_rate - 0.5)))
        end = min(num_frames, int(np.ceil(phone.end * frame_rate - 0.5)))
        names[first:end] = [phone.text] * max(0, end - first)
    return names


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """Figures of what units tell about labels, which may be phones, speakers or styles.

    Attributes:
        purity: share of the frames whose label is the most frequent one of their unit.
        cluster_purity: share of the frames whose unit is the most frequent one of their label.
        information: mutual information of labels and units, as a share of the labels' entropy, from 0 to 1.
    """

    purity: float
    cluster_purity: float
    information: float


def label_figures(joint: Mapping[tuple[str, int], int], num_units: int) -> LabelFigures:
    """Measure what units tell about labels.

    Args:
        joint: number of frames with each pair of label and unit; at least one pair.
        num_units: number of units, K.
    """
    names = sorted({label for label, _ in joint})
    index = {name: row for row, name in enumerate(names)}
    counts = np.zeros((max(1, len(names)), num_units))
    for (label, unit), count in joint.items():
        counts[index[label], unit] += count
    table = counts / max(1.0, counts.sum())  # (L, K) probabilities
    label_entropy = _entropy(table.sum(1))
    mutual = label_entropy + _entropy(table.sum(0)) - _entropy(table)
    return LabelFigures(
        purity=float(table.max(0).sum()),
        cluster_purity=float(table.max(1).sum()),
        information=mutual / max(label_entropy, 1e-9),
    )


@dataclass
class UnitStatistics:
    """Counts of units over utterances, and of units beside a label for each frame.

    Attributes:
        num_units: number of units, K.
        joint: number of frames with each pair of label and unit; empty where nothing was labelled.
        unit_counts: number of frames of each unit that occurs.
        runs: number of runs of equal units.
        seconds: length of all utterances.
    """

    num_units: int
    joint: dict[tuple[str, int], int] = field(default_factory=dict)
    unit_counts: dict[int, int] = field(default_factory=dict)
    runs: int = 0
    seconds: float = 0.0

    def add(self, units: Units, frame_rate: float, labels: Sequence[str] = ()) -> None:
        """Count one utterance.

        Args:
            units: units of the utterance, one for each frame.
            frame_rate: number of frames per second.
            labels: one label for each frame of the units; empty for an utterance that counts only for use and rate.
        """
        frames = units.frames().tolist()
        self.runs += len(units.values)
        self.seconds += len(frames) / frame_rate
        for unit in frames:
            self.unit_counts[unit] = self.unit_counts.get(unit, 0) + 1
        if labels:
            for pair in zip(labels, frames, strict=True):
                self.joint[pair] = self.joint.get(pair, 0) + 1

    def report(self) -> dict[str, float]:
        """Return the share of the codebook that is used, the perplexity of the units, and the units per second."""
        use = np.array([self.unit_counts.get(unit, 0) for unit in range(self.num_units)], dtype=float)
        share = use / max(1.0, use.sum())
        return {
            "codebook_use": float((use > 0).mean()),
            "perplexity": float(np.exp(_entropy(share))),
            "units_per_second": self.runs / max(self.seconds, 1e-9),
        }

    def told(self) -> LabelFigures | None:
        """Measure what the units tell about their labels; return None if no frame was labelled."""
        return label_figures(self.joint, self.num_units) if self.joint else None


def phone_figures(statistics: UnitStatistics) -> dict[str, float]:
    """Name the figures of units with phone labels as in the HuBERT paper; return no figures without phones."""
    told = statistics.told()
    if told is None:
        return {}
    return {"phone_purity": told.purity, "cluster_purity": told.cluster_purity, "pnmi": told.information}


def _entropy(probabilities: npt.NDArray[np.float64]) -> float:
    """Return the entropy in nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def unit_edit_distance(
    tokenizer: SpeechTokenizer,
    cuts: Iterable[MonoCut],
    augmentation: Callable[[torch.Tensor, torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]],
) -> float:
    """Measure the edits between deduplicated units of augmented and of clean audio, in percent of the clean units."""
    edits = total = 0
    for seed, cut in enumerate(cuts):
        waveform = load_waveform(cut, tokenizer.sample_rate)[None]
        lengths = torch.tensor([waveform.shape[1]])
        clean = tokenizer.encode(waveform, lengths)[0].values.tolist()
        other = tokenizer.encode(*augmentation(waveform, lengths, seed))[0].values.tolist()
        edits += edit_distance(clean, other)
        total += len(clean)
    return 100.0 * edits / max(1, total)


def unit_report(
    tokenizer: PhoneticTokenizer | str | Path,
    corpora: Sequence[str | Path],
    *,
    split: str = "validation",
    max_utterances: int = 200,
    augmented_utterances: int = 30,
) -> dict[str, float]:
    """Measure one tokenizer on held-out utterances.

    Args:
        tokenizer: tokenizer in memory, or its folder.
        corpora: corpus folders; purity and PNMI are measured on those with phones.
        split: split to measure on: train, validation or test.
        max_utterances: largest number of utterances of each corpus, spread evenly over it.
        augmented_utterances: number of utterances of each corpus for the edit distance; 0 not to measure it.

    Returns:
        codebook_use, perplexity, units_per_second over all corpora; phone_purity, cluster_purity, pnmi (the mean
        of corpora, since each has phones of its own; all these with `/name` for each corpus); speaker_pnmi
        (the same against speakers: lower is better); unit_edit_distance in percent.

    Raises:
        ValueError: if no corpus has utterances in this split, or the folder holds a tokenizer of another kind.
    """
    if not isinstance(tokenizer, PhoneticTokenizer):
        if is_own_class(tokenizer):
            raise ValueError(
                f"tokenizer must be made of features and a quantizer, whose units are measured, but {tokenizer} is of "
                "one class, such as a neural codec; `spiritlm evaluate codes` measures its tokens"
            )
        tokenizer = PhoneticTokenizer.load(tokenizer)
        prepare(tokenizer, "cpu")
    everything = UnitStatistics(tokenizer.cardinality)
    speakers = UnitStatistics(tokenizer.cardinality)
    values: dict[str, float] = {}
    augmented: list[MonoCut] = []
    names = [Path(folder).name for folder in corpora]
    for folder in corpora:
        own = UnitStatistics(tokenizer.cardinality)
        cuts = spread_evenly(list(load_cuts(folder, split)), max_utterances)
        augmented += spread_evenly(cuts, augmented_utterances)
        for cut in cuts:
            waveform = load_waveform(cut, tokenizer.sample_rate)
            units = tokenizer.encode(waveform[None], torch.tensor([len(waveform)]))[0]
            if cut.supervisions[0].speaker:
                speakers.add(units, tokenizer.frame_rate, [cut.supervisions[0].speaker] * units.num_frames)
            everything.add(units, tokenizer.frame_rate)
            phones = phone_alignment(cut)
            labels = frame_phones(phones, units.num_frames, tokenizer.frame_rate) if phones else ()
            own.add(units, tokenizer.frame_rate, labels)
        own_name = Path(folder).name if names.count(Path(folder).name) == 1 else str(folder)
        values |= {f"{name}/{own_name}": value for name, value in (own.report() | phone_figures(own)).items()}
    if not everything.unit_counts:
        searched = ", ".join(map(str, corpora))
        raise ValueError(f"corpora must hold utterances in split {split}, but there are none in {searched}")
    for name in ("phone_purity", "cluster_purity", "pnmi"):
        found = [value for key, value in values.items() if key.startswith(f"{name}/")]
        if found:
            values[name] = sum(found) / len(found)
    values = everything.report() | values
    of_speakers = speakers.told()
    if of_speakers is not None and len({speaker for speaker, _ in speakers.joint}) > 1:
        values["speaker_pnmi"] = of_speakers.information
    if augmented_utterances:
        augmentation = Augmentation(sample_rate=tokenizer.sample_rate)
        values["unit_edit_distance"] = unit_edit_distance(tokenizer, augmented, augmentation)
    return values


def unit_table(reports: Mapping[str, Mapping[str, float]]) -> list[dict[str, str | float]]:
    """Build a table with one row per tokenizer, in the order of `reports`, the baseline among them."""
    columns = [
        "codebook_use",
        "perplexity",
        "units_per_second",
        "phone_purity",
        "cluster_purity",
        "pnmi",
        "speaker_pnmi",
        "unit_edit_distance",
    ]
    return [
        {"tokenizer": name, **{column: values[column] for column in columns if column in values}}
        for name, values in reports.items()
    ]
