"""The DataModule under a trainer: typed batches, steps, exact resume, ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.data.blocks import TEXT_FINGERPRINT, read_manifest, write_block, write_manifest
from spiritlm_pl.data.collate import LossOn
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.interleave import Interleaving
from spiritlm_pl.data.loading import TrainingLoader
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.modules.lm import redo_unfinished_step
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=1)


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, blocks in (("train", 2), ("validation", 1)):
        for kind in ("text", "speech", "aligned"):
            entries = []
            for number in range(blocks):
                documents = []
                for index in range(30):
                    text = kind != "speech"
                    speech = kind != "text"
                    words = [
                        WordIds(rng.integers(0, 100, 2 * text).tolist(), rng.integers(102, 132, 5 * speech).tolist())
                        for _ in range(rng.integers(5, 30))
                    ]
                    documents.append(Document(1000 * number + index, words))
                entries.append(write_block(tmp_path / split / kind, number, documents, VOCABULARY))
            write_manifest(tmp_path / split / kind, kind, VOCABULARY, entries, {"seconds": 100.0 * (kind != "text")})
    return tmp_path


def datamodule(blocks: Path, **options) -> InterleavedDataModule:
    streams = {kind: StreamConfig(folder=str(blocks)) for kind in ("text", "speech", "aligned")}
    values = {
        "row_length": 64,
        "batch_size": 2,
        "num_workers": 0,
        "interleaving": Interleaving(text_span=(4, 10), speech_span=(3, 6)),
        **options,
    }
    return InterleavedDataModule(streams, **values)


class Recorder(LightningModule):
    """Keeps every batch, and takes a step up as the language model does; stops dead before a batch if asked to."""

    def __init__(self, stop_before: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches: list[TokenBatch] = []
        self.validated: list[TokenBatch] = []
        self.stop_before = stop_before

    def training_step(self, batch: TokenBatch, _: int) -> torch.Tensor:
        assert batch.step == self.global_step
        if len(self.batches) == self.stop_before:
            raise RuntimeError("stopped")
        self.batches.append(batch)
        return self.weight * batch.tokens.float().mean()

    def validation_step(self, batch: TokenBatch, _: int, dataloader_idx: int = 0) -> None:
        self.validated.append(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["accumulate"] = self.trainer.accumulate_grad_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        redo_unfinished_step(checkpoint, self.trainer.accumulate_grad_batches)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(model: Recorder, data: InterleavedDataModule, folder: Path, checkpoint: Path | None = None, **options) -> None:
    values = {"max_steps": 12, "limit_val_batches": 0, **options}
    on_exception = values.pop("save_on_exception", False)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(
                folder, every_n_train_steps=5, save_top_k=-1, filename="{step}", save_on_exception=on_exception
            )
        ],
        **values,
    )
    trainer.fit(model, data, ckpt_path=checkpoint, weights_only=False)


def tokens(batches: list[TokenBatch]) -> list[list[list[int]]]:
    return [batch.tokens.tolist() for batch in batches]


def test_batches_are_typed_and_masked(blocks: Path) -> None:
    data = datamodule(blocks, loss_on=LossOn(text=False, markers=False))
    data.setup("fit")
    assert data.vocabulary == VOCABULARY
    spoken = data._train_mixture().streams[1].manifest.num_tokens
    assert data.units_per_second == spoken / 100.0
    batch = next(iter(data.train_dataloader()))
    assert batch.tokens.shape == batch.position_ids.shape == batch.segment_ids.shape == (2, 64)
    assert batch.cu_seqlens.dtype == torch.int32 and batch.cu_seqlens[-1] == 128 and batch.step == 0
    flat, segments = batch.tokens.flatten(), batch.segment_ids.flatten()
    for low, high in zip(batch.cu_seqlens[:-1].tolist(), batch.cu_seqlens[1:].tolist(), strict=True):
        assert batch.position_ids.flatten()[low:high].tolist() == list(range(high - low))
        assert len(set(segments[low:high].tolist())) == 1
        if segments[low] >= 0:
            assert flat[low] in (VOCABULARY.text_marker, VOCABULARY.speech_marker)
    assert torch.equal(batch.loss_mask, (batch.tokens >= VOCABULARY.bounds(UNIT)[0]) & (batch.segment_ids >= 0))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_under_the_trainer_is_exact(blocks: Path, tmp_path: Path, accumulate: int) -> None:
    options = {"accumulate_grad_batches": accumulate}
    whole = Recorder()
    fit(whole, datamodule(blocks), tmp_path / "whole", **options)
    assert len(whole.batches) == 12 * accumulate
    again = Recorder()
    fit(again, datamodule(blocks, num_workers=1), tmp_path / "whole", tmp_path / "whole" / "step=5.ckpt", **options)
    assert tokens(again.batches) == tokens(whole.batches[5 * accumulate :])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize(("accumulate", "done"), [(1, 0), (2, 0), (2, 1), (3, 2)])
def test_an_interrupted_step_is_done_again(blocks: Path, tmp_path: Path, accumulate: int, done: int) -> None:
    whole, stopped, again = Recorder(), Recorder(stop_before=7 * accumulate + done), Recorder()
    fit(whole, datamodule(blocks), tmp_path / "whole", accumulate_grad_batches=accumulate)
    with pytest.raises(RuntimeError, match="stopped"):
        fit(
            stopped,
            datamodule(blocks),
            tmp_path / "stopped",
            accumulate_grad_batches=accumulate,
            save_on_exception=True,
        )
    [saved] = (tmp_path / "stopped").glob("*step=7*.ckpt")
    fit(again, datamodule(blocks), tmp_path / "stopped", saved, accumulate_grad_batches=accumulate)
    assert tokens([*stopped.batches[: 7 * accumulate], *again.batches]) == tokens(whole.batches)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_another_accumulation_goes_on_with_the_same_rows(blocks: Path, tmp_path: Path) -> None:
    whole, again = Recorder(), Recorder()
    fit(whole, datamodule(blocks), tmp_path / "whole", accumulate_grad_batches=2)
    halves = datamodule(blocks, batch_size=1)
    fit(again, halves, tmp_path / "whole", tmp_path / "whole" / "step=5.ckpt", accumulate_grad_batches=4)
    rows = [row for batch in tokens(again.batches) for row in batch]
    assert rows == [row for batch in tokens(whole.batches[10:]) for row in batch]


def test_units_of_two_tokenizers_are_refused(blocks: Path) -> None:
    for kind, made_by in (("text", "one"), ("speech", "one"), ("aligned", "other")):
        folder = blocks / "train" / kind
        manifest = read_manifest(folder)
        write_manifest(folder, kind, VOCABULARY, manifest.blocks, {**manifest.sources, "tokenizer_sha256": made_by})
    with pytest.raises(ValueError, match=r"must have units of one tokenizer, but those of speech .* and aligned \(60"):
        datamodule(blocks).setup("fit")


def test_rows_are_the_same_for_any_number_of_ranks(blocks: Path) -> None:
    def order(ranks: int) -> list[list[int]]:
        rows = []
        loaders = [iter(loader(blocks, rank, ranks)) for rank in range(ranks)]
        for _ in range(16 // ranks):
            for batches in loaders:
                rows += next(batches).tokens.tolist()
        return rows

    def loader(blocks: Path, rank: int, ranks: int) -> TrainingLoader:
        data = datamodule(blocks)
        loader = data.train_dataloader()
        from spiritlm_pl.data.loading import Share

        loader.share = Share(batch_size=2, rank=rank, world_size=ranks)
        return loader

    assert order(1) == order(2) == order(4) == order(8)


@pytest.mark.parametrize("name", ["interleaved", "interleaved_quickstart"])
def test_shipped_parts_are_parsed(name: str) -> None:
    from jsonargparse import ArgumentParser
    from lightning import LightningDataModule

    parser = ArgumentParser(parser_mode="omegaconf+")
    parser.add_subclass_arguments(LightningDataModule, "data")
    path = Path(__file__).parents[2] / "conf" / "parts" / "data" / f"{name}.yaml"
    change = "--data.init_args.interleaving.mode=word_level"
    data = parser.instantiate(parser.parse_args([f"--data={path}", change])).data
    assert isinstance(data, InterleavedDataModule)
    assert data.interleaving.mode == "word_level" and data.streams["speech"].weight == 1.0
    assert data.interleaving.text_span == ((10, 30) if name == "interleaved" else (4, 10))


def test_validation_is_the_same_every_time(blocks: Path) -> None:
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False)
    seen = []
    for _ in range(2):
        model = Recorder()
        data = datamodule(blocks, val_rows=6, seed=5)
        trainer.validate(model, data, verbose=False)
        assert data.val_streams == ["text", "speech", "aligned"] and data.test_streams == []
        assert len(model.validated) == 9 and {batch.step for batch in model.validated} == {-1}
        seen.append(tokens(model.validated))
    assert seen[0] == seen[1]


def test_what_does_not_fit_is_refused(blocks: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocabulary must be that of the blocks, .*num_units=31"):
        datamodule(blocks, vocabulary=Vocabulary.spirit_lm(num_text=100, num_units=31, multiple_of=1)).setup("fit")
    with pytest.raises(FileNotFoundError, match="blocks must be a folder with manifest.json"):
        datamodule(tmp_path / "nowhere").setup("fit")
    with pytest.raises(ValueError, match="num_tasks must be at least 2 for mode asr_tts, but is 0 instead"):
        datamodule(blocks, interleaving=Interleaving(mode="asr_tts")).setup("fit")
    with pytest.raises(
        ValueError, match=r"streams.songs.kind must be one of text, speech, aligned, conversation, but is 'songs'"
    ):
        InterleavedDataModule({"songs": StreamConfig(folder=str(blocks))})
    for kind in ("text", "aligned"):
        manifest = read_manifest(blocks / "train" / kind)
        sources = {**manifest.sources, TEXT_FINGERPRINT: kind}
        write_manifest(blocks / "train" / kind, kind, VOCABULARY, list(manifest.blocks), sources)
    with pytest.raises(ValueError, match="streams must be built with one text tokenizer, but give different ids"):
        datamodule(blocks).setup("fit")


def test_another_order_of_rows_is_no_resuming(blocks: Path) -> None:
    first = datamodule(blocks).train_dataloader()
    other = datamodule(blocks, seed=1).train_dataloader()
    with pytest.raises(ValueError, match="seed must be what the checkpoint was trained with, 0, but is 1 instead"):
        other.load_state_dict(first.state_dict())
