"""The vocoder's training: it learns, both halves move, steps are counted once, two processes agree."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR
from torch.utils.data import DataLoader

from spiritlm_pl.contracts.batches import UnitWaveformBatch
from spiritlm_pl.modules.skipped_steps import TrainingDivergedError
from spiritlm_pl.modules.vocoder import VocoderModule
from spiritlm_pl.runtime.checkpoint import load_network
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocoder.discriminators import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    SpectrogramDiscriminator,
)
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.losses import adversarial_loss, discriminator_loss, feature_matching_loss
from spiritlm_pl.vocoder.mel import MelLoss
from spiritlm_pl.vocoder.schedule import OneCycle
from spiritlm_pl.vocoder.vocoder import Vocoder

HOP = 640
StartRanks = Callable[..., Callable[..., str]]  # the fixture


def unit_data(**members: object) -> SimpleNamespace:
    """What a vocoder asks of a data module, nothing of it known but what is given."""
    return SimpleNamespace(**{"speakers": None, "styles": None, "layout": None, "common_codes": None, **members})


def tones(size: int = 4, frames: int = 8, seed: int = 0, expressive: bool = False) -> UnitWaveformBatch:
    """Unit u is a tone of (2 + u) * 100 Hz for two frames, quieter for speaker 1; the last segment is shorter.

    Pitch code 1 is an octave up; style code 1 is quieter, and goes with global style 0.
    """
    generator = torch.Generator().manual_seed(seed)
    units = torch.randint(1, 3, (size, frames // 2), generator=generator).cumsum(1) % 3
    units = units.repeat_interleave(2, dim=1)
    speakers = torch.arange(size) % 2
    lengths = torch.full((size,), frames)
    lengths[-1] = frames - 2
    codes: dict[str, torch.Tensor] = {}
    octaves, loudness = torch.zeros_like(units), torch.where(speakers == 0, 0.3, 0.1)
    if expressive:
        octaves = torch.randint(0, 2, (size, frames // 2), generator=generator).repeat_interleave(2, dim=1)
        quieter = torch.arange(size) // 2 % 2
        codes = {"pitches": octaves, "styles": quieter[:, None].expand(-1, frames), "global_styles": 1 - quieter}
        loudness = loudness * torch.where(quieter == 0, 1.0, 0.5)
    cycles = ((2 + units) * 2**octaves * 100 / 16_000).repeat_interleave(HOP, dim=1).cumsum(1)
    waveforms = torch.sin(2 * torch.pi * cycles) * loudness[:, None]
    waveforms[-1, (frames - 2) * HOP :] = 0
    ids = [str(i) for i in range(size)]
    return UnitWaveformBatch(units=units, waveforms=waveforms, lengths=lengths, speakers=speakers, ids=ids, **codes)


EXPRESSIVE: dict[str, Any] = {"num_pitches": 2, "num_styles": 2, "styles": ("calm", "glad")}


def module(duration_dropout: float = 0.0, expressive: bool = False, **changes: Any) -> VocoderModule:
    seed_everything(0, verbose=False)
    config = InverseSTFTConfig(
        **(EXPRESSIVE if expressive else {}),
        num_units=3,
        speakers=("ann", "bob"),
        embedding_dim=8,
        channels=32,
        hidden_channels=64,
        unit_blocks=1,
        frame_blocks=1,
        duration_channels=8,
        duration_dropout=duration_dropout,
    )
    arguments: dict[str, Any] = {
        "discriminators": [SpectrogramDiscriminator((256,), channels=4)],
        "generator_optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=5e-3),
        "discriminator_optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        "generator_scheduler": lambda optimizer: ExponentialLR(optimizer, 0.9),
        "discriminator_scheduler": lambda optimizer: ExponentialLR(optimizer, 0.5),
        "scheduler_interval": "step",
        "stft_weight": 5.0,
        "stft_sizes": (512,),
        "adversarial_start": 3,
        "discriminator_frames": 4,
    }
    return VocoderModule(**({"network": InverseSTFTVocoder(config)} | arguments | changes))


def loader(number: int, expressive: bool = False) -> DataLoader[UnitWaveformBatch]:
    batches = [tones(seed=i, expressive=expressive) for i in range(number)]
    return DataLoader(batches, batch_size=None)


def trainer(folder: Path, **changes: Any) -> Trainer:
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**(arguments | changes))


def test_steps_are_batches_and_both_halves_move(tmp_path: Path) -> None:
    model = module(ema_decay=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit = trainer(tmp_path, max_steps=5)
    fit.fit(model, loader(5), loader(1))
    assert fit.global_step == 5
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved >= {"network", "discriminators", "average"}
    generator_scheduler, discriminator_scheduler = model.lr_schedulers()
    assert generator_scheduler.get_last_lr()[0] == pytest.approx(5e-3 * 0.9**5)
    assert discriminator_scheduler.get_last_lr()[0] == pytest.approx(1e-3 * 0.5**2)  # steps 3 and 4 only
    for name in ("mel_distance", "voicing_error", "duration_error_ms"):
        assert torch.isfinite(fit.callback_metrics[f"val/{name}"])
    assert {"train/loss_mel", "train/loss_feature_matching", "train/loss_duration"} <= set(fit.callback_metrics)


def test_both_halves_descend_from_the_same_weights(tmp_path: Path) -> None:
    plain: Any = {"mel_weight": 0.0, "stft_weight": 0.0, "duration_weight": 0.0, "gradient_clip": 1e9}
    schedules: Any = {"generator_scheduler": None, "discriminator_scheduler": None, "discriminator_frames": None}
    descent: Any = {f"{half}_optimizer": lambda found: SGD(found, lr=1.0) for half in ("generator", "discriminator")}
    model = module(adversarial_start=0, **plain, **schedules, **descent)
    network, critics = copy.deepcopy(model.network).train(), copy.deepcopy(model.discriminators)
    trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(model, loader(1), loader(1))
    batch = tones(seed=0)
    made = model._speak(network, batch)
    real_outputs, made_outputs = critics[0](batch.waveforms), critics[0](made)
    fooling = adversarial_loss(made_outputs) + 2 * feature_matching_loss(real_outputs, made_outputs)
    for before, after, loss in (
        (network, model.network, fooling),
        (critics, model.discriminators, discriminator_loss(real_outputs, made_outputs)),
    ):
        old, new = dict(before.named_parameters()), dict(after.named_parameters())
        gradients = torch.autograd.grad(loss, list(old.values()), retain_graph=True, allow_unused=True)
        for (name, value), gradient in zip(old.items(), gradients, strict=True):
            expected = value if gradient is None else value - gradient
            torch.testing.assert_close(
                new[name], expected, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
            )


@pytest.mark.parametrize("expressive", [False, True])
def test_it_learns_and_exports_the_average(tmp_path: Path, expressive: bool) -> None:
    model = module(ema_decay=0.8, generator_scheduler=None, adversarial_start=30, expressive=expressive)
    fit = trainer(tmp_path, max_steps=40)
    start = float(fit.validate(model, loader(1, expressive), verbose=False)[0]["val/mel_distance"])
    fit.fit(model, loader(40, expressive), loader(1, expressive))
    assert float(fit.callback_metrics["val/mel_distance"]) < 0.5 * start
    assert float(fit.callback_metrics["train/loss_duration"]) < 0.05
    (tested,) = fit.test(model, loader(1, expressive), verbose=False)  # the batch of validation
    assert tested["test/mel_distance"] == pytest.approx(float(fit.callback_metrics["test/mel_distance"]))
    assert tested["test/mel_distance"] < 0.5 * start
    model.export(str(tmp_path / "vocoder"))
    loaded = load_network(tmp_path / "vocoder", "vocoder")
    assert isinstance(loaded, Vocoder)
    for mine, theirs in zip(model.best_network.parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_it_speaks_at_the_pitch_that_it_is_told(tmp_path: Path) -> None:
    """Two utterances that differ in their pitch codes alone; deaf to these, both distances would be the same."""
    said = tones(2, expressive=True)
    assert said.pitches is not None
    units, pitches = said.units[:1].expand(2, -1), torch.stack([said.pitches[0], 1 - said.pitches[0]])
    cycles = ((2 + units) * 2**pitches * 100 / 16_000).repeat_interleave(HOP, dim=1).cumsum(1)
    batch = replace(
        said,
        units=units,
        waveforms=0.3 * torch.sin(2 * torch.pi * cycles),
        lengths=torch.tensor([8, 8]),
        speakers=torch.tensor([0, 0]),
        pitches=pitches,
        styles=torch.zeros_like(units),
        global_styles=torch.tensor([0, 0]),
    )
    data: DataLoader[UnitWaveformBatch] = DataLoader([batch] * 120, batch_size=None)
    model = module(expressive=True, discriminators=[], generator_scheduler=None)
    trainer(tmp_path, max_steps=120).fit(model, data, loader(1, expressive=True))
    made = torch.stack([model.network.speak_frames(units[0], pitches=codes) for codes in pitches])
    right, swapped = (float(MelLoss()(made, wanted)) for wanted in (batch.waveforms, batch.waveforms.flip(0)))
    assert right < 0.85 * swapped


def test_hifigan_with_its_published_discriminators(tmp_path: Path) -> None:
    config = HiFiGANConfig(
        num_units=3,
        speakers=("ann", "bob"),
        embedding_dim=8,
        upsample_initial_channels=32,
        resblock_kernel_sizes=(3,),
        resblock_dilations=((1, 3),),
        duration_channels=8,
    )
    discriminators = [MultiPeriodDiscriminator((2, 3), channels=(4, 8)), MultiScaleDiscriminator(2, channels=128)]
    model = module(network=HiFiGANVocoder(config), discriminators=discriminators, adversarial_start=0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    fit = trainer(tmp_path, max_steps=2)
    fit.fit(model, loader(2), loader(1))
    assert all(torch.isfinite(value) for name, value in fit.callback_metrics.items() if "train/" in name)
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > 0.95 * len(changed)


def test_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    def model() -> VocoderModule:
        """Draws crops and dropout, and takes schedule and start of the discriminators from the trainer."""
        return module(0.5, expressive=True, ema_decay=0.5, generator_scheduler=OneCycle(), adversarial_start=0.3)

    data = loader(4, expressive=True)
    straight = model()
    save = LambdaCallback(on_train_epoch_end=lambda fit, _: fit.save_checkpoint(tmp_path / f"{fit.current_epoch}.ckpt"))
    trainer(tmp_path, max_epochs=2, callbacks=[save]).fit(straight, data, data)
    assert straight.first_adversarial_step == 2
    resumed = model()
    torch.manual_seed(1234)
    trainer(tmp_path, max_epochs=2).fit(resumed, data, data, ckpt_path=tmp_path / "0.ckpt", weights_only=False)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    model = module(discriminators=[])
    broken = tones()
    broken.waveforms[0, 100] = torch.nan
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    data: DataLoader[UnitWaveformBatch] = DataLoader([broken], batch_size=None)
    fit = trainer(tmp_path, max_steps=1)
    with pytest.raises(TrainingDivergedError, match="not in any of the 1 steps: nothing was trained"):
        fit.fit(model, data, loader(1))
    assert model.skipped.total == 1 and fit.callback_metrics["train/skipped_steps"] == 1
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_run_that_diverged_ends(tmp_path: Path) -> None:
    model = module(max_nonfinite_steps=3)
    broken = replace(tones(), waveforms=torch.full_like(tones().waveforms, torch.nan))
    batches = [broken, broken, tones(), *[broken] * 7]
    data: DataLoader[UnitWaveformBatch] = DataLoader(batches, batch_size=None)
    with pytest.raises(TrainingDivergedError, match="not for 3 steps in a row up to step 6"):
        trainer(tmp_path, max_steps=10).fit(model, data, loader(1))
    assert model.skipped.total == 5


def test_schedule_and_start_follow_the_length_of_the_run(tmp_path: Path) -> None:
    for steps in (4, 8):
        model = module(generator_scheduler=OneCycle(warmup=0.5, first=0.1, last=0.0), adversarial_start=0.5)
        rates = []
        fit = trainer(tmp_path, max_steps=steps)
        fit.callbacks.append(
            LambdaCallback(
                on_train_batch_start=lambda *_: rates.append(model.lr_schedulers()[0].get_last_lr()[0])  # noqa: B023
            )
        )
        fit.fit(model, loader(8), loader(1))
        assert model.first_adversarial_step == steps // 2
        assert rates[0] == pytest.approx(5e-4) and rates[steps // 2 - 1] == pytest.approx(5e-3)
        assert rates[-1] == pytest.approx(0.0)


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ema_decay must be in \(0, 1\), but is 1"):
        module(ema_decay=1.0)
    with pytest.raises(ValueError, match=r"adversarial_start must be a step or a share below 1, but is 1.5"):
        module(adversarial_start=1.5)
    with pytest.raises(ValueError, match="scheduler_interval of OneCycle must be 'step', but is 'epoch'"):
        module(generator_scheduler=OneCycle(), scheduler_interval="epoch")
    with pytest.raises(ValueError, match="max_nonfinite_steps must be at least 1, but is 0"):
        module(max_nonfinite_steps=0)
    model = module()
    fit = trainer(tmp_path, max_steps=1)
    fit.datamodule = unit_data(speakers=("eve",))
    model.trainer = fit
    with pytest.raises(ValueError, match=r"speakers must be the data's speakers \['eve'\], but is \['ann', 'bob'\]"):
        model.setup("fit")
    endless = trainer(tmp_path, max_epochs=-1)
    with pytest.raises(ValueError, match="trainer.max_steps must be set for this module, but is -1"):
        endless.fit(module(generator_scheduler=OneCycle()), loader(1), loader(1))
    short = module(generator_scheduler=lambda optimizer: OneCycleLR(optimizer, 1e-3, total_steps=3))
    with pytest.raises(ValueError, match="total_steps of OneCycleLR must be at least trainer.max_steps 4, but is 3"):
        trainer(tmp_path, max_steps=4).fit(short, loader(1), loader(1))


BASE_DATA = SpeechLayout.spirit_lm(num_units=3, frame_rate=25.0)
EXPRESSIVE_DATA = SpeechLayout.spirit_lm(num_units=3, frame_rate=25.0, num_pitches=2, num_styles=2)
MORE_UNITS = SpeechLayout.spirit_lm(num_units=500, frame_rate=25.0)
MORE_PITCHES = SpeechLayout.spirit_lm(num_units=3, frame_rate=25.0, num_pitches=9, num_styles=2)
MORE_STYLES = SpeechLayout.spirit_lm(num_units=3, frame_rate=25.0, num_pitches=2, num_styles=9)


@pytest.mark.parametrize(
    ("expressive", "layout", "styles", "message"),
    [
        (False, MORE_UNITS, (), "num_units must be at least the data's 500, but is 3"),
        (True, BASE_DATA, ("calm", "glad"), "units must have pitch and style codes .* num_pitches 2 .* units alone"),
        (True, MORE_STYLES, ("calm", "glad"), "num_styles must be at least .* 9, but is 2"),
        (True, EXPRESSIVE_DATA, (), r"styles must be the data's styles \[\], but is \['calm', 'glad'\]"),
        (False, BASE_DATA, ("calm",), r"styles must be the data's styles \['calm'\], but is \[\]"),
        (True, EXPRESSIVE_DATA, ("calm", "glad"), None),
        (False, MORE_PITCHES, (), None),  # what Base does not know, it ignores
    ],
)
def test_network_and_data_fit(
    tmp_path: Path, expressive: bool, layout: SpeechLayout, styles: tuple[str, ...], message: str | None
) -> None:
    model = module(expressive=expressive)
    model.trainer = trainer(tmp_path)
    model.trainer.datamodule = unit_data(layout=layout, styles=styles)
    if message is None:
        model.setup("fit")
    else:
        with pytest.raises(ValueError, match=message):
            model.setup("fit")


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_what_is_common_in_the_data_is_exported(tmp_path: Path, ema_decay: float | None) -> None:
    model = module(expressive=True, ema_decay=ema_decay)
    model.trainer = trainer(tmp_path)
    model.trainer.datamodule = unit_data(layout=EXPRESSIVE_DATA, common_codes=(1, 0))
    model.setup("fit")
    assert model.network.config.default_pitch == 1
    model.export(str(tmp_path / "vocoder"))
    loaded = load_network(tmp_path / "vocoder", "vocoder")
    assert isinstance(loaded, Vocoder)
    assert (loaded.config.default_pitch, loaded.config.default_style) == (1, 0)


def test_base_learns_from_expressive_data_as_from_base(tmp_path: Path) -> None:
    batch = tones(expressive=True)
    bare = replace(batch, pitches=None, styles=None, global_styles=None)
    states = []
    for given in (batch, bare):
        model = module()
        data: DataLoader[UnitWaveformBatch] = DataLoader([given], batch_size=None)
        trainer(tmp_path, max_steps=1).fit(model, data, data)
        states.append(model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_two_processes_stay_equal(start_ranks: StartRanks, tmp_path: Path) -> None:
    start_ranks(Path(__file__).with_name("run_vocoder_ddp.py"), tmp_path)()
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    for name, value in ranks[0].items():
        torch.testing.assert_close(ranks[1][name], value, rtol=0, atol=0, msg=name)
