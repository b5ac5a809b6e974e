"""What a run is of: which changes a checkpoint refuses, and whether all splits speak of the same tokens."""

from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import DOCUMENT_KINDS, write_block, write_manifest
from spiritlm_pl.data.collate import LossOn
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=1)
OTHER = Vocabulary.spirit_lm(num_text=60, num_units=30, multiple_of=1)


def write_split(folder: Path, split: str, vocabulary: Vocabulary = VOCABULARY) -> None:
    rng = np.random.default_rng(0)
    units = vocabulary.bounds(UNIT)
    for kind in DOCUMENT_KINDS:
        documents = []
        for key in range(10):
            text = rng.integers(0, vocabulary.num_text, 20 * (kind != "speech")).tolist()
            documents.append(Document(key, [WordIds(text, rng.integers(*units, 50 * (kind != "text")).tolist())]))
        entry = write_block(folder / split / kind, 0, documents, vocabulary)
        write_manifest(folder / split / kind, kind, vocabulary, [entry], {"seconds": 20.0 * (kind != "text")})


def datamodule(folder: Path, kinds: tuple[str, ...] = DOCUMENT_KINDS, **options) -> InterleavedDataModule:
    streams = {kind: StreamConfig(folder=str(folder)) for kind in kinds}
    return InterleavedDataModule(streams, row_length=32, batch_size=2, num_workers=0, **options)


def test_streams_in_another_order_are_another_run(tmp_path: Path) -> None:
    write_split(tmp_path, "train")
    state = datamodule(tmp_path).train_dataloader().state_dict()
    datamodule(tmp_path).train_dataloader().load_state_dict(state)
    with pytest.raises(ValueError, match=r"streams must be what .*\['text', 'speech', 'aligned'\], but is \['aligned'"):
        datamodule(tmp_path, DOCUMENT_KINDS[::-1]).train_dataloader().load_state_dict(state)


def test_a_loss_on_other_tokens_is_another_run(tmp_path: Path) -> None:
    write_split(tmp_path, "train")
    state = datamodule(tmp_path).train_dataloader().state_dict()
    changed = datamodule(tmp_path, loss_on=LossOn(text=False)).train_dataloader()
    with pytest.raises(ValueError, match=r"loss_on must be what .*text=True.*, but is .*text=False"):
        changed.load_state_dict(state)


def test_held_out_blocks_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train")
    for split in ("validation", "test"):
        write_split(tmp_path, split, OTHER)
    data = datamodule(tmp_path)
    data.setup("fit")
    for split, loaders in (("validation", data.val_dataloader), ("test", data.test_dataloader)):
        with pytest.raises(ValueError, match=f"vocabulary of .*{split}/text must be .*num_text=100.*num_text=60"):
            loaders()


def test_held_out_blocks_alone_can_be_validated(tmp_path: Path) -> None:
    write_split(tmp_path, "validation")
    data = datamodule(tmp_path)
    data.setup("validate")
    assert data.vocabulary == VOCABULARY and data.units_per_second == 10 * 50 / 20.0
    assert [next(iter(loader)).tokens.shape for loader in data.val_dataloader()] == [(2, 32)] * 3
    with pytest.raises(FileNotFoundError, match="train/text"):
        data.setup("fit")


def test_states_of_weights_that_were_mixed_in_other_shares_are_refused(tmp_path: Path) -> None:
    """Earlier versions rounded all weights to a cycle of 1,000 rows, and did not write turns into the state."""
    write_split(tmp_path, "train")
    for weights, goes_on in (((1.0, 1.0, 1.0), True), ((0.7, 0.2995, 0.0005), False)):
        streams = {
            kind: StreamConfig(folder=str(tmp_path), weight=weight)
            for kind, weight in zip(DOCUMENT_KINDS, weights, strict=True)
        }
        loader = InterleavedDataModule(streams, row_length=32, batch_size=2, num_workers=0).train_dataloader()
        state = loader.state_dict()
        loader.load_state_dict(state)
        assert ("turns" in state["identity"]) is not goes_on
        state = {**state, "identity": {key: value for key, value in state["identity"].items() if key != "turns"}}
        if goes_on:
            loader.load_state_dict(state)
        else:
            with pytest.raises(ValueError, match="shares that the streams' weights ask for, but an earlier version"):
                loader.load_state_dict(state)
