"""The language model's module under the trainer: what it logs, refuses, skips, exports, and survives."""

import resource
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from spiritlm_pl.callbacks import throughput
from spiritlm_pl.callbacks.throughput import Throughput
from spiritlm_pl.cli.configs import find_config
from spiritlm_pl.cli.training import SpiritCLI
from spiritlm_pl.data.blocks import TEXT_FINGERPRINT, read_manifest, write_manifest
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, network_config
from spiritlm_pl.lm.folder import load_lm, own_text_tokenizer, save_lm
from spiritlm_pl.lm.schedule import WarmupStableDecay
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def test_it_learns_and_reports_text_and_speech_apart(corpus, tmp_path, make_data, make_module, make_trainer):
    folder, vocabulary = corpus
    module = make_module(text_tokenizer=str(folder / "text_tokenizer"))
    trainer = make_trainer(
        30, [Throughput(peak=1e12)], check_val_every_n_epoch=None, val_check_interval=30, num_sanity_val_steps=0
    )
    trainer.fit(module, make_data(folder))
    metrics = trainer.callback_metrics
    assert {
        "train/loss",
        "train/loss_text",
        "train/loss_speech",
        "train/perplexity_text",
        "train/gradient_norm",
        "train/perplexity_speech",
        "train/speech_bits_per_second",
        "train/skipped_steps",
        "val/loss",
        "val/loss_text",
        "val/loss_speech",
        "val/text/loss",
        "val/aligned/loss_speech",
        "perf/tokens_per_second",
        "perf/mfu",
        "perf/memory_gib",
    } <= set(metrics)
    assert metrics["train/loss_text"] < np.log(vocabulary.num_rows) - 0.5
    assert metrics["perf/tokens"] == 30 * 2 * 64
    expected = metrics["train/loss_speech"] / np.log(2) * 18
    assert metrics["train/speech_bits_per_second"] == pytest.approx(float(expected), rel=1e-4)
    tested = trainer.test(module, make_data(folder), verbose=False)
    assert {"test/loss", "test/text/loss", "test/aligned/loss_speech"} <= {name for part in tested for name in part}
    module.export(str(tmp_path / "lm"))
    network, text, read = load_lm(tmp_path / "lm")
    assert read == vocabulary == module.vocabulary and text.vocab_size == vocabulary.num_text
    torch.testing.assert_close(dict(network.named_parameters()), dict(module.network.named_parameters()))


def test_blocks_of_the_other_kind_are_refused(corpus, make_data, make_module, make_trainer):
    with pytest.raises(ValueError, match="pitch and style tokens with expressive True, but hold units alone instead"):
        make_trainer().fit(make_module(expressive=True), make_data(corpus[0]))


def test_a_rate_that_would_never_decay_is_refused(corpus, make_data, make_module, make_trainer):
    module = make_module()
    module.schedule = WarmupStableDecay(warmup_steps=1)
    with pytest.raises(
        ValueError, match="schedule.total_steps must be given where the trainer has no max_steps and no"
    ):
        make_trainer(-1, max_epochs=1).fit(module, make_data(corpus[0]))


def test_a_family_with_a_state_is_refused_packed_and_trained_by_documents(corpus, tmp_path, make_data, make_trainer):
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8, "n_groups": 1, "state_size": 8}
    settings = LanguageModelConfig(config={"model_type": "mamba2", **shape})
    with pytest.raises(ValueError, match="packing must be documents with mamba2, as packed its losses differ by up to"):
        make_trainer().fit(LanguageModelModule(settings), make_data(corpus[0]))
    module = LanguageModelModule(
        replace(settings, packing="documents"), text_tokenizer=str(corpus[0] / "text_tokenizer")
    )
    make_trainer(2, callbacks=[Throughput()]).fit(module, make_data(corpus[0]))
    module.export(str(tmp_path / "lm"))
    assert load_lm(tmp_path / "lm")[0].config.model_type == "mamba2"


def test_another_vocabulary_is_refused(corpus, make_data, make_module, make_trainer):
    module = make_module(vocabulary=Vocabulary.spirit_lm(num_text=70, num_units=30))
    with pytest.raises(ValueError, match="vocabulary must be the data's, .*num_text=70"):
        make_trainer().fit(module, make_data(corpus[0]))


def with_fingerprint(folder, fingerprint):
    """The same blocks, of a text tokenizer that they tell."""
    path = folder / "blocks" / "train" / "text"
    manifest = read_manifest(path)
    sources = {} if fingerprint is None else {TEXT_FINGERPRINT: fingerprint}
    write_manifest(path, "text", manifest.vocabulary, list(manifest.blocks), sources)


WRONG = {  # texts of another tokenizer, and what is said of it
    "missing": (None, "text_tokenizer must be a .model file, .* but is .*missing instead"),
    "size": (["the cat sat on the mat"], "must have the [0-9]+ text tokens of the vocabulary, but .*size has"),
    "ids": (["eht tac tas no eht tam dna was a god", "a drib gnas ot eht nus"], "the one that the blocks were built"),
    "model": (None, "must give the ids .* when it is exported, but gives"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_text_tokenizer_that_does_not_fit_is_found_before_the_first_step(
    corpus, tmp_path, wrong, make_data, make_module, make_trainer
):
    folder, vocabulary = corpus
    texts, message = WRONG[wrong]
    name = folder / "text_tokenizer" if wrong == "model" else tmp_path / wrong
    if texts is not None:
        train_text_tokenizer(texts * 4, vocabulary.num_text if wrong == "ids" else None).save(name)
    module = make_module(text_tokenizer=str(name))
    if wrong == "model":  # transformers reads a tokenizer beside a Qwen 2 by rules of its own
        module.network_config = LanguageModelConfig(config={**LLAMA, "model_type": "qwen2"})
    with_fingerprint(folder, TextTokenizer.load(folder / "text_tokenizer").fingerprint)
    try:
        with pytest.raises(FileNotFoundError if wrong == "missing" else ValueError, match=message):
            make_trainer().fit(module, make_data(folder))
        assert module.trainer.global_step == 0 and not hasattr(module, "network")
    finally:
        with_fingerprint(folder, None)


@pytest.mark.parametrize("place", ["folder", "some/model"])
def test_a_checkpoint_of_the_hub_is_read_like_a_folder(
    corpus, tmp_path, monkeypatch, place, make_data, make_module, make_trainer
):
    folder, vocabulary = corpus
    network = build_network(LanguageModelConfig(config=LLAMA), vocabulary)
    save_lm(tmp_path / "folder", network, vocabulary, TextTokenizer.load(folder / "text_tokenizer"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spiritlm_pl.lm.base_model.snapshot_download", lambda *_, **__: str(tmp_path / "folder"))
    module = make_module(LanguageModelConfig(checkpoint=place))
    make_trainer(1, limit_val_batches=0).fit(module, make_data(folder))
    module.export("exported")
    assert load_lm("exported")[2] == vocabulary
    other = Vocabulary.spirit_lm(num_text=vocabulary.num_text, num_units=vocabulary.size(UNIT) - 1, multiple_of=16)
    assert other.num_rows == vocabulary.num_rows
    with pytest.raises(ValueError, match=f"vocabulary must be that of {place}, .*num_units=30.* but is .*num_units=29"):
        network_config(LanguageModelConfig(checkpoint=place), other)


def test_a_model_without_a_text_tokenizer_is_told_of_before_training(
    corpus, caplog, make_data, make_module, make_trainer
):
    caplog.set_level("INFO", logger="lightning.pytorch.utilities.rank_zero")
    make_trainer(1, limit_val_batches=0).fit(make_module(), make_data(corpus[0]))
    assert "the exported model will have no text tokenizer, as none was given" in caplog.text


@pytest.mark.parametrize("known_by", ["module", "blocks"])
def test_a_checkpoint_is_consolidated_with_the_text_tokenizer_of_its_training_alone(
    corpus, tmp_path, known_by, make_data, make_module, make_trainer
):
    folder, vocabulary = corpus
    path = folder / "text_tokenizer"
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=1, filename="{step}")
    with_fingerprint(folder, TextTokenizer.load(path).fingerprint if known_by == "blocks" else None)
    try:
        module = make_module(text_tokenizer=str(path) if known_by == "module" else None)
        make_trainer(1, [saves], limit_val_batches=0).fit(module, make_data(folder))
    finally:
        with_fingerprint(folder, None)
    other = train_text_tokenizer(WRONG["ids"][0] * 4, vocabulary.num_text)
    other.save(tmp_path / "other")
    with pytest.raises(ValueError, match="the one that the blocks were built with, but .*other gives other ids"):
        consolidate_checkpoint(saves.best_model_path, tmp_path / "lm", str(tmp_path / "other"))
    assert not (tmp_path / "lm").exists()
    consolidate_checkpoint(saves.best_model_path, tmp_path / "lm", str(path))
    assert load_lm(tmp_path / "lm")[1].fingerprint == TextTokenizer.load(path).fingerprint != other.fingerprint


OPT = {
    "model_type": "opt",
    "hidden_size": 32,
    "ffn_dim": 48,
    "word_embed_proj_dim": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(("row_length", "positions"), [(65, 64), (128, 64)])
def test_rows_longer_than_the_positions_are_refused_before_training(
    corpus, row_length, positions, make_data, make_module, make_trainer
):
    def fit(**settings):
        data = make_data(corpus[0], row_length=row_length)
        make_trainer(1, limit_val_batches=0).fit(make_module(LanguageModelConfig(**settings)), data)

    message = (
        rf"row_length must be at most the {positions} positions of the model \(llama\), but is {row_length} instead"
    )
    with pytest.raises(ValueError, match=f"{message}.*max_position_embeddings {row_length} makes a model"):
        fit(config=LLAMA)
    fit(config={**LLAMA, "max_position_embeddings": row_length})


def test_a_table_of_positions_has_a_last_one(corpus, tmp_path, make_data, make_module, make_trainer):
    folder, vocabulary = corpus
    config = {**OPT, "max_position_embeddings": 64}
    save_lm(tmp_path, build_network(LanguageModelConfig(config=config), vocabulary), vocabulary)
    module = make_module(LanguageModelConfig(checkpoint=str(tmp_path)))
    with pytest.raises(
        ValueError,
        match=r"64 positions of the model \(opt\), but is 65 .* --data.init_args.row_length 64 shortens rows$",
    ):
        make_trainer(1, limit_val_batches=0).fit(module, make_data(folder, row_length=65))
    make_trainer(1, limit_val_batches=0).fit(
        make_module(LanguageModelConfig(checkpoint=str(tmp_path))), make_data(folder)
    )


def test_utilisation_counts_attention_across_documents(corpus, monkeypatch, make_data, make_trainer):
    seen, contexts = [], {}
    monkeypatch.setattr(throughput, "training_flops", lambda weights, width, context: seen.append(context) or 1.0)
    for crossing in (False, True):
        seen.clear()
        module = LanguageModelModule(LanguageModelConfig(config=LLAMA, cross_documents=crossing))
        make_trainer(4, [Throughput(1e12)], limit_val_batches=0).fit(module, make_data(corpus[0]))
        contexts[crossing] = list(seen)
    assert set(contexts[True]) == {64 / 2} and max(contexts[False]) < 64 / 2


def test_time_of_measuring_and_logging_counts(corpus, monkeypatch, make_data, make_module, make_trainer):
    """The seconds behind all logged rates are those of the run, less the first batch, which starts the clock."""
    seen = []

    def memory(device):
        time.sleep(0.05)
        return 0

    monkeypatch.setattr(throughput, "_memory", memory)
    monkeypatch.setattr(LanguageModelModule, "log_dict", lambda self, values, **options: seen.append(dict(values)))
    make_trainer(6, [Throughput()], limit_val_batches=0).fit(make_module(), make_data(corpus[0]))
    rates = [values["perf/tokens_per_second"] for values in seen if "perf/tokens_per_second" in values]
    assert len(rates) == 5 and max(rates[1:]) < 2 * 64 / 0.05


def test_a_full_disk_leaves_the_previous_checkpoint(corpus, tmp_path, make_data, make_module, make_trainer):
    module = make_module()
    trainer = make_trainer(2, limit_val_batches=0)
    trainer.fit(module, make_data(corpus[0]))
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    before = path.read_bytes()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"), warnings.catch_warnings():
            trainer.save_checkpoint(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    torch.load(path, weights_only=True)


def read_config(name, monkeypatch, *more):
    """What the command line makes of a shipped configuration, on this machine."""
    here = ["accelerator=cpu", "devices=1", "num_nodes=1", "strategy=auto", "logger=false", "precision=32-true"]
    options = [*(f"--trainer.{option}" for option in here), *more]
    monkeypatch.setattr("sys.argv", ["spiritlm", f"--config={find_config(f'lm/{name}')}", *options])
    return SpiritCLI(
        lightning.LightningModule,
        lightning.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        parser_kwargs={"parser_mode": "omegaconf+"},
        auto_configure_optimizers=False,
        run=False,
    )


@pytest.mark.parametrize("name", ["base_7b", "base_smollm", "base_quickstart"])
def test_checkpoints_of_every_config_have_a_place_of_their_own(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trainer = read_config(name, monkeypatch).trainer
    assert trainer.checkpoint_callback.dirpath == str(Path(trainer.default_root_dir).absolute() / "checkpoints")


@pytest.mark.parametrize("name", ["base_7b", "base_smollm"])
def test_another_base_keeps_its_rotary_base_and_its_text_tokenizer(name, corpus, monkeypatch, tmp_path):
    folder, vocabulary = corpus
    network = build_network(LanguageModelConfig(config=LLAMA, rope_theta=500_000), vocabulary)
    save_lm(tmp_path / "base", network, vocabulary, TextTokenizer.load(folder / "text_tokenizer"))
    monkeypatch.chdir(tmp_path)
    more = ["--model.init_args.network.checkpoint=base"]
    module = read_config(name, monkeypatch, *more).model
    assert module.text_tokenizer is None and own_text_tokenizer(module.network_config.checkpoint) == "base"
    assert network_config(module.network_config, vocabulary).rope_parameters["rope_theta"] == 500_000
    more += ["--model.init_args.network.rope_theta=2e4", "--model.init_args.text_tokenizer=mine"]
    module = read_config(name, monkeypatch, *more).model
    assert module.text_tokenizer == "mine"
    assert network_config(module.network_config, vocabulary).rope_parameters["rope_theta"] == 20_000
