"""What can be plugged in: names, paths, and what a file may not load."""

import json
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from spiritlm_pl import registry
from spiritlm_pl.alignment.sources import make_aligner
from spiritlm_pl.f0.extractors import YIN, make_extractor
from spiritlm_pl.registry import GROUPS, TRUST, find, find_all, name_of, registered, trust, trust_given
from spiritlm_pl.runtime.checkpoint import CONFIG_FILE, load_network, save_network
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.style import StyleEncoder, StyleEncoderConfig

OUTSIDE = """
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

Path("imported").touch()

@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    feature_dim: int = 4

class Mean(nn.Module):
    config_class = MeanConfig
    sample_rate, frame_rate = 16_000, 10.0

    def __init__(self, config):
        super().__init__()
        self.config, self.feature_dim = config, config.feature_dim
        self.scale = nn.Parameter(torch.ones(config.feature_dim))

    def forward(self, waveforms, lengths):
        frames = waveforms.unfold(1, 1600, 1600).mean(2, keepdim=True)
        return frames * self.scale, lengths // 1600

class Flat:
    def __call__(self, waveforms, lengths):
        frames = waveforms.shape[1] // 80 + 1
        return torch.full((len(waveforms), frames), 120.0), torch.ones(len(waveforms), frames, dtype=torch.bool)

class Even:
    name, needs_audio, english_only = "even", False, False

    def __init__(self, source="none"):
        self.source = source

    def align(self, cut_id, waveform, words, language="en"):
        raise NotImplementedError

not_a_class = 3
"""


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside", raising=False)
    monkeypatch.setenv(TRUST, "")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points that another package seems to have, to be filled by a test."""
    points: list[EntryPoint] = []
    real = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*real(group=group), *(p for p in points if p.group == group)]
    )
    monkeypatch.setattr(registry, "registered", registry.registered.__wrapped__)  # without its cache
    return points


def test_all_that_is_registered_here_is_there() -> None:
    for group in GROUPS:
        assert all(found is not None for found in find_all(group).values())
    assert list(registered("f0")) == ["fcpe", "torchaudio", "yaapt", "yin"]
    assert find("f0", "yin", "f0") is YIN and name_of("f0", YIN) == "yin"
    assert name_of("f0", KMeans) == "spiritlm_pl.tokenizers.kmeans.KMeans"


def test_names_that_are_none_are_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="f0 must be one of fcpe, torchaudio, yaapt, yin, or the path of a class"):
        make_extractor("crepe")
    with pytest.raises(ValueError, match="encoder must be one of coarse, hubert, .*, but is 'whisper' instead"):
        StyleEncoderConfig(encoder="whisper", settings={})
    with pytest.raises(ValueError, match="method must be one of ctc, .*, but is 'gentle' instead"):
        make_aligner("gentle", source=None, network="", device="cpu", phones=True)
    trust("nowhere", "outside")
    with pytest.raises(ValueError, match="f0 must be the path of a class, but there is no module 'nowhere'"):
        find("f0", "nowhere.Flat", "f0")
    with pytest.raises(ValueError, match="f0 must be the path of a class, but outside has no Missing"):
        find("f0", "outside.Missing", "f0")
    with pytest.raises(ValueError, match="trust must be a class, module or package"):
        trust("a-b")


def test_a_path_that_the_user_gives_is_loaded_and_used() -> None:
    trust_given("outside.Flat", "yin", "outside.Even")
    f0, voiced = make_extractor("outside.Flat")(torch.zeros(1, 800), torch.tensor([800]))
    assert f0.tolist() == [[120.0] * 11] and voiced.all()
    aligner = make_aligner("outside.Even", source="times", network="", device="cpu", phones=True)
    assert aligner.name == "even" and aligner.source == "times"  # type: ignore[attr-defined]
    trust("outside")
    with pytest.raises(ValueError, match="method must be an aligner, with name"):
        make_aligner("outside.Flat", source=None, network="", device="cpu", phones=True)


def test_a_folder_cannot_choose_code_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust("outside.Mean")
    network = find("features", "outside.Mean", "features")
    folder = save_network(tmp_path / "folder", network(network.config_class(feature_dim=3)), "features")
    sys.modules.pop("outside"), Path("imported").unlink()
    monkeypatch.setenv(TRUST, "")
    with pytest.raises(ValueError, match="names outside.Mean: --trust outside runs code of that package"):
        load_network(folder, "features")
    assert not Path("imported").exists() and "outside" not in sys.modules
    trust("outside")
    assert load_network(folder, "features").feature_dim == 3


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    folder = save_network(tmp_path / "folder", KMeans(KMeansConfig(num_units=3, feature_dim=2)), "quantizer")
    path = folder / CONFIG_FILE
    description = json.loads(path.read_text())
    (folder / CHECKSUMS).unlink()
    trust("outside")
    for class_path in ("outside.not_a_class", "outside.Flat", "spiritlm_pl.runtime.checkpoint.load_file"):
        path.write_text(json.dumps({**description, "class_path": class_path}))
        with pytest.raises(ValueError, match=r"class_path must be a torch.nn.Module with a config_class \("):
            load_network(folder, "quantizer")


def test_a_style_encoder_stands_on_features_of_another_package(tmp_path: Path) -> None:
    trust("outside")
    encoder = StyleEncoder(StyleEncoderConfig(encoder="outside.Mean", settings={"feature_dim": 1}, projection_dim=0))
    again = StyleEncoder.on(encoder, projection_dim=0)
    assert again.config.encoder == "outside.Mean"
    loaded = load_network(save_network(tmp_path / "style", again, "style"), "style")
    waveforms, lengths = torch.rand(2, 32_000), torch.tensor([32_000, 16_000])
    torch.testing.assert_close(loaded(waveforms, lengths), encoder(waveforms, lengths))


def test_what_an_installed_package_registers_has_a_name_and_is_trusted(plugin: list[EntryPoint]) -> None:
    plugin.append(EntryPoint("flat", "outside:Flat", "spiritlm_pl.f0"))
    assert make_extractor("flat") is not None
    registry.check_trusted("outside.Flat", "a folder")
    with pytest.raises(ValueError, match="a folder names outside.Mean"):
        registry.check_trusted("outside.Mean", "a folder")
    plugin.append(EntryPoint("yin", "outside:Flat", "spiritlm_pl.f0"))
    with pytest.raises(ValueError, match="'yin' is registered as spiritlm_pl.f0.extractors:YIN and as outside:Flat"):
        make_extractor("yin")


def test_sources_that_were_never_installed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    with pytest.raises(
        ValueError, match="must be installed with its names, but has none of F0 extractors: run make inst"
    ):
        registry.registered.__wrapped__("f0")


def test_a_broken_package_is_left_out_with_a_word(plugin: list[EntryPoint]) -> None:
    plugin.append(EntryPoint("broken", "not_there:command", "spiritlm_pl.corpora"))
    with pytest.warns(UserWarning, match="'broken' of kinds of corpora .* cannot be loaded from not_there:command"):
        assert "folder" in find_all("corpora")


def test_workers_inherit_what_is_trusted() -> None:
    trust("outside.Mean")
    trust("other")
    assert os.environ[TRUST] == "outside.Mean,other"
