"""`spiritlm serve` before it serves: what it complains of, in one line."""

import sys
from dataclasses import replace

import pytest

from spiritlm_pl.cli.serve import LOCAL, listen, load_model, serve
from spiritlm_pl.generation import packing
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.serve.session import Session
from spiritlm_pl.vocoder.warm_start import with_voices


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "spiritlm-pl\[serve\]"$'):
        serve()


def test_a_taken_address_is_named():
    with listen(LOCAL, 0) as taken:
        host, port = taken.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(OSError, match=f"127.0.0.1:{port} is not: Address already in use"):
            listen(LOCAL, port)


def test_a_port_has_a_range():
    with pytest.raises(ValueError, match=r"port must be in \[0, 65535\], but is 70000"):
        listen(LOCAL, 70_000)


def test_an_address_that_is_not_this_machines_is_named():
    with pytest.raises(OSError, match="192.0.2.1:0 is not"):
        listen("192.0.2.1", 0)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/lm is not there"):
        load_model(tmp_path)


def test_a_model_is_loaded_with_the_parts_that_are_there(model_folder, tmp_path):
    whole = load_model(model_folder, device="cpu")
    assert whole.speech_tokenizer is not None and whole.vocoder is not None
    (tmp_path / "lm").symlink_to(model_folder / "lm")
    words = load_model(tmp_path, device="cpu")
    assert words.speech_tokenizer is None and words.vocoder is None


def test_a_vocoder_speaks_in_place_of_the_models_own(model_folder, tmp_path):
    own = load_model(model_folder, device="cpu").vocoder
    other = with_voices(model_folder / "vocoder", ["carl"])
    save_network(tmp_path, other, "vocoder")
    model = load_model(model_folder, device="cpu", vocoder=tmp_path)
    assert model.speech_tokenizer is not None and model.vocoder.config.speakers == ("carl",) != own.config.speakers
    save_network(tmp_path, type(other)(replace(other.config, num_units=2)), "vocoder")
    with pytest.raises(ValueError, match="num_units of the vocoder must be at least the language model's"):
        load_model(model_folder, device="cpu", vocoder=tmp_path)


def test_the_published_release_needs_a_model_folder_for_another_vocoder(tmp_path):
    (tmp_path / "spiritlm_model").mkdir()
    (tmp_path / "speech_tokenizer").mkdir()
    with pytest.raises(ValueError, match="--vocoder must be left out for the published release"):
        load_model(tmp_path, device="cpu", vocoder=tmp_path)


def test_only_the_command_promises_that_its_weights_stay(model_folder, monkeypatch):
    loaded = load_model(model_folder, device="cpu")
    network = loaded.model.requires_grad_(False)
    Session(loaded).warm_up()
    before = packing.packed_model(network)
    network.model.norm.weight.data.neg_()
    assert before is not None and packing.packed_model(network) is not before
    monkeypatch.setattr("spiritlm_pl.cli.serve.load_model", lambda *given: loaded)
    monkeypatch.setattr("spiritlm_pl.serve.app.build_app", lambda session, folder: None)
    monkeypatch.setattr("spiritlm_pl.cli.serve.run_server", lambda app, listener: None)
    serve(model_folder, port=0)
    monkeypatch.setattr(packing, "fingerprint", None)  # which compares weights
    assert packing.packed_model(network) is not None
