"""Corpora of `spiritlm prepare` as STSP: utterances with a style, an emotion or a sentiment."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import MonoCut
from torch import Tensor

from spiritlm_pl.benchmarks.readers.files import listed
from spiritlm_pl.benchmarks.readers.word_cuts import cached_part, split_text
from spiritlm_pl.benchmarks.stsp.items import Direction, Side, reference_label
from spiritlm_pl.benchmarks.stsp.labels import LabelMap
from spiritlm_pl.benchmarks.stsp.samples import Collection, Sample, Shot
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import SAMPLE_RATE, AudioError, load_waveform
from spiritlm_pl.corpora.manifest import load_cuts, speaker_of, style_of, word_alignment
from spiritlm_pl.generation.types import Piece, Speech, Text

SPLITS = {"train": "train", "dev": "validation", "validation": "validation", "test": "test"}
MOST_SHOTS = 100  # of each label, from which shots are drawn


def read_corpus(
    folder: Path, direction: Direction, split: str, names: LabelMap, shots: bool, cache: Path
) -> Collection:
    """Read the utterances of a split that have a style, an emotion or a sentiment, and shots of the training split.

    Args:
        folder: corpus folder.
        direction: direction whose shots are made.
        split: train, dev (or validation) or test.
        names: map from styles, emotions or sentiments to labels.
        shots: whether shots are made.
        cache: folder for parts of recordings.

    Raises:
        ValueError: if the split is none, or no utterance of it has a label.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, but is {split!r} instead")
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    others: Counter[str] = Counter()
    for cut in load_cuts(folder, SPLITS[split]):
        label, told = _label(cut, names)
        source = cut.recording.sources[0].source
        if label is None:
            others[told] += 1
            skipped.append(Skipped(cut.id, source, f"{names.kind} must have a label, but is {told}"))
            continue
        audio, reason = _audio(cut, cache)
        text = (cut.supervisions[0].text or "").strip()
        samples.append(Sample(cut.id, cut.id, folder.resolve().name, label, text, audio, speaker_of(cut), reason))
    if not samples:
        told = listed(sorted(others)) or "no utterances"
        raise ValueError(
            f"{folder} must hold utterances in split {split} with a style, an emotion or a sentiment that has a label, "
            f"but has {told}: map them by --options '{{labels: {{NAME: positive}}}}'"
        )
    made = list(_shots(folder, direction, names, cache)) if shots else []
    return Collection(samples, "corpus", made, skipped)


def _label(cut: MonoCut, names: LabelMap) -> tuple[str | None, str]:
    told: dict[str, Any] = {"emotion": style_of(cut) or None} | dict(cut.supervisions[0].custom or {})
    return reference_label(told, names)


def _audio(cut: MonoCut, cache: Path) -> tuple[Path | None, str]:
    """Return the file of a cut, which is written to the cache if it is a part of a recording; or why there is none."""
    path = Path(cut.recording.sources[0].source)
    if cut.start == 0 and cut.duration == cut.recording.duration and cut.recording.num_channels == 1:
        return (path, "") if path.is_file() else (None, f"{path} is missing")
    try:
        return _part(cut, 0.0, cut.duration, cache), ""
    except (AudioError, OSError) as error:
        return None, str(error)


def _part(cut: MonoCut, start: float, end: float, cache: Path) -> Path:
    """Write seconds `start` to `end` of a cut to the cache, unless they are there."""

    def load() -> tuple[Tensor, int]:
        return load_waveform(cut)[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)], SAMPLE_RATE

    part = f"{cut.start:.4f} {cut.duration:.4f} {start:.4f} {end:.4f} {cut.channel}"
    return cached_part(Path(cut.recording.sources[0].source), part, cache, load)


def _shots(folder: Path, direction: Direction, names: LabelMap, cache: Path) -> Iterator[Shot]:
    """Yield training utterances in halves: between words if their times are known, else in the middle of the time."""
    counts: Counter[str] = Counter()
    for cut in load_cuts(folder, "train"):
        label, _ = _label(cut, names)
        text = (cut.supervisions[0].text or "").strip()
        count = len(text.split()) // 2
        if (
            label is None
            or counts[label] >= MOST_SHOTS
            or (count == 0 and "text" in (direction.prompt, direction.answer))
        ):
            continue
        words = word_alignment(cut)
        middle = cut.duration / 2
        if len(words) == len(text.split()) and count:
            middle = (words[count - 1].end + words[count].start) / 2
        first, second = split_text(text, count)
        try:
            yield Shot(
                _half(cut, direction.prompt, first, 0.0, middle, cache),
                _half(cut, direction.answer, second, middle, cut.duration, cache),
                label,
            )
        except (AudioError, OSError):  # another utterance does as well
            continue
        counts[label] += 1


def _half(cut: MonoCut, side: Side, text: str, start: float, end: float, cache: Path) -> Piece:
    return Text(text) if side == "text" else Speech(_part(cut, start, end, cache))
