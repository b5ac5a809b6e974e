"""Preference tuning under the trainer: what it learns, logs and refuses, and that it goes on bit-equal."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from spiritlm_pl.datamodules.preferences import PreferenceDataModule
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.lm.loss import LossSettings
from spiritlm_pl.lm.objectives import NextToken
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.prefer import PreferenceModule
from spiritlm_pl.preferences.folder import read_manifest, read_pairs, write_manifest
from spiritlm_pl.preferences.learning import preference_loss
from spiritlm_pl.preferences.losses import DPO, SimPO
from spiritlm_pl.preferences.packing import pack
from spiritlm_pl.preferences.pairs import Pair
from spiritlm_pl.preferences.reference import add_reference
from spiritlm_pl.preferences.store import store


@pytest.fixture(scope="module")
def made(tiny_lm, tmp_path_factory):
    """A model, and pairs of which the chosen one ends in units, the rejected one in text, with its log-likelihoods."""
    folder = tmp_path_factory.mktemp("prefer")
    network, text, vocabulary = tiny_lm
    network = deepcopy(network)
    with torch.no_grad():
        network.lm_head.weight *= 30  # otherwise all tokens are equally likely
    save_lm(folder / "lm", network, vocabulary, text)
    rng = np.random.default_rng(0)
    first, end = vocabulary.speech_bounds
    pairs = [
        Pair(
            f"pair-{number}",
            rng.integers(3, 20, 5).tolist(),
            rng.integers(first, end, rng.integers(3, 9)).tolist(),
            rng.integers(3, 20, rng.integers(3, 9)).tolist(),
        )
        for number in range(40)
    ]
    manifest = store(folder / "pairs", pairs, [], vocabulary, text.fingerprint, 0.2, {})
    add_reference(folder / "pairs", manifest, load_lm(folder / "lm")[0], folder / "lm", 256)
    return folder


class Losses(Callback):
    def __init__(self) -> None:
        self.found: dict[int, tuple[float, float]] = {}

    def on_train_batch_end(self, trainer, *args) -> None:
        figures = (float(trainer.callback_metrics[f"train/{name}"]) for name in ("loss", "gradient_norm"))
        self.found[trainer.global_step] = tuple(figures)


def make_module(folder: Path, loss=None, **network) -> PreferenceModule:
    options = {"optimizer": OptimizerSettings(lr=1e-2), "schedule": Constant(warmup_steps=0)}
    return PreferenceModule(LanguageModelConfig(checkpoint=str(folder / "lm"), **network), loss, **options)


def fit(folder: Path, module: PreferenceModule | None = None, steps: int = 6, resume=None, callbacks=(), **data):
    losses = Losses()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        enable_checkpointing=bool(callbacks),
        callbacks=[losses, *callbacks],
    )
    options = {"row_length": 64, "pairs_per_batch": 4, "num_workers": 0, **data}
    module = module or make_module(folder)
    trainer.fit(module, datamodule=PreferenceDataModule(str(folder / "pairs"), **options), ckpt_path=resume)
    return module, trainer, losses.found


@pytest.mark.parametrize("loss", [DPO(0.5), SimPO(2.0, 0.5)], ids=["dpo", "simpo"])
def test_chosen_rewards_rise_above_rejected_ones(made, loss, tmp_path) -> None:
    module, trainer, losses = fit(made, make_module(made, loss), steps=40)
    figures = trainer.callback_metrics
    if isinstance(loss, DPO):
        assert losses[1][0] == pytest.approx(np.log(2), abs=1e-4)  # model and reference are one before the first step
    assert figures["val/accuracy"] > 0.9 and figures["val/reward_margin"] > 0.5
    assert figures["val/reward_chosen"] > figures["val/reward_rejected"]
    assert figures["val/log_likelihood_chosen"] > figures["val/log_likelihood_rejected"]
    assert "val/loss_mixed" not in figures  # all pairs are of one kind, which the plain names tell
    module.export(str(tmp_path / "tuned"))
    tuned, text, _ = load_lm(tmp_path / "tuned")
    assert text.fingerprint == load_lm(made / "lm")[1].fingerprint
    assert not torch.equal(tuned.lm_head.weight, load_lm(made / "lm")[0].lm_head.weight)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_run_goes_on_bit_equal(made, tmp_path) -> None:
    _, _, whole = fit(made, steps=8)
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    fit(made, steps=5, callbacks=[saver])
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    _, _, rest = fit(made, steps=8, resume=str(tmp_path / "step=3.ckpt"), num_workers=1, callbacks=[saver])
    assert sorted(rest) == [4, 5, 6, 7, 8]
    assert all(whole[step] == rest[step] for step in rest)


def test_two_ranks_have_the_gradient_of_one(made) -> None:
    """All batches hold equally many pairs, so the mean of the ranks' gradients is that of the whole."""
    vocabulary = read_manifest(made / "pairs").vocabulary
    pairs = read_pairs(made / "pairs", "train").take(np.arange(8))
    network = build_network(LanguageModelConfig(checkpoint=str(made / "lm")), vocabulary)

    def gradient(*parts: slice) -> list[torch.Tensor]:
        network.zero_grad(set_to_none=True)
        for part in parts:
            batch = pack(pairs.take(np.arange(8)[part]), 64, vocabulary, 0)
            (preference_loss(network, batch, DPO(0.5))[0] / len(parts)).backward()
        return [weight.grad for weight in network.parameters()]

    for one, two in zip(gradient(slice(8)), gradient(slice(4), slice(4, 8)), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_log_likelihoods_of_another_model_are_refused(made, tmp_path, tiny_lm) -> None:
    network, text, vocabulary = load_lm(made / "lm")
    with torch.no_grad():
        network.lm_head.weight += 0.01
    save_lm(tmp_path / "lm", network, vocabulary, text)
    module = make_module(tmp_path)
    with pytest.raises(ValueError, match="must be of network.checkpoint .*prepare reference` computes them anew"):
        fit(made, module)
    fit(made, make_module(tmp_path, SimPO()), steps=1)  # which needs no reference


def test_settings_that_change_the_model_are_told_before_the_first_step(made) -> None:
    with pytest.raises(ValueError, match="differ by .* nats a token"):
        fit(made, make_module(made, config={"hidden_act": "relu", "rms_norm_eps": 100.0}))


def test_missing_log_likelihoods_are_told(made, tmp_path) -> None:
    manifest = read_manifest(made / "pairs")
    for path in (made / "pairs").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_manifest(tmp_path, replace(manifest, reference=None))
    data = PreferenceDataModule(str(tmp_path), row_length=64, pairs_per_batch=4, num_workers=0)
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    with pytest.raises(ValueError, match="have none: `spiritlm prepare reference` adds them"):
        trainer.fit(make_module(made), datamodule=data)


def test_pairs_longer_than_a_row_are_refused_or_left_out(made, capsys) -> None:
    folder = str(made / "pairs")
    with pytest.raises(ValueError, match=r"pairs \(train\) are longer than a row of 20 tokens, the longest of them"):
        PreferenceDataModule(folder, row_length=20).setup("fit")
    data = PreferenceDataModule(folder, row_length=20, longer="leave_out", pairs_per_batch=2, num_workers=0)
    data.setup("fit")
    (batch, *_) = [*data.train_dataloader()]
    assert batch.tokens.shape[1] <= 20
    with pytest.raises(ValueError, match="there are none in"):
        PreferenceDataModule(folder, row_length=5, longer="leave_out").setup("fit")


def test_several_folders_are_mixed(made, tmp_path) -> None:
    manifest = read_manifest(made / "pairs")
    text = load_lm(made / "lm")[1]
    other = [Pair(f"other-{n}", [5, 6 + n], [7], [8, 9]) for n in range(6)]
    second = store(tmp_path / "more", other, [], manifest.vocabulary, text.fingerprint, 0.0, {})
    folders = [str(made / "pairs"), str(tmp_path / "more")]
    with pytest.raises(ValueError, match="or none of them, but there are none in .*more: type spiritlm prepare"):
        PreferenceDataModule(folders, row_length=64).setup("fit")
    add_reference(tmp_path / "more", second, load_lm(made / "lm")[0], made / "lm", 256)
    data = PreferenceDataModule(folders, row_length=64, pairs_per_batch=2, num_workers=0)
    data.setup("fit")
    assert sum(len(batch.chosen) for batch in data.train_dataloader()) == manifest.num_pairs("train") + 6
    held_out = [batch for loader in data.val_dataloader() for batch in loader]  # the second folder has no such pairs
    assert sum(map(int, (batch.counted.sum() for batch in held_out))) == manifest.num_pairs("validation") > 0
    expected = read_pairs(folders[0], "validation").reference
    assert sorted(map(tuple, torch.cat([batch.reference for batch in held_out]).tolist())) == sorted(
        map(tuple, expected.tolist())
    )
    with pytest.raises(ValueError, match="each once"):
        PreferenceDataModule([folders[0], folders[0]])


def test_what_has_no_effect_is_refused(made) -> None:
    with pytest.raises(ValueError, match="checkpoint must be a trained model"):
        PreferenceModule(LanguageModelConfig(config={"model_type": "llama"}))
    with pytest.raises(ValueError, match="z_loss"):
        make_module(made, loss=None).__class__(
            LanguageModelConfig(checkpoint=str(made / "lm"), loss=LossSettings(z_loss=0.1))
        )
    with pytest.raises(ValueError, match="objective must be null"):
        PreferenceModule(LanguageModelConfig(checkpoint=str(made / "lm")), objective=NextToken())
    for options in ({"row_length": 0}, {"pairs_per_batch": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            PreferenceDataModule("folder", **options)
