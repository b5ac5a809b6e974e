"""Blocks of two streams, and a language model that is trained on them by a trainer of few steps."""

import lightning
import numpy as np
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Blocks of two streams and their text tokenizer: a folder and the vocabulary."""
    folder = tmp_path_factory.mktemp("corpus")
    tokenizer = train_text_tokenizer(["the cat sat on the mat and saw a dog", "a bird sang to the sun"] * 4)
    tokenizer.save(folder / "text_tokenizer")
    vocabulary = Vocabulary.spirit_lm(num_text=tokenizer.vocab_size, num_units=30, multiple_of=16)
    rng = np.random.default_rng(0)
    units = vocabulary.bounds(UNIT)
    for split in ("train", "validation", "test"):
        for kind, number in (("text", 0), ("aligned", 5)):
            words = [
                [WordIds(rng.integers(0, 20, 2).tolist(), rng.integers(*units, number).tolist()) for _ in range(20)]
                for _ in range(30)
            ]
            documents = [Document(index, document) for index, document in enumerate(words)]
            path = folder / "blocks" / split / kind
            write_manifest(path, kind, vocabulary, [write_block(path, 0, documents, vocabulary)], {})
    return folder, vocabulary


@pytest.fixture
def make_data():
    def make_data(folder, batch_size=2, **options):
        streams = {kind: StreamConfig(folder=str(folder / "blocks")) for kind in ("text", "aligned")}
        options = {"row_length": 64, "num_workers": 0, "val_rows": 4, **options}
        return InterleavedDataModule(streams, batch_size=batch_size, **options)

    return make_data


@pytest.fixture
def make_trainer():
    def make_trainer(steps=4, callbacks=(), **options):
        return lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=steps,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            use_distributed_sampler=False,
            gradient_clip_val=1.0,
            callbacks=list(callbacks),
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
            **options,
        )

    return make_trainer


@pytest.fixture
def make_module():
    def make_module(network=LanguageModelConfig(config=LLAMA), lr=1e-2, **options):  # noqa: B008  frozen
        return LanguageModelModule(
            network, optimizer=OptimizerSettings(lr=lr), schedule=Constant(1), units_per_second=18.0, **options
        )

    return make_module
