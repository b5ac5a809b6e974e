"""What the tracker gets of held-out utterances: which, when, and what is in the picture."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from spiritlm_pl.callbacks import resynthesize
from spiritlm_pl.callbacks.resynthesize import ResynthesizeUtterances, chosen_places
from spiritlm_pl.contracts.batches import UnitWaveformBatch
from spiritlm_pl.modules.vocoder import VocoderModule
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder


def batch(name: str, expressive: bool = False) -> UnitWaveformBatch:
    codes = {
        "pitches": torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1]]),
        "styles": torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]]),
        "global_styles": torch.tensor([1]),
    }
    return UnitWaveformBatch(
        units=torch.tensor([[1, 1, 2, 2, 2, 0, 0, 0]]),
        waveforms=0.1 * torch.randn(1, 8 * 640),
        lengths=torch.tensor([6]),
        speakers=torch.tensor([0]),
        ids=[name],
        **(codes if expressive else {}),
    )


def module(**changes: Any) -> VocoderModule:
    config = InverseSTFTConfig(num_units=3, speakers=("ann",), embedding_dim=4, channels=8, hidden_channels=8,
                               unit_blocks=1, frame_blocks=1, duration_channels=4, **changes)  # fmt: skip
    return VocoderModule(
        InverseSTFTVocoder(config),
        [],
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
    )


def test_same_utterances_at_every_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, str, int]] = []
    samples: dict[str, int] = {}

    def audio(trainer: Trainer, name: str, waveform: torch.Tensor, sample_rate: int, step: int) -> None:
        logged.append(("audio", name, step))
        samples[name] = len(waveform)
        assert sample_rate == 16_000

    def figure(trainer: Trainer, name: str, figure: Any, step: int) -> None:
        logged.append(("figure", name, step))
        assert len(figure.axes) >= 3

    monkeypatch.setattr(resynthesize, "log_audio", audio)
    monkeypatch.setattr(resynthesize, "log_figure", figure)
    data: DataLoader[Any] = DataLoader([batch(f"say/{i}") for i in range(4)], batch_size=None)
    model = module()
    callback = ResynthesizeUtterances(num_utterances=2)
    for step in (0, 1):
        trainer = SimpleNamespace(
            sanity_checking=False, is_global_zero=True, loggers=[0], num_val_batches=[4], global_step=step
        )
        for index, item in enumerate(data):
            callback.on_validation_batch_end(trainer, model, None, item, index)
    names = [name for kind, name, step in logged if step == 1]
    assert names == [
        f"resynthesis/say_{i}.{what}"
        for i in (0, 2)
        for what in ("true_durations", "predicted_durations", "spectrograms")
    ]
    assert [name for _, name, _ in logged if name.endswith("original")] == [
        "resynthesis/say_0.original",
        "resynthesis/say_2.original",
    ]
    assert samples["resynthesis/say_0.original"] == samples["resynthesis/say_0.true_durations"] == 6 * 640


def test_codes_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(resynthesize, "log_audio", lambda _, name, wave, *rest: heard.update({name: wave}))
    monkeypatch.setattr(resynthesize, "log_figure", lambda *_: None)
    model = module(num_pitches=2, num_styles=2, styles=("calm", "glad"))
    trainer = SimpleNamespace(
        sanity_checking=False, is_global_zero=True, loggers=[0], num_val_batches=[1], global_step=0
    )
    said = batch("a", expressive=True)
    ResynthesizeUtterances().on_validation_batch_end(trainer, model, None, said, 0)
    network = model.network.eval()
    codes = [[0, 0, 1, 1, 0, 0]], [[1, 1, 1, 1, 1, 0]]
    made = network(said.units[:, :6], said.speakers, *map(torch.tensor, codes), torch.tensor([1]))[0]
    torch.testing.assert_close(heard["resynthesis/a.true_durations"], made.detach())
    spoken = network.synthesize([1, 2, 0], 0, None, [0, 1, 0], [1, 1, 0], "glad")
    torch.testing.assert_close(heard["resynthesis/a.predicted_durations"], spoken)


def test_places_are_spread() -> None:
    assert chosen_places(2, 10, 8) == {0: [0], 5: [0]}
    assert chosen_places(3, 1, 8) == {0: [0, 1, 2]}
    assert chosen_places(3, 1, 2) == {0: [0, 1]}


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="num_utterances must be at least 1, but is 0"):
        ResynthesizeUtterances(num_utterances=0)
    with pytest.raises(ValueError, match="must have best_network .* for ResynthesizeUtterances, but LightningM"):
        ResynthesizeUtterances().setup(None, LightningModule(), "fit")
