from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from spiritlm_pl.contracts.batches import FeatureBatch, WaveformBatch
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import load_cuts
from spiritlm_pl.data.batching import bucketed_batches, fixed_batches
from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.datamodules.features import FeatureDataModule
from spiritlm_pl.datamodules.loading import VisitSampler
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.datamodules.unit_waveforms import UnitWaveformDataModule
from spiritlm_pl.streams import UNIT, SpeechLayout
from spiritlm_pl.tokenizers.augment import Augmentation
from spiritlm_pl.tokenizers.features import MFCCConfig


@pytest.fixture
def units(tone_corpus: Path, tmp_path: Path) -> Path:
    """Units that count the frames, so that a crop of them shows where it comes from."""
    for split in ("train", "validation"):
        rows = []
        for cut in load_cuts(tone_corpus, split):
            frames = np.arange(int(cut.duration * 25))
            rows.append(
                UnitUtterance(
                    id=cut.id,
                    corpus="tones",
                    units=frames.astype(np.uint16),
                    unit_starts=frames.astype(np.uint32),
                    num_frames=len(frames),
                )
            )
        write_part(tmp_path / "units" / split, 0, rows, "x")
        finish_folder(
            tmp_path / "units" / split,
            ["x"],
            layout=SpeechLayout.spirit_lm(num_units=1000, frame_rate=25.0),
            provenance={},
        )
    return tmp_path / "units"


def test_every_utterance_once_an_epoch_on_any_number_of_ranks() -> None:
    durations = np.random.default_rng(0).uniform(0.5, 12.0, 101)
    batches = bucketed_batches(durations, 30.0, seed=1, epoch=2)
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    assert all(len(batch) * durations[batch].max() <= 30.0 or len(batch) == 1 for batch in batches)
    again, other = (bucketed_batches(durations, 30.0, seed=1, epoch=epoch) for epoch in (2, 3))
    assert [b.tolist() for b in again] == [b.tolist() for b in batches] != [b.tolist() for b in other]
    for world in (1, 2, 3):
        samplers = [VisitSampler([], lambda epoch: batches, rank, world) for rank in range(world)]
        assert len({len(sampler) for sampler in samplers}) == 1
        seen = {index for sampler in samplers for visit in sampler for index in visit.indices}
        assert seen == set(range(101))
    visits = np.concatenate(fixed_batches(np.array([1, 3, 2]), 2, seed=0, epoch=0))
    assert np.bincount(visits).tolist() == [1, 3, 2]


def test_labels_follow_the_crop(tone_corpus: Path, units: Path) -> None:
    data = WaveformDataModule([str(tone_corpus)], labels=[str(units)], crop_seconds=0.8, batch_seconds=4.0)
    data.setup("fit")
    cuts = {cut.id: cut for cut in data.cuts["train"]}
    seen = set()
    for batch in data.train_dataloader():
        assert batch.labels is not None and batch.label_rate == 25.0 and batch.labels.shape[1] == 20
        for row, name in enumerate(batch.ids):
            first = int(batch.labels[row, 0])
            whole = load_waveform(cuts[name])
            assert torch.equal(batch.waveforms[row], whole[first * 640 : first * 640 + 12_800])
            seen.add(first)
    assert len(seen) > 2


@pytest.mark.parametrize("crop_seconds", [0.8, None])
def test_free_frames_begin_within_a_label(tone_corpus: Path, units: Path, crop_seconds: float | None) -> None:
    data = WaveformDataModule(
        [str(tone_corpus)], labels=[str(units)], crop_seconds=crop_seconds, batch_seconds=4.0, free_frames=True
    )
    data.setup("fit")
    cuts = {cut.id: cut for cut in data.cuts["train"]}
    offsets = set()
    for batch in data.train_dataloader():
        assert batch.labels is not None
        for row, name in enumerate(batch.ids):
            whole, first = load_waveform(cuts[name]), int(batch.labels[row, 0])
            crop = batch.waveforms[row, : batch.lengths[row]]
            places = range(max(0, first * 640 - 320), first * 640 + 320)  # the label in the middle of the first frame
            found = [place for place in places if torch.equal(whole[place : place + len(crop)], crop)]
            assert len(found) == 1
            offsets.add(found[0] % 640)
    assert len(offsets) > 2
    held_out = next(iter(data.val_dataloader()))
    assert held_out.labels is not None
    for row, name in enumerate(held_out.ids):
        first = int(held_out.labels[row, 0]) * 640
        whole = load_waveform(next(cut for cut in data.cuts["validation"] if cut.id == name))
        length = int(held_out.lengths[row])
        assert torch.equal(held_out.waveforms[row, :length], whole[first : first + length])


def test_held_out_crops_are_the_same_in_every_epoch(tone_corpus: Path) -> None:
    data = WaveformDataModule([str(tone_corpus)], crop_seconds=0.5, batch_seconds=4.0)
    data.setup("fit")
    for loader, same in ((data.val_dataloader(), True), (data.train_dataloader(), False)):
        seen = []
        for epoch in (0, 1):
            loader.sampler.epoch = epoch  # as the trainer does
            seen.append({name: wave for batch in loader for name, wave in zip(batch.ids, batch.waveforms, strict=True)})
        assert all(torch.equal(wave, seen[1][name]) for name, wave in seen[0].items()) == same


def test_segments_of_units_and_waveform_agree(tone_corpus: Path, units: Path) -> None:
    data = UnitWaveformDataModule([str(tone_corpus)], [str(units)], segment_frames=12, batch_size=4)
    data.setup("fit")
    assert (
        data.speakers == ("speaker0", "speaker1")
        and data.layout is not None
        and data.layout.size(UNIT) == 1000
        and data.hop_length == 640
    )
    cuts = {cut.id: cut for cut in data.cuts["train"]}
    batches = list(data.train_dataloader())
    for batch in batches:
        assert batch.units.shape == (4, 12) and batch.waveforms.shape == (4, 12 * 640)
        for row, name in enumerate(batch.ids):
            first = int(batch.units[row, 0])
            assert torch.equal(batch.waveforms[row], load_waveform(cuts[name])[first * 640 : (first + 12) * 640])
            assert batch.speakers[row] == int(cuts[name].supervisions[0].speaker[-1])
    again = list(data.train_dataloader())
    assert all(torch.equal(a.units, b.units) for a, b in zip(batches, again, strict=True))
    with pytest.raises(ValueError, match="lacks speaker1"):
        UnitWaveformDataModule([str(tone_corpus)], [str(units)], speakers=["speaker0"]).setup("fit")


def test_runs_have_their_whole_duration(tone_corpus: Path, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = []
        for cut in load_cuts(tone_corpus, split):
            starts = np.arange(0, int(cut.duration * 25), 5)
            rows.append(
                UnitUtterance(
                    id=cut.id,
                    corpus="tones",
                    units=np.arange(len(starts), dtype=np.uint16),
                    unit_starts=starts.astype(np.uint32),
                    num_frames=int(starts[-1]) + 9,
                )
            )
        write_part(tmp_path / "runs" / split, 0, rows, "x")
        finish_folder(
            tmp_path / "runs" / split,
            ["x"],
            layout=SpeechLayout.spirit_lm(num_units=1000, frame_rate=25.0),
            provenance={},
        )
    data = UnitWaveformDataModule([str(tone_corpus)], [str(tmp_path / "runs")], segment_frames=12, batch_size=4)
    data.setup("fit")
    last = {cut.id: len(data._units["train"][cut.id].units) - 1 for cut in data.cuts["train"]}
    cut_off = 0
    for batch in data.train_dataloader():
        assert batch.durations is not None
        for units, durations, name in zip(batch.units, batch.durations, batch.ids, strict=True):
            values, seen = units.unique_consecutive(return_counts=True)
            starts = seen.cumsum(0) - seen
            expected = torch.where(values == last[name], 9, 5)
            assert torch.equal(durations[starts[1:]], expected[1:]) and durations[0] in (0, expected[0])
            assert int((durations > 0).sum()) == len(values) - int(durations[0] == 0)
            cut_off += int(seen[-1] < expected[-1])
    assert cut_off > 0


def test_repeats_of_a_corpus(tone_corpus: Path, units: Path) -> None:
    def visits(repeats: int | dict[str, int]) -> int:
        data = UnitWaveformDataModule([str(tone_corpus)], [str(units)], segment_frames=12, repeats=repeats)
        data.setup("fit")
        return sum(len(batch) for batch in data.visits("train", epoch=0, training=True))

    assert visits({"tones": 3}) == visits(3) == 3 * visits(1)
    with pytest.raises(ValueError, match="repeats must name all corpora, but lacks tones"):
        visits({"others": 2})


class Recorder(LightningModule):
    """Keeps a fingerprint of every batch and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[str, float]] = []

    def training_step(self, batch: WaveformBatch | FeatureBatch, batch_idx: int) -> torch.Tensor:
        if isinstance(batch, FeatureBatch):
            assert batch.augmented is not None
            self.seen.append((",".join(batch.ids), float(batch.augmented.sum())))
        else:
            self.seen.append((",".join(batch.ids), float(batch.waveforms.abs().sum())))
        return self.weight * 0.0

    def validation_step(self, batch: WaveformBatch | FeatureBatch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def run(data: WaveformDataModule, folder: Path, steps: int, resume: bool = False) -> list[tuple[str, float]]:
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        callbacks=[ModelCheckpoint(folder, filename="last", every_n_train_steps=1, enable_version_counter=False)],
    )
    model = Recorder()
    trainer.fit(model, data, ckpt_path=folder / "last.ckpt" if resume else None, weights_only=False)
    return model.seen


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("stop", [2, 4])
@pytest.mark.parametrize("view", ["waveforms", "features"])
def test_a_resumed_run_sees_the_next_batches(tone_corpus: Path, tmp_path: Path, view: str, stop: int) -> None:
    def data(workers: int) -> WaveformDataModule:
        if view == "waveforms":
            return WaveformDataModule([str(tone_corpus)], crop_seconds=0.8, batch_seconds=1.6, num_workers=workers)
        return FeatureDataModule(
            [str(tone_corpus)], features=MFCCConfig(), batch_seconds=4.0, augmentation=Augmentation(probability=1.0)
        )

    whole = run(data(0), tmp_path / "whole", 9)
    start = run(data(0), tmp_path / "parts", stop)
    rest = run(data(1 if view == "waveforms" else 0), tmp_path / "parts", 9, resume=True)
    assert start + rest == whole


def test_validation_hears_the_same_augmentation_in_every_epoch(tone_corpus: Path) -> None:
    class Listener(Recorder):
        def validation_step(self, batch: WaveformBatch | FeatureBatch, batch_idx: int) -> None:
            assert isinstance(batch, FeatureBatch) and batch.augmented is not None
            heard.append(float(batch.augmented.sum()))

    heard: list[float] = []
    augmentation = Augmentation(probability=1.0)
    data = FeatureDataModule([str(tone_corpus)], MFCCConfig(), augmentation=augmentation, batch_seconds=100.0)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        use_distributed_sampler=False,
    )
    model = Listener()
    trainer.fit(model, data)
    assert len(heard) == 4 and len(set(heard)) == 1
    assert len({value for _, value in model.seen}) == 3


def test_no_usable_utterance(tone_corpus: Path) -> None:
    with pytest.raises(ValueError, match="none of 8"):
        WaveformDataModule([str(tone_corpus)], min_seconds=100.0).setup("fit")
    with pytest.raises(ValueError, match="must be unique over all corpora and splits"):
        WaveformDataModule([str(tone_corpus), str(tone_corpus)]).setup("fit")
    with pytest.raises(ValueError, match="free_frames must be false without labels"):
        WaveformDataModule([str(tone_corpus)], free_frames=True)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batch_seconds", [0.1, 3.0, 100.0])  # one utterance each, some together, all in one batch
def test_all_ranks_together_hear_each_held_out_utterance_equally_often(
    tone_corpus: Path, ranks: int, batch_seconds: float
) -> None:
    data = WaveformDataModule([str(tone_corpus)], batch_seconds=batch_seconds)
    data.setup("fit")
    data.cuts["validation"] = data.cuts["train"][:7]
    heard: Counter[str] = Counter()
    numbers = set()
    for rank in range(ranks):
        data.trainer = cast(Any, SimpleNamespace(global_rank=rank, world_size=ranks))
        batches = list(data.val_dataloader())
        numbers.add(len(batches))
        heard.update(name for batch in batches for name in batch.ids)
    assert len(numbers) == 1 and len(heard) == 7 and len(set(heard.values())) == 1
    assert ranks > 3 or max(heard.values()) == 1
