"""Segments of units with their waveforms, and with pitch and style codes where the units have them; for vocoders.

Shapes: B batch, T frames, with `hop_length` samples each.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset

from spiritlm_pl.contracts.batches import UnitWaveformBatch
from spiritlm_pl.contracts.speech_tokenizer import exact_hop
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.corpora.manifest import UNKNOWN_SPEAKER, speaker_of, style_of
from spiritlm_pl.data.batching import Indices, Visit, fixed_batches, generator
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.flat_units import FlatUnits
from spiritlm_pl.data.frames import at_frames, unit_frames
from spiritlm_pl.datamodules.speech import Choice, SpeechDataModule
from spiritlm_pl.runtime.names import Rows
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout, differences

DEFAULT_STYLE = "default"  # style of an utterance without one


class UnitWaveformDataModule(SpeechDataModule):
    """Random segments for training, beginnings of whole utterances for validation.

    An utterance is visited as often as it has room for segments, so that every second counts equally.

    Args:
        corpora: folders of the corpora.
        units: folders of tokenised corpora with the units of the same utterances.
        speakers: names of the speakers in the order of their ids; None takes all of the training split, sorted.
        styles: names of global styles in the order of their ids. An utterance's style is its `custom["style"]`, or
            "default" where there is none. None for no global styles.
        segment_frames: number of frames in a training segment.
        batch_size: number of segments in a training batch.
        validation_frames: largest number of frames that are taken from a validation utterance.
        validation_batch_size: number of utterances in a validation batch.
        repeats: factor of the visits to every utterance in one epoch, or such a factor for each corpus by its name.
        sample_rate: sample rate of the waveforms, in Hz.
        min_seconds: duration in seconds below which utterances are left out of training and validation.
        max_seconds: duration in seconds above which utterances are left out of training and validation; None keeps all.
        limit_seconds: seconds of each corpus to use in training, in utterances chosen at random; None for all.
        seed: seed for shuffling and segments.
        num_workers: number of processes that read audio; 0 reads it in this process.
        tokenizer: folder of a speech tokenizer, with which `spiritlm fit` first makes the units, or what is missing of
            them; None for units that are there.
    """

    def __init__(
        self,
        corpora: list[str],
        units: list[str],
        speakers: list[str] | None = None,
        styles: list[str] | None = None,
        segment_frames: int = 32,
        batch_size: int = 16,
        validation_frames: int = 250,
        validation_batch_size: int = 8,
        repeats: int | dict[str, int] = 1,
        sample_rate: int = 16_000,
        min_seconds: float = 0.2,
        max_seconds: float | None = None,
        limit_seconds: float | None = None,
        seed: int = 0,
        num_workers: int = 0,
        tokenizer: str | None = None,
    ) -> None:
        """Store the settings; nothing is read before `setup`."""
        super().__init__(corpora, sample_rate, min_seconds, max_seconds, limit_seconds, seed, num_workers)
        self.units = units
        self.tokenizer = tokenizer
        self.speakers: tuple[str, ...] | None = None if speakers is None else tuple(speakers)
        self.styles = tuple(styles or ())
        self.segment_frames = segment_frames
        self.batch_size = batch_size
        self.validation_frames = validation_frames
        self.validation_batch_size = validation_batch_size
        self.repeats = repeats
        self.layout: SpeechLayout | None = None
        self.common_codes: tuple[int, int] | None = None  # most frequent pitch and style
        self.tokenizer_sha256: str | None = None  # fingerprint of the tokenizer of the units, where it is recorded
        self.hop_length: int | None = None
        self._units: dict[str, FlatUnits] = {}

    def setup(self, stage: str) -> None:
        """Read manifests, units and names of speakers, and find the most frequent codes of expressive training data.

        Raises:
            ValueError: if `speakers` or `styles` lacks a name that the data has.
        """
        super().setup(stage)
        if self.speakers is None:
            cuts = self.cuts["train"] if "train" in self.cuts else self._select("train")
            self.speakers = tuple(sorted(_names(cuts, "speaker", UNKNOWN_SPEAKER)))
        for split, members in self.cuts.items():
            check_known("speakers", self.speakers, _names(members, "speaker", UNKNOWN_SPEAKER), split)
            if self.styles:
                check_known("styles", self.styles, _names(members, "style", DEFAULT_STYLE), split)
        if self.layout is not None and self.layout.expressive and stage == "fit":
            units, rows = self._units["train"], self._units["train"].rows_of(self.cuts["train"])
            pitch, style = (int(np.argmax(units.code_counts(rows, name))) for name in (PITCH, STYLE))  # or the smallest
            self.common_codes = pitch, style

    def _needed(self, stage: str) -> tuple[str, ...]:
        """Return the names of the splits that a stage needs: also the training split, where it names the speakers."""
        needed = super()._needed(stage)
        return ("train", *needed) if needed and self.speakers is None and "train" not in needed else needed

    def read_split(self, split: str) -> None:
        """Read the units of a split.

        Raises:
            ValueError: if they come from another tokenizer than those of another split.
        """
        self._units[split] = FlatUnits(self.units, split)
        layout = self._units[split].layout
        if self.layout not in (None, layout):
            own, other = differences(self.layout.to_dict(), layout.to_dict())
            raise ValueError(f"units must come from one tokenizer, but are of {own}; split {split!r}: {other}")
        self.layout, self.tokenizer_sha256 = layout, self._units[split].tokenizer_sha256
        self.hop_length = exact_hop(self.sample_rate, layout.frame_rate)

    def usable(self, cuts: Cuts, split: str) -> Choice:
        """Return which utterances have been tokenised (N,), with at least one frame."""
        units = self._units[split]
        rows = units.rows_of(cuts)
        usable = rows >= 0
        usable[usable] = units.num_frames(rows[usable]) > 0
        return usable

    def dataset(self, split: str, training: bool) -> Dataset[Any]:
        """Make the dataset of segments of this split."""
        assert self.speakers is not None and self.layout is not None
        return UnitSegments(
            self.cuts[split],
            self._units[split],
            self.speakers,
            self.styles,
            self.sample_rate,
            self.layout,
            self.segment_frames if training else self.validation_frames,
            self.seed,
            training,
        )

    def visits(self, split: str, epoch: int, training: bool) -> Sequence[Indices]:
        """Return batches of segments."""
        rows = self._units[split].rows_of(self.cuts[split])
        frames = self._units[split].num_frames(rows)
        if training:
            counts = -(-frames // self.segment_frames) * self._repeats(split, rows)
            return fixed_batches(counts, self.batch_size, seed=self.seed, epoch=epoch)
        return fixed_batches(np.ones_like(frames), self.validation_batch_size, seed=0, epoch=0, shuffle=False)

    def _repeats(self, split: str, rows: Rows) -> Indices:
        """Return the factor of the visits in one epoch to the utterances of some rows of the units."""
        if isinstance(self.repeats, int):
            return np.full(len(rows), self.repeats, dtype=np.int64)
        names, numbers = self._units[split].by_corpus(rows)
        unknown = {names[number] for number in np.unique(numbers)} - set(self.repeats)
        if unknown:
            raise ValueError(f"repeats must name all corpora, but lacks {', '.join(sorted(unknown))}")
        return np.array([self.repeats.get(name, 0) for name in names], dtype=np.int64)[numbers]


def _names(cuts: Cuts, kind: Literal["speaker", "style"], default: str) -> set[str]:
    """Return the names of the speakers or styles of utterances, a default for those without one."""
    return {name or default for name in cuts.counts(kind)}


def check_known(argument: str, known: Sequence[str], names: Iterable[str], split: str) -> None:
    """Check that a list of names has all names of the data.

    Args:
        argument: name of the list, for the message.
        known: names in the list.
        names: names in the data.
        split: split of the data, for the message.

    Raises:
        ValueError: if a name is not in the list.
    """
    unknown = set(names) - set(known)
    if unknown:
        raise ValueError(
            f"{argument} must name all {argument} of split {split!r}, but lacks {', '.join(sorted(unknown))}"
        )


def run_durations(utterance: UnitUtterance) -> Indices:
    """Return the number of frames of the run that starts at each frame (T,), 0 where none starts."""
    starts = utterance.unit_starts.astype(np.int64)
    durations = np.zeros(utterance.num_frames, dtype=np.int64)
    durations[starts] = np.diff(starts, append=utterance.num_frames)
    return durations


class UnitSegments(Dataset[UnitWaveformBatch]):
    """Dataset from a visit to its segments, whose places depend on seed, epoch and batch alone."""

    def __init__(
        self,
        cuts: Cuts,
        units: FlatUnits,
        speakers: tuple[str, ...],
        styles: tuple[str, ...],
        sample_rate: int,
        layout: SpeechLayout,
        segment_frames: int,
        seed: int,
        random: bool,
    ) -> None:
        """Store what a worker needs.

        Args:
            cuts: utterances of the split.
            units: tokenised utterances by their ids.
            speakers: names of the speakers in the order of their ids.
            styles: names of global styles in the order of their ids; empty for no global styles.
            sample_rate: sample rate of the waveforms, in Hz.
            layout: streams of the tokenizer.
            segment_frames: largest number of frames in a segment.
            seed: seed for the places of segments.
            random: whether segments lie anywhere in an utterance; if not, they are its beginning.
        """
        self.cuts = cuts
        self.units = units
        self.speakers = {name: index for index, name in enumerate(speakers)}
        self.styles = {name: index for index, name in enumerate(styles)}
        self.sample_rate = sample_rate
        self.layout = layout
        self.hop_length = exact_hop(sample_rate, layout.frame_rate)
        self.segment_frames = segment_frames
        self.seed = seed
        self.random = random

    def frames(self, utterance: UnitUtterance) -> dict[str, Indices]:
        """Return units, durations of runs, and pitch and style codes of an utterance at each frame (T,)."""
        found = {"units": unit_frames(utterance).astype(np.int64), "durations": run_durations(utterance)}
        for name, stream in (("pitches", PITCH), ("styles", STYLE)) if self.layout.expressive else ():
            rate = self.layout.rate(stream)
            codes = at_frames(utterance.codes[stream], rate, self.layout.frame_rate, utterance.num_frames)
            found[name] = codes.astype(np.int64)
        return found

    def __getitem__(self, visit: Visit) -> UnitWaveformBatch:
        """Return the batch of a visit; short utterances are padded with their last unit and codes, and with silence."""
        streams: dict[str, list[Indices]] = defaultdict(list)
        waveforms, lengths, cuts = [], [], []
        place = zlib.crc32(np.array(visit.indices).tobytes())
        draws = generator(self.seed, visit.epoch, place, 2).random(len(visit.indices))
        for draw, index in zip(draws, visit.indices, strict=True):
            cut = self.cuts[index]
            cuts.append(cut)
            utterance = self.units[cut.id]
            room = max(0, utterance.num_frames - self.segment_frames)
            start = int(draw * (room + 1)) if self.random else 0
            for name, frames in self.frames(utterance).items():
                streams[name].append(frames[start : start + self.segment_frames])
            length = len(streams["units"][-1])
            waveforms.append(load_waveform(cut, self.sample_rate, start * self.hop_length, length * self.hop_length))
            lengths.append(length)
        longest = self.segment_frames if self.random else max(lengths)

        def stack(name: str) -> torch.Tensor:
            mode: Literal["edge", "constant"] = "constant" if name == "durations" else "edge"
            return torch.from_numpy(
                np.stack([np.pad(row, (0, longest - len(row)), mode=mode) for row in streams[name]])
            )

        global_styles = [self.styles[style_of(cut) or DEFAULT_STYLE] for cut in cuts] if self.styles else []
        return UnitWaveformBatch(
            waveforms=torch.stack([pad(w, (0, longest * self.hop_length - len(w))) for w in waveforms]),
            lengths=torch.tensor(lengths),
            speakers=torch.tensor([self.speakers[speaker_of(cut)] for cut in cuts]),
            ids=[cut.id for cut in cuts],
            global_styles=torch.tensor(global_styles) if self.styles else None,
            **{name: stack(name) for name in streams},
        )
