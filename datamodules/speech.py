"""Several views of one speech corpus: their base class, and the plain view, waveforms.

Every view reads the same corpus folders and makes batches by the same sampler. A view defines which visits an epoch
has, and the batch that a visit gives.

Shapes: B batch, S samples, L labels.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from spiritlm_pl.contracts.batches import WaveformBatch
from spiritlm_pl.corpora.audio import load_waveform, num_samples
from spiritlm_pl.corpora.cuts import Cuts, joined, open_cuts
from spiritlm_pl.data.batching import Indices, Visit, bucketed_batches, evened, generator
from spiritlm_pl.data.flat_units import FlatUnits
from spiritlm_pl.data.frames import unit_frames
from spiritlm_pl.data.parts import CorpusPlan, load_corpora, plan_corpus
from spiritlm_pl.datamodules.held_out import is_validated, warn_of_no_validation
from spiritlm_pl.datamodules.loading import VisitLoader, visit_loader
from spiritlm_pl.datamodules.planned import PlannedUtterances
from spiritlm_pl.f0.reader import StoredF0

Choice = npt.NDArray[np.bool_]


class SpeechDataModule(LightningDataModule, ABC):
    """Base class of the views: utterances of corpus folders, selected by duration.

    Args:
        corpora: folders of the corpora.
        sample_rate: sample rate of the waveforms, in Hz.
        min_seconds: duration in seconds below which utterances are left out of training and validation.
        max_seconds: duration in seconds above which utterances are left out of training and validation; None keeps all.
        limit_seconds: seconds of each corpus to use in training, in utterances chosen at random; None for all.
        seed: seed for shuffling and crops.
        num_workers: number of processes that read audio; 0 reads it in this process.
    """

    def __init__(
        self,
        corpora: list[str],
        sample_rate: int = 16_000,
        min_seconds: float = 0.2,
        max_seconds: float | None = None,
        limit_seconds: float | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Store the settings; nothing is read before `setup`."""
        super().__init__()
        if not corpora:
            raise ValueError("corpora must name at least one corpus folder, but is empty instead")
        self.corpora = corpora
        self.sample_rate = sample_rate
        self.min_seconds = min_seconds
        self.max_seconds = max_seconds
        self.limit_seconds = limit_seconds
        self.seed = seed
        self.num_workers = num_workers
        self.cuts: dict[str, Cuts] = {}

    def prepare_data(self) -> None:
        """Make the indices of what the stage reads, once on each machine, while the other ranks wait.

        Files that are missing or damaged are told by `setup`, on every rank.
        """
        stage = self.trainer.state.fn if self.trainer else None
        with contextlib.suppress(OSError, ValueError):
            for split in self._needed("" if stage is None else stage.value):
                open_cuts(self.corpora, split)
                self.read_split(split)

    def _needed(self, stage: str) -> tuple[str, ...]:
        """Return the names of the splits that a stage needs."""
        fit = ("train", "validation") if is_validated(self) else ("train",)
        needed = {"fit": fit, "validate": ("validation",), "test": ("test",)}
        return needed.get(stage, ())

    def setup(self, stage: str) -> None:
        """Open the manifests of the splits that the stage needs.

        Raises:
            ValueError: if there is nothing to train, validate or test on; a training without validation is warned of.
        """
        for split in self._needed(stage):
            if split not in self.cuts:
                self.cuts[split] = self._select(split, needed=split == "train" or stage != "fit")

    def _select(self, split: str, needed: bool = True) -> Cuts:
        """Return the utterances of a split that can be used; without any, raise ValueError or warn, as needed."""
        longest = float("inf") if self.max_seconds is None else self.max_seconds
        found = load_corpora(self.corpora, split)
        total = sum(len(members) for _, members in found)
        if total:
            self.read_split(split)
        chosen: dict[str, Cuts] = {}
        for name, members in found:
            if not len(members):
                continue
            durations = members.durations
            cuts = members[np.flatnonzero((self.min_seconds <= durations) & (durations <= longest))]
            cuts = cuts[np.flatnonzero(self.usable(cuts, split))]
            chosen[name] = cuts if name not in chosen else joined([chosen[name], cuts])
        if not any(map(len, chosen.values())):
            self._without(split, total, needed)
            return found[0][1][:0]
        for name, cuts in chosen.items():
            if not len(cuts):
                rank_zero_warn(f"corpora: {name} has no usable utterance in the split {split!r} and is left out")
        if split == "train":
            chosen = {name: self._limited(cuts) for name, cuts in chosen.items()}
        return joined([*chosen.values()])

    def _without(self, split: str, total: int, needed: bool) -> None:
        """Raise ValueError, or warn, since no utterance of a split can be used."""
        told = (
            f"corpora must have usable utterances in the split {split!r}, but none of {total} is usable in "
            f"{', '.join(self.corpora)}"
        )
        remedy = f"prepare them with a larger --{split}-fraction"
        if needed:
            raise ValueError(told if total or split == "train" else f"{told}: {remedy}")
        warn_of_no_validation(told, "look at --data.init_args.min_seconds and .max_seconds" if total else remedy)

    def _limited(self, cuts: Cuts) -> Cuts:
        """Choose utterances of one corpus at random until `limit_seconds` are reached, and keep their order."""
        if self.limit_seconds is None:
            return cuts
        order = generator(self.seed, 2**32 - 1).permutation(len(cuts))
        total = np.cumsum(cuts.durations[order])
        return cuts[np.sort(order[: int(np.searchsorted(total, self.limit_seconds)) + 1])]

    def read_split(self, split: str) -> None:
        """Read what a view needs besides audio, before its utterances are selected, if it has any."""

    def usable(self, cuts: Cuts, split: str) -> Choice:
        """Return which utterances this data module can use (N,); subclasses may refuse some, such as without units."""
        return np.ones(len(cuts), dtype=np.bool_)

    @abstractmethod
    def dataset(self, split: str, training: bool) -> Dataset[Any]:
        """Make the dataset that turns a `Visit`, the utterances of one batch of one epoch, into the batch."""

    @abstractmethod
    def visits(self, split: str, epoch: int, training: bool) -> Sequence[Indices]:
        """Return the batches of an epoch for all ranks.

        Args:
            split: name of the split.
            epoch: number of the epoch, from 0.
            training: whether the batches are for training, and so shuffled.
        """

    def _loader(self, split: str, training: bool) -> VisitLoader:
        def plan(epoch: int) -> Sequence[Indices]:
            batches = self.visits(split, epoch, training)
            return batches if training or not self.trainer else evened(batches, self.trainer.world_size)

        return visit_loader(self, self.dataset(split, training), plan, self.num_workers)

    def train_dataloader(self) -> VisitLoader:
        """Make the loader of shuffled batches, with another order and other crops in every epoch."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> VisitLoader | list[VisitLoader]:
        """Make the loader of validation batches, the same in every epoch; none without utterances to validate on."""
        return self._loader("validation", training=False) if len(self.cuts.get("validation", ())) else []

    def test_dataloader(self) -> VisitLoader:
        """Make the loader of test batches, as for validation."""
        return self._loader("test", training=False)


class WaveformDataModule(SpeechDataModule):
    """Waveforms, cropped for training and optionally with frame labels; whole utterances for `predict`.

    Args:
        corpora: folders of the corpora.
        batch_seconds: largest duration of a batch in seconds, padding included.
        crop_seconds: duration in seconds above which an utterance gives a random crop of this length; None for whole
            utterances.
        labels: folders of tokenised corpora whose units are the labels; None for no labels.
        free_frames: whether training audio begins anywhere within a label, so that a network learns to give the same
            units wherever frames happen to begin.
        predict_splits: names of the splits that `predict` runs over.
        part_size: number of utterances in a shard of `predict`.
        f0_name: name of F0 that was extracted before, for `predict` with an expressive tokenizer. None lets the
            tokenizer extract F0, and subtract the mean of each utterance.
        speaker_means: whether to subtract from that F0 the mean of the speaker where it is known, and otherwise that of
            the utterance; it should be as in the training of the pitch tokenizer.
        sample_rate: sample rate of the waveforms, in Hz.
        min_seconds: duration in seconds below which utterances are left out of training and validation.
        max_seconds: duration in seconds above which utterances are left out of training and validation; None keeps all.
        limit_seconds: seconds of each corpus to use in training, in utterances chosen at random; None for all.
        seed: seed for shuffling and crops.
        num_workers: number of processes that read audio; 0 reads it in this process.
    """

    def __init__(
        self,
        corpora: list[str],
        batch_seconds: float = 100.0,
        crop_seconds: float | None = 15.6,
        labels: list[str] | None = None,
        free_frames: bool = False,
        predict_splits: tuple[str, ...] = ("train", "validation", "test"),
        part_size: int = 1000,
        f0_name: str | None = None,
        speaker_means: bool = True,
        sample_rate: int = 16_000,
        min_seconds: float = 0.2,
        max_seconds: float | None = None,
        limit_seconds: float | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Store the settings; nothing is read before `setup`."""
        super().__init__(corpora, sample_rate, min_seconds, max_seconds, limit_seconds, seed, num_workers)
        if free_frames and labels is None:
            raise ValueError("free_frames must be false without labels, but is true: it would have no effect")
        self.batch_seconds = batch_seconds
        self.crop_seconds = crop_seconds
        self.labels = labels
        self.free_frames = free_frames
        self.predict_splits = tuple(predict_splits)
        self.part_size = part_size
        self.f0_name = f0_name
        self.speaker_means = speaker_means
        self._stored_f0: StoredF0 | None = None
        self.plan: CorpusPlan | None = None
        self.label_rate: float | None = None
        self.num_labels: int | None = None
        self._units: dict[str, FlatUnits] = {}

    def prepare_data(self) -> None:
        """Make the indices of what the stage reads, once on each machine, while the other ranks wait."""
        super().prepare_data()
        if self.trainer and self.trainer.predicting:
            with contextlib.suppress(OSError, ValueError):
                for split in self.predict_splits:
                    open_cuts(self.corpora, split)
                if self.f0_name is not None:
                    StoredF0(self.corpora, self.f0_name).fingerprint(self.corpora)

    def setup(self, stage: str) -> None:
        """Open manifests, and labels if there are any; for `predict`, divide the corpora into parts."""
        if stage == "predict":
            self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer parts than ranks
            self.plan = plan_corpus(
                self.corpora, splits=self.predict_splits, part_size=self.part_size, batch_seconds=self.batch_seconds
            )
            if self.f0_name is not None:
                self._stored_f0 = StoredF0(self.corpora, self.f0_name, self.speaker_means)
                sources = self.plan.sources.items()
                self.plan.f0 = {name: self._stored_f0.fingerprint(folders) for name, folders in sources}
        super().setup(stage)

    def read_split(self, split: str) -> None:
        """Read the labels of a split, if there are any."""
        if self.labels is not None:
            self._units[split] = FlatUnits(self.labels, split)
            layout = self._units[split].layout
            self.label_rate, self.num_labels = layout.frame_rate, layout.first.size

    def usable(self, cuts: Cuts, split: str) -> Choice:
        """Return which utterances have labels (N,), or all if none are needed."""
        return super().usable(cuts, split) if self.labels is None else self._units[split].rows_of(cuts) >= 0

    def dataset(self, split: str, training: bool) -> Dataset[Any]:
        """Make the dataset of crops of waveforms."""
        return WaveformCrops(
            self.cuts[split],
            self.sample_rate,
            self.crop_seconds,
            self.seed,
            self._units.get(split),
            self.label_rate,
            training,
            self.free_frames,
        )

    def visits(self, split: str, epoch: int, training: bool) -> Sequence[Indices]:
        """Return batches of similar length."""
        durations = self.cuts[split].durations
        if self.crop_seconds is not None:
            durations = durations.clip(max=self.crop_seconds)
        return bucketed_batches(durations, self.batch_seconds, seed=self.seed, epoch=epoch, shuffle=training)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Make the loader of whole utterances of unfinished parts, part by part."""
        assert self.plan is not None
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        dataset = PlannedUtterances(self.plan, rank, world_size, self.sample_rate, self._stored_f0)
        sampler: DistributedSampler[Any] = DistributedSampler(dataset, num_replicas=1, rank=0, shuffle=False)
        return DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=self.num_workers)


class WaveformCrops(Dataset[WaveformBatch]):
    """Dataset of waveforms, whole or cropped, and labels; crops depend on seed, epoch and utterance alone."""

    def __init__(
        self,
        cuts: Cuts,
        sample_rate: int,
        crop_seconds: float | None,
        seed: int,
        units: FlatUnits | None = None,
        label_rate: float | None = None,
        training: bool = True,
        free_frames: bool = False,
    ) -> None:
        """Store what a worker needs; crops that are not for training are the same in every epoch.

        Args:
            cuts: utterances of the split.
            sample_rate: sample rate of the waveforms, in Hz.
            crop_seconds: duration in seconds above which an utterance gives a crop; None for whole utterances.
            seed: seed for drawing crops.
            units: units of each utterance by its id, as labels; None for no labels.
            label_rate: labels per second, in Hz; None for no labels.
            training: whether crops differ between epochs.
            free_frames: whether training audio begins anywhere within a label.
        """
        self.cuts = cuts
        self.sample_rate = sample_rate
        self.seed = seed
        self.units = units
        self.label_rate = label_rate
        self.training = training
        self.crop = None if crop_seconds is None else round(crop_seconds * sample_rate)
        self.free_frames = free_frames and training
        self.snap = 1 if label_rate is None else round(sample_rate / label_rate)  # crops begin at a label

    def __getitem__(self, visit: Visit) -> WaveformBatch:
        """Return the batch of a visit."""
        ids: list[str] = []
        waveforms: list[Tensor] = []
        labels: list[Tensor] = []
        epoch = visit.epoch if self.training else 0  # the trainer passes its epochs to validation, too
        for index in visit.indices:
            cut = self.cuts[index]
            ids.append(cut.id)
            start, length = 0, num_samples(cut, self.sample_rate)
            if self.crop is not None and length > self.crop:
                places = (length - self.crop) // self.snap + 1
                start = int(generator(self.seed, epoch, index, 1).integers(places)) * self.snap
                length = self.crop
            if self.free_frames:
                offset = int(generator(self.seed, epoch, index, 2).integers(self.snap))
                start, length = start + offset, length - offset
            waveforms.append(load_waveform(cut, self.sample_rate, start, length))
            if self.units is not None:
                frames = unit_frames(self.units[cut.id]).astype(np.int64)
                first = (start + self.snap // 2) // self.snap  # label in the middle of the first frame
                labels.append(torch.from_numpy(frames[first : first + length // self.snap]))
        return WaveformBatch(
            waveforms=pad_sequence(waveforms, batch_first=True),
            lengths=torch.tensor([len(waveform) for waveform in waveforms]),
            ids=ids,
            labels=pad_sequence(labels, batch_first=True, padding_value=-1) if labels else None,
            label_rate=self.label_rate if labels else None,
        )
