"""A vocoder learns another voice: from a corpus without units to the table, and what is refused on the way."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything

from spiritlm_pl.callbacks.compare_voice import CompareVoice, check_amount, metric_name
from spiritlm_pl.callbacks.export import ExportNetwork
from spiritlm_pl.cli.units_first import write_units_first
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import make_cut, save_corpus
from spiritlm_pl.datamodules.unit_waveforms import UnitWaveformDataModule
from spiritlm_pl.modules.vocoder import VocoderModule
from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.vocoder import Vocoder

SECONDS = 8
pytestmark = pytest.mark.filterwarnings("ignore:corpora. .* are (little|few)")


def save_tokenizer(folder: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=4, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids)
    PhoneticTokenizer(features, quantizer).save(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tokenizer(folder / "speech_tokenizer")
    config = InverseSTFTConfig(num_units=4, speakers=("ann", "bob"), embedding_dim=8, channels=16, hidden_channels=16,
                               unit_blocks=1, frame_blocks=1, duration_channels=8)  # fmt: skip
    save_network(folder / "vocoder", InverseSTFTVocoder(config), "vocoder")
    return folder


def corpus(folder: Path, speakers: tuple[str, ...] = ("eve",), train: int = 8, held_out: int = 5) -> Path:
    cuts = {}
    for split, count in (("train", train), ("validation", held_out), ("test", held_out)):
        cuts[split] = []
        for index in range(count):
            times = torch.arange(SECONDS * 16_000) / 16_000
            pitch = 150 + 50 * ((2 * times).long() % 2) + 3 * index
            name = f"{split}-{index}"
            path = folder / "audio" / f"{name}.wav"
            samples = save_wav(path, 0.3 * torch.sin(2 * math.pi * pitch * times))
            cuts[split].append(
                make_cut(
                    name,
                    path,
                    sample_rate=16_000,
                    num_samples=samples,
                    text="",
                    speaker=speakers[index % len(speakers)],
                )
            )
    save_corpus(folder, cuts, name=folder.name, source="test", licence="none")
    return folder


def data(root: Path, model: Path, speech: Path) -> UnitWaveformDataModule:
    units = [str(root / "units" / speech.name)]
    tokenizer = str(model / "speech_tokenizer")
    return UnitWaveformDataModule([str(speech)], units, batch_size=4, tokenizer=tokenizer)


def module(model: Path, **options: Any) -> VocoderModule:
    seed_everything(0, verbose=False)
    return VocoderModule(
        None,
        [],
        lambda weights: torch.optim.AdamW(weights, lr=1e-2),
        lambda weights: torch.optim.AdamW(weights, lr=1e-2),
        initial=str(model / "vocoder"),
        ema_decay=0.5,
        **options,
    )


def trainer(root: Path, **options: Any) -> Trainer:
    callbacks = [ExportNetwork(), CompareVoice(pocketsphinx=False, f0="yin", utterances=3)]
    return Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                   enable_model_summary=False, default_root_dir=root, max_steps=16, limit_val_batches=0,
                   use_distributed_sampler=False, callbacks=callbacks, **options)  # fmt: skip


def test_from_recordings_to_the_table(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech, fit = corpus(tmp_path / "eve"), trainer(tmp_path)
    given = data(tmp_path, model, speech)
    write_units_first(given, fit)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "units").rglob("*.parquet")}
    assert len(written) == 3
    write_units_first(given, fit)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "units").rglob("*.parquet")}
    fit.fit(module(model), datamodule=given)
    report = json.loads((tmp_path / "voice.json").read_text())
    assert report["voice"] == "eve" and report["steps"] == 16 and report["sentences"] == 6
    mel, alike = report["changes"]["log-mel distance"], report["changes"]["speaker similarity"]
    assert mel["after"]["value"] < 0.8 * mel["before"]["value"]
    assert mel["change"]["high"] < 0 < alike["change"]["low"]
    assert mel["change"]["value"] == pytest.approx(mel["after"]["value"] - mel["before"]["value"])
    assert "| log-mel distance (lower is better) |" in (tmp_path / "voice.md").read_text()
    assert "Voice eve: 6 held-out sentences" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert {"validation-0_original.wav", "validation-0_before.wav", "validation-0_after.wav"} <= names
    network = load_network(tmp_path / "export", "vocoder")
    assert isinstance(network, Vocoder) and network.config.speakers == ("eve",)
    assert len(json.loads((tmp_path / "export" / "config.json").read_text())["tokenizer_sha256"]) == 64


def test_it_trains_as_vocoders_do(model: Path, tmp_path: Path) -> None:
    """Dropout is on, the average is that of the start, and the start itself stays what it was."""
    given = data(tmp_path, model, corpus(tmp_path / "eve", train=1, held_out=1))
    learner = module(model, initial_speaker="bob")
    fit = trainer(tmp_path)
    write_units_first(given, fit)
    given.setup("fit")
    learner.trainer = fit
    fit.datamodule = given  # type: ignore[attr-defined]
    learner.setup("fit")
    assert learner.network.training
    old = load_network(model / "vocoder", "vocoder")
    units = torch.tensor([[0, 1, 2, 3, 3]])
    for network in (learner.network.eval(), learner.best_network.eval(), learner.start()):
        torch.testing.assert_close(network(units, torch.tensor([0])), old(units, torch.tensor([1])))


def test_several_speakers_are_refused(model: Path, tmp_path: Path) -> None:
    speech, fit = corpus(tmp_path / "both", ("eve", "adam")), trainer(tmp_path)
    given = data(tmp_path, model, speech)
    write_units_first(given, fit)
    with pytest.raises(ValueError, match=r"must be of one speaker without a network, but is of 2 \(adam, eve\)"):
        fit.fit(module(model), datamodule=given)


def test_units_of_another_tokenizer_are_told(model: Path, tmp_path: Path) -> None:
    speech, fit = corpus(tmp_path / "eve"), trainer(tmp_path)
    save_tokenizer(tmp_path / "other" / "speech_tokenizer", seed=1)
    given = data(tmp_path, tmp_path / "other", speech)
    write_units_first(given, fit)
    with pytest.warns(UserWarning, match=r"units must be of the tokenizer that the vocoder .* was trained with"):
        fit.fit(module(model), datamodule=given)
    assert "the same unit may be another sound" in (tmp_path / "voice.md").read_text()


def test_units_lie_where_they_are_written(model: Path, tmp_path: Path) -> None:
    given = data(tmp_path, model, corpus(tmp_path / "eve", train=1, held_out=0))
    given.units = [str(tmp_path / "units" / "mine")]
    with pytest.raises(ValueError, match=r"units must be .*units/eve for a tokenizer, but are .*units/mine instead"):
        write_units_first(given, trainer(tmp_path))
    with pytest.raises(ValueError, match=r"tokenizer must be left out with 2 ranks"):
        given.units = [str(tmp_path / "units" / "eve")]
        write_units_first(given, SimpleNamespace(world_size=2))  # type: ignore[arg-type]


def test_amounts() -> None:
    check_amount(300, 10)
    with pytest.raises(ValueError, match="at least 60 s of training speech for another voice, but hold 59 s"):
        check_amount(59, 10)
    with pytest.raises(ValueError, match="hold none with units: prepare them with a larger --test-fraction"):
        check_amount(600, 0)
    with pytest.warns(UserWarning, match="299 s of training speech are little"):
        check_amount(299, 10)
    with pytest.warns(UserWarning, match="9 held-out sentences are few"):
        check_amount(300, 9)


def test_a_start_is_needed(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="network or initial must be given, but both are None"):
        VocoderModule(None, [], torch.optim.AdamW, torch.optim.AdamW)
    assert metric_name("words heard wrong (WER), %, pocketsphinx") == "words_heard_wrong_wer_pocketsphinx"
