"""Model folders: written, read, extended, and never half replaced."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.cli.extend_vocab import extend_vocab
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, network_config
from spiritlm_pl.lm.folder import load_causal_lm, load_lm, save_lm
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.model_description import read_vocabulary
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tokenizer():
    return train_text_tokenizer(["the cat sat on the mat", "a dog ran to the park", "the bird sang"] * 4)


def test_a_folder_is_read_as_it_was_written(tmp_path, tiny, tokenizer):
    vocabulary = Vocabulary.spirit_lm(num_text=tokenizer.vocab_size, num_units=20, multiple_of=16)
    network = build_network(tiny, vocabulary).eval()
    save_lm(tmp_path / "lm", network, vocabulary, tokenizer)
    loaded, text, read = load_lm(tmp_path / "lm")
    assert read == vocabulary and text.encode("the cat") == tokenizer.encode("the cat")
    tokens = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens).logits, network(tokens).logits)
    saved = [json.loads(path.read_text()) for path in (tmp_path / "lm").glob("*config.json")]
    assert len(saved) == 2 and all(values.get("use_cache", True) for values in saved)
    again = build_network(LanguageModelConfig(checkpoint=str(tmp_path / "lm")), vocabulary)
    torch.testing.assert_close(again.state_dict(), network.state_dict())


def test_a_failed_write_keeps_the_previous_folder(tmp_path, tiny, vocabulary, monkeypatch):
    network = build_network(tiny, vocabulary)
    folder = save_lm(tmp_path / "lm", network, vocabulary)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space"):
        save_lm(folder, build_network(tiny, vocabulary), vocabulary)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["lm"]


def test_damaged_weights_are_named(tmp_path, tiny, vocabulary, tokenizer):
    folder = save_lm(tmp_path / "lm", build_network(tiny, vocabulary), vocabulary, tokenizer)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ValueError, match=f"{weights} must have SHA-256 .* it is damaged"):
        load_lm(folder)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be a folder with spiritlm.json, but .* has none$"):
        read_vocabulary(tmp_path)
    with pytest.raises(ValueError, match=r"must be a folder with spiritlm.json, but .*/nowhere is not there$"):
        read_vocabulary(tmp_path / "nowhere")
    (tmp_path / "spiritlm.json").write_text('{"stage": "vocoder"}')
    with pytest.raises(ValueError, match="'language_model', but is 'vocoder'"):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"stage": "language', "spiritlm.json must be as this package wrote it, but is damaged"),
        ("[]", "but is damaged: it must hold a JSON object"),
        ('{"stage": "language_model"}', "must be as this package wrote it, but is damaged: .*'vocabulary'"),
        ('{"stage": "language_model", "vocabulary": {"num_colours": 3}}', "but is damaged: .*'num_colours'"),
    ],
)
def test_a_damaged_description_is_named(tmp_path, content, message):
    (tmp_path / "spiritlm.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_vocabulary(tmp_path)


def save_base(folder, tokenizer, tied=False):
    """A text model of the tokenizer's size, and its folder."""
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(0)
    base = LlamaForCausalLM(config).eval()
    base.save_pretrained(folder)
    tokenizer.save(folder)
    return base


@pytest.mark.parametrize("tied", [False, True])
def test_extended_vocabulary(tmp_path, tokenizer, tied, capsys):
    base = save_base(tmp_path / "base", tokenizer, tied)
    extend_vocab(str(tmp_path / "base"), tmp_path / "new", num_units=300, rope_theta=1e5)
    network, text, vocabulary = load_lm(tmp_path / "new")
    assert vocabulary == Vocabulary.spirit_lm(num_text=tokenizer.vocab_size, num_units=300)
    assert network.config.vocab_size == vocabulary.num_rows == len(network.get_input_embeddings().weight)
    assert network.config.rope_parameters["rope_theta"] == 1e5
    assert json.loads((tmp_path / "new" / "config.json").read_text())["rope_theta"] == 1e5  # for other readers
    matrix = network.get_output_embeddings().weight
    old, new = matrix[: vocabulary.num_text], matrix[vocabulary.num_text :]
    torch.testing.assert_close(old, base.get_output_embeddings().weight)
    assert new.std().item() == pytest.approx(old.std().item(), rel=0.1)
    assert (network.get_input_embeddings().weight is network.get_output_embeddings().weight) == tied


def test_a_model_of_the_hub_is_downloaded(tmp_path, tokenizer, monkeypatch, capsys):
    save_base(tmp_path / "cache", tokenizer)
    wanted = []

    def download(name, allow_patterns):
        wanted.append((name, *allow_patterns))
        return str(tmp_path / "cache")

    monkeypatch.setattr("spiritlm_pl.lm.base_model.snapshot_download", download)
    extend_vocab("some/model", tmp_path / "new", num_units=20, multiple_of=16)
    network, text, vocabulary = load_lm(tmp_path / "new")
    assert vocabulary == Vocabulary.spirit_lm(num_text=tokenizer.vocab_size, num_units=20, multiple_of=16)
    assert text.encode("the cat") == tokenizer.encode("the cat")
    assert json.loads((tmp_path / "new" / "spiritlm.json").read_text())["base"] == "some/model"
    assert {patterns for patterns in wanted} == {("some/model", "*.json", "*.model", "*.txt", "*.safetensors")}


@pytest.mark.parametrize("name", ["some/model", "/no/where"])
def test_a_model_out_of_reach_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=f"base must be a folder or a reachable model of the hub, but is '{name}'"):
        extend_vocab(name, tmp_path / "new")


def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path, tiny, vocabulary):
    save_lm(tmp_path / "lm", build_network(tiny, vocabulary), vocabulary)
    settings = LanguageModelConfig(checkpoint=str(tmp_path / "lm"), rope_theta=2e4)
    assert network_config(settings, vocabulary).rope_parameters["rope_theta"] == 2e4
    with pytest.raises(ValueError, match=f"embedding, {vocabulary.num_rows}, but has 1024"):
        network_config(settings, Vocabulary(num_text=300))
    shifted = Vocabulary.spirit_lm(num_text=vocabulary.num_text, num_units=vocabulary.size(UNIT) - 1, multiple_of=16)
    assert shifted.num_rows == vocabulary.num_rows
    with pytest.raises(ValueError, match="vocabulary must be that of .*num_units=20.* but is .*num_units=19"):
        network_config(settings, shifted)
    with pytest.raises(ValueError, match="config must name a model_type"):
        LanguageModelConfig()
    with pytest.raises(
        ValueError, match="checkpoint must be a folder or a reachable model of the hub, but is '/no/where'"
    ):
        network_config(LanguageModelConfig(checkpoint="/no/where"), vocabulary)


def test_a_name_that_no_model_reads_is_refused():
    with pytest.raises(ValueError, match="those of the transformers configuration, but one is 'hidden-size'"):
        LanguageModelConfig(config={"model_type": "llama", "hidden-size": 64})


def test_weights_of_an_earlier_model_do_not_stay(tmp_path, monkeypatch):
    vocabulary = Vocabulary.spirit_lm(num_text=40, num_units=20, multiple_of=64)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    network = LlamaForCausalLM(config)
    for size, value in (("2GB", 1.0), ("20KB", 7.0), ("2GB", 3.0)):
        monkeypatch.setattr("spiritlm_pl.lm.folder.SHARD_SIZE", size)
        torch.nn.init.constant_(network.model.norm.weight, value)
        save_lm(tmp_path / "lm", network, vocabulary)
        assert load_causal_lm(tmp_path / "lm", vocabulary).model.norm.weight[0].item() == value
        files = [*(tmp_path / "lm").glob("*.safetensors*")]
        assert len(files) == 1 if size == "2GB" else len(files) > 2


def test_a_checkpoint_may_learn_ends_but_not_unlearn_them(tmp_path, tiny, vocabulary, tokenizer):
    vocabulary = replace(vocabulary, num_text=tokenizer.vocab_size)
    ended = replace(vocabulary, end_of_document=tokenizer.eos_id)
    plain = save_lm(tmp_path / "plain", build_network(tiny, vocabulary), vocabulary, tokenizer)
    taught = save_lm(tmp_path / "taught", build_network(tiny, ended), ended, tokenizer)
    assert load_lm(taught)[2] == ended  # generation knows what the model was trained with
    for folder in (plain, taught):
        network_config(LanguageModelConfig(checkpoint=str(folder)), ended)
    settings = LanguageModelConfig(checkpoint=str(taught))
    for other in (vocabulary, replace(ended, end_of_document=5)):
        with pytest.raises(ValueError, match="vocabulary must be that of .*end_of_document=2.*, but is .*end_of_docum"):
            network_config(settings, other)
    description = json.loads((plain / "spiritlm.json").read_text())
    del description["vocabulary"]["end_of_document"], description["vocabulary"]["begin_of_document"]
    (plain / "spiritlm.json").write_text(json.dumps(description))  # as folders of before have it
    (plain / CHECKSUMS).unlink()
    assert read_vocabulary(plain) == vocabulary
    with pytest.raises(ValueError, match="end_of_document must be a text token below 30, but is 30 instead"):
        Vocabulary(num_text=30, end_of_document=30)
