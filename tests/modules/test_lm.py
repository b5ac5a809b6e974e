"""The language model's module under the trainer: what it logs, refuses, skips, exports, and survives."""

import resource
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import GradClipAlgorithmType

from spiritlm_pl.callbacks import throughput
from spiritlm_pl.callbacks.throughput import Throughput
from spiritlm_pl.cli.configs import find_config
from spiritlm_pl.cli.training import SpiritCLI
from spiritlm_pl.data.blocks import TEXT_FINGERPRINT, read_manifest, write_block, write_manifest
from spiritlm_pl.data.collate import LossOn
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, network_config
from spiritlm_pl.lm.folder import load_lm, own_text_tokenizer, save_lm
from spiritlm_pl.lm.optimizer import AdamWSettings
from spiritlm_pl.lm.schedule import Constant, Cosine
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.skipped_steps import TrainingDivergedError
from spiritlm_pl.modules.stage import check_clipping
from spiritlm_pl.modules.strategy import Zero3Strategy
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


def make_data(folder, batch_size=2, **options):
    streams = {kind: StreamConfig(folder=str(folder / "blocks")) for kind in ("text", "aligned")}
    options = {"row_length": 64, "num_workers": 0, "val_rows": 4, **options}
    return InterleavedDataModule(streams, batch_size=batch_size, **options)


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


def make_module(network=LanguageModelConfig(config=LLAMA), lr=1e-2, **options):  # noqa: B008  frozen
    return LanguageModelModule(
        network, optimizer=AdamWSettings(lr=lr), schedule=Constant(1), units_per_second=18.0, **options
    )


def test_it_learns_and_reports_text_and_speech_apart(corpus, tmp_path):
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


def test_blocks_of_the_other_kind_are_refused(corpus):
    with pytest.raises(ValueError, match="pitch and style tokens with expressive True, but hold units alone instead"):
        make_trainer().fit(make_module(expressive=True), make_data(corpus[0]))


def test_a_family_with_a_state_is_refused_packed_and_trained_by_documents(corpus, tmp_path):
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


def test_another_vocabulary_is_refused(corpus):
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
def test_a_text_tokenizer_that_does_not_fit_is_found_before_the_first_step(corpus, tmp_path, wrong):
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
def test_a_checkpoint_of_the_hub_is_read_like_a_folder(corpus, tmp_path, monkeypatch, place):
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


def test_a_model_without_a_text_tokenizer_is_told_of_before_training(corpus, caplog):
    caplog.set_level("INFO", logger="lightning.pytorch.utilities.rank_zero")
    make_trainer(1, limit_val_batches=0).fit(make_module(), make_data(corpus[0]))
    assert "the exported model will have no text tokenizer, as none was given" in caplog.text


@pytest.mark.parametrize("known_by", ["module", "blocks"])
def test_a_checkpoint_is_consolidated_with_the_text_tokenizer_of_its_training_alone(corpus, tmp_path, known_by):
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


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_batch_of_another_step_is_refused(corpus):
    data = make_data(corpus[0])
    data.setup()
    trainer = make_trainer()
    data.trainer = trainer
    late = list(data.train_dataloader())[1:]
    loader = torch.utils.data.DataLoader(late, batch_size=None)
    with pytest.raises(ValueError, match="batch must belong to step 0 of the trainer, but belongs to step 1"):
        make_trainer().fit(make_module(vocabulary=corpus[1]), loader)


class Poison(Callback):
    """Makes the gradients of given steps infinite, and keeps the weights as they were before."""

    def __init__(self, steps):
        self.steps, self.weights = steps, {}

    def on_after_backward(self, trainer, pl_module):
        weight = pl_module.network.get_input_embeddings().weight
        self.weights[trainer.global_step] = weight.detach().clone()
        if trainer.global_step in self.steps:
            weight.grad[3] = torch.inf


def test_a_step_without_finite_gradients_changes_nothing(corpus):
    poison, module = Poison({1}), make_module()
    trainer = make_trainer(4, [poison], limit_val_batches=0)
    trainer.fit(module, make_data(corpus[0]))
    assert torch.equal(poison.weights[1], poison.weights[2])
    assert not torch.equal(poison.weights[2], poison.weights[3])
    assert trainer.callback_metrics["train/skipped_steps"] == 1 and trainer.global_step == 4


def test_training_stops_after_many_of_them(corpus, tmp_path):
    poison, module = Poison({2, 3, 4}), make_module(max_nonfinite_steps=3)
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    with pytest.raises(TrainingDivergedError, match="not for 3 steps in a row"):
        make_trainer(9, [poison, saves], limit_val_batches=0).fit(module, make_data(corpus[0]))
    assert torch.equal(module.network.get_input_embeddings().weight, poison.weights[2])
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved["network.model.embed_tokens.weight"], poison.weights[2])


class Record(Callback):
    """Keeps loss and gradient norm of every step; stops dead before a batch if asked to."""

    def __init__(self, stop_before=None):
        self.values, self.weights, self.seen, self.stop_before = {}, {}, 0, stop_before

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.seen == self.stop_before:
            raise RuntimeError("stopped")
        self.seen += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > batch.step:
            values = {name: trainer.callback_metrics[f"train/{name}"].item() for name in ("loss", "gradient_norm")}
            self.values[trainer.global_step] = values
            self.weights = {name: value.detach().clone() for name, value in pl_module.network.named_parameters()}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_step_cut_in_two_is_done_again_exactly(corpus, tmp_path):
    def fit(record, folder, checkpoint=None):
        saves = ModelCheckpoint(tmp_path / folder, save_top_k=-1, filename="{step}", save_on_exception=True)
        lightning.seed_everything(3)
        callbacks = [record, Throughput(), saves]
        trainer = make_trainer(5, callbacks, limit_val_batches=0, accumulate_grad_batches=3)
        trainer.fit(make_module(), make_data(corpus[0]), ckpt_path=checkpoint)
        assert trainer.callback_metrics["perf/tokens"] == 5 * 3 * 2 * 64

    whole, stopped, again = Record(), Record(stop_before=2 * 3 + 1), Record()
    fit(whole, "whole")
    with pytest.raises(RuntimeError, match="stopped"):
        fit(stopped, "stopped")
    [saved] = (tmp_path / "stopped").glob("*step=2*.ckpt")
    fit(again, "again", saved)
    assert {**stopped.values, **again.values} == whole.values and sorted(again.values) == [3, 4, 5]
    assert again.seen == 3 * 3
    torch.testing.assert_close(again.weights, whole.weights, rtol=0, atol=0)


def test_the_loss_of_a_step_is_that_of_all_its_batches(corpus):
    def first_step(batch_size, accumulate):
        record = Record()
        lightning.seed_everything(3)
        trainer = make_trainer(1, [record], limit_val_batches=0, accumulate_grad_batches=accumulate)
        trainer.fit(make_module(), make_data(corpus[0], batch_size))
        assert record.values[1]["loss"] == trainer.callback_metrics["train/loss"].item()
        return trainer.callback_metrics

    whole, parts = first_step(4, 1), first_step(1, 4)
    for name in ("loss", "loss_text", "loss_speech"):
        assert parts[f"train/{name}"].item() == pytest.approx(whole[f"train/{name}"].item(), rel=1e-5)


class Gradients(Callback):
    """Keeps the gradients of the last step, before they are clipped, and each batch's number of predicted tokens."""

    def __init__(self):
        self.counts = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        wanted = batch.loss_mask[:, 1:] & (batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1])
        self.counts.append(int(wanted.sum()))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients = {name: weight.grad.clone() for name, weight in pl_module.network.named_parameters()}


@pytest.mark.parametrize("parts", [2, 4])
def test_every_token_of_a_step_weighs_as_much_however_many_its_batch_has(corpus, parts):
    def first_step(batch_size, accumulate):
        lightning.seed_everything(3)
        seen = Gradients()
        trainer = make_trainer(1, [seen], limit_val_batches=0, accumulate_grad_batches=accumulate)
        trainer.fit(make_module(), make_data(corpus[0], batch_size, loss_on=LossOn(text=False)))
        return seen

    whole, cut = first_step(4, 1), first_step(4 // parts, parts)
    assert sum(cut.counts) == sum(whole.counts) and max(cut.counts) > 1.2 * min(cut.counts)
    torch.testing.assert_close(cut.gradients, whole.gradients, rtol=1e-4, atol=1e-7)


class Norms(Callback):
    def on_train_start(self, trainer, pl_module):
        self.before = pl_module.network.model.norm.weight.detach().clone()

    def on_train_end(self, trainer, pl_module):
        self.moved = (pl_module.network.model.norm.weight.detach() - self.before).abs()


def test_norms_move_at_the_published_learning_rate_in_what_bfloat16_is_offered(corpus):
    norms = Norms()
    trainer = make_trainer(5, [norms], limit_val_batches=0, precision="bf16-mixed")
    trainer.fit(make_module(lr=3e-5), make_data(corpus[0]))
    assert norms.before.dtype == torch.float32 and norms.moved.min() > 0 and norms.moved.max() > 1e-4
    weight = torch.nn.Parameter(norms.before.bfloat16())  # what is refused
    optimizer = torch.optim.AdamW([weight], lr=3e-5)
    for _ in range(5):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert torch.equal(weight.detach().float(), norms.before)


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("bfloat16", "32-true"), ("bfloat16", "bf16-mixed"), ("float32", "bf16-true"), ("float16", "32-true")],
)
def test_weights_in_half_precision_are_refused_without_deepspeed(corpus, dtype, precision):
    module = make_module(LanguageModelConfig(config=LLAMA, dtype=dtype))
    kind = "float16" if dtype == "float16" else "bfloat16"
    message = f"weights must be float32 without DeepSpeed, .* but network.model.embed_tokens.weight is {kind} instead"
    with pytest.raises(ValueError, match=message):
        make_trainer(1, limit_val_batches=0, precision=precision).fit(module, make_data(corpus[0]))


OPT = {
    "model_type": "opt",
    "hidden_size": 32,
    "ffn_dim": 48,
    "word_embed_proj_dim": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(("row_length", "positions"), [(65, 64), (128, 64)])
def test_rows_longer_than_the_positions_are_refused_before_training(corpus, row_length, positions):
    def fit(**settings):
        data = make_data(corpus[0], row_length=row_length)
        make_trainer(1, limit_val_batches=0).fit(make_module(LanguageModelConfig(**settings)), data)

    message = (
        rf"row_length must be at most the {positions} positions of the model \(llama\), but is {row_length} instead"
    )
    with pytest.raises(ValueError, match=f"{message}.*max_position_embeddings {row_length} makes a model"):
        fit(config=LLAMA)
    fit(config={**LLAMA, "max_position_embeddings": row_length})


def test_a_table_of_positions_has_a_last_one(corpus, tmp_path):
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


def test_a_step_that_deepspeed_skips_counts_once(corpus):
    module = make_module(max_nonfinite_steps=2)
    logged = {}
    module.log = lambda name, value: logged.update({name: value})
    engine = SimpleNamespace(optimizer=SimpleNamespace(overflow=False), get_global_grad_norm=lambda: 1.5)
    trainer = module.trainer = SimpleNamespace(model=engine, global_step=0)
    for step, overflow in enumerate((False, True, False, True)):
        for last in (False, False, True):  # the flag stays as it was until DeepSpeed's next step
            if last:
                trainer.global_step, engine.optimizer.overflow = step + 1, overflow
            module.on_train_batch_end(None, SimpleNamespace(step=step), 0)
    assert module.skipped.total == logged["train/skipped_steps"] == 2 and module.skipped.in_a_row == 1
    assert logged["train/gradient_norm"] == 1.5
    trainer.global_step = 5
    with pytest.raises(TrainingDivergedError, match="not for 2 steps in a row"):
        module.on_train_batch_end(None, SimpleNamespace(step=4), 0)


def test_deepspeed_does_not_clip_by_value():
    module = make_module()
    module.trainer = SimpleNamespace(gradient_clip_algorithm=GradClipAlgorithmType.VALUE, strategy=Zero3Strategy())
    with pytest.raises(ValueError, match="gradient_clip_algorithm must be norm, but is value instead"):
        check_clipping(module)
    module.trainer.strategy = SingleDeviceStrategy()
    check_clipping(module)  # honoured there


def test_a_schedule_without_an_end_is_refused(corpus):
    module = LanguageModelModule(LanguageModelConfig(config=LLAMA), schedule=Cosine(warmup_steps=1))
    with pytest.raises(ValueError, match="total_steps must be given where the trainer has no max_steps"):
        make_trainer(-1, max_epochs=1, limit_val_batches=0).fit(module, make_data(corpus[0]))


def test_utilisation_counts_attention_across_documents(corpus, monkeypatch):
    seen, contexts = [], {}
    monkeypatch.setattr(throughput, "training_flops", lambda weights, width, context: seen.append(context) or 1.0)
    for crossing in (False, True):
        seen.clear()
        module = LanguageModelModule(LanguageModelConfig(config=LLAMA, cross_documents=crossing))
        make_trainer(4, [Throughput(1e12)], limit_val_batches=0).fit(module, make_data(corpus[0]))
        contexts[crossing] = list(seen)
    assert set(contexts[True]) == {64 / 2} and max(contexts[False]) < 64 / 2


def test_time_of_measuring_and_logging_counts(corpus, monkeypatch):
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


def test_a_full_disk_leaves_the_previous_checkpoint(corpus, tmp_path):
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
