"""Language models of units alone that others have trained: their layouts are told, or given, and never guessed."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import HubertConfig, HubertModel, OPTConfig, OPTForCausalLM, Qwen2Config, Qwen2ForCausalLM

from spiritlm_pl.generation import SpiritLM
from spiritlm_pl.generation.loading import LoadOptions, ModelFolders
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.interop.unit_lms.layout import UnitLayout
from spiritlm_pl.interop.unit_lms.reading import read_unit_lm
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocabulary import Vocabulary

NUM_UNITS = 20
OWN = UnitLayout(first_unit=4, num_units=NUM_UNITS, begin=2, end=3)


def write_opt(folder, rows=24, **values):
    """Write an OPT of random weights, with further values in its configuration."""
    torch.manual_seed(1)
    config = OPTConfig(
        vocab_size=rows,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    network = OPTForCausalLM(config)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    network.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return network.eval()


def write_slamkit(folder, rows=NUM_UNITS + 2, **tokeniser):
    """Write a Qwen2 within slamkit's wrapper: other names of configuration and weights, and its tokenizer's file."""
    torch.manual_seed(2)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(
        vocab_size=rows, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, **sizes
    )
    network = Qwen2ForCausalLM(config)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    folder.mkdir()
    kept = {
        f"lm.{name}": value.contiguous() for name, value in network.state_dict().items() if name != "lm_head.weight"
    }
    from safetensors.torch import save_file

    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    wrapper = {
        "model_type": "speech_language_model",
        "architectures": ["UnitLM"],
        "base_model_name": "Qwen/Qwen2.5-0.5B",
        "base_config": config.to_dict() | {"vocab_size": 999, "dtype": "bfloat16"},
        "vocab_size": rows,
    }
    (folder / "config.json").write_text(json.dumps(wrapper))
    written = {"dedup": True, "bos_eos_token_id": 1, "pad_token_id": 0, "num_units": NUM_UNITS, "load_fe": False}
    (folder / "tokeniser_config.json").write_text(json.dumps(written | tokeniser))
    return network.eval()


def write_tokenizer(folder, num_units=NUM_UNITS):
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=num_units, feature_dim=features.feature_dim))
    torch.manual_seed(3)
    torch.nn.init.normal_(quantizer.centroids)
    PhoneticTokenizer(features, quantizer).save(folder)
    return folder


def plain_sum(network, tokens, first):
    """Sum the log-likelihoods of tokens from a place on, one by one."""
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([tokens])).logits[0]
    return sum(float(logits[place - 1].double().log_softmax(-1)[tokens[place]]) for place in range(first, len(tokens)))


def test_scores_equal_a_plain_loop(tmp_path):
    network = write_opt(tmp_path / "opt")
    model = SpiritLM.from_pretrained(ModelFolders(tmp_path / "opt", unit_layout=OWN))
    context, own = [3, 7, 7, 1], [5, 19, 0]
    score = model.score([Speech(units=torch.tensor(context))], [[Speech(units=torch.tensor(own))]])[0]
    ids = [2, *(unit + 4 for unit in [*context, *own])]
    assert score.num_tokens == 3 and score.total == pytest.approx(plain_sum(network, ids, 5), abs=1e-5)


def test_twist_is_told_by_its_offset(tmp_path):
    network = write_opt(tmp_path / "twist", rows=NUM_UNITS + 3, offset=3)
    model, text, vocabulary = read_unit_lm(tmp_path / "twist")
    assert vocabulary.speech_bounds == (3, 23) and vocabulary.opening == () and vocabulary.end_of_document is None
    assert text.fingerprint == "none" and vocabulary.num_rows == 23
    tokens = torch.tensor([[5, 9, 22]])
    torch.testing.assert_close(model(input_ids=tokens).logits, network(input_ids=tokens).logits)


def test_slamkit_is_told_by_its_tokenizer(tmp_path):
    network = write_slamkit(tmp_path / "slam")
    model, _, vocabulary = read_unit_lm(tmp_path / "slam")
    assert vocabulary.speech_bounds == (2, 22) and vocabulary.opening == (1,) and vocabulary.end_of_document == 1
    tokens = torch.tensor([[1, 9, 21]])
    torch.testing.assert_close(model(input_ids=tokens).logits, network(input_ids=tokens).logits)
    scored = SpiritLM.from_pretrained(tmp_path / "slam").score("[Speech][Hu3]", ["[Hu5][Hu1]"])[0]
    assert scored.total == pytest.approx(plain_sum(network, [1, 5, 7, 3], 2), abs=1e-5)


def test_special_tokens_may_follow_the_units(tmp_path):
    write_opt(tmp_path / "opt", rows=32)
    layout = UnitLayout(first_unit=0, num_units=NUM_UNITS, begin=20, end=21)
    _, _, vocabulary = read_unit_lm(tmp_path / "opt", layout)
    assert vocabulary.speech_bounds == (0, 20) and vocabulary.opening == (20,) and vocabulary.num_rows == 32
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary


def test_answers_are_units_alone(tmp_path):
    write_slamkit(tmp_path / "slam")
    model = SpiritLM.from_pretrained(tmp_path / "slam")
    settings = GenerationSettings(max_new_tokens=12, temperature=3.0)
    for output in ("any", "speech"):
        (answer,) = model.generate([Speech(units=torch.tensor([3, 4]))], output, settings)
        assert all(2 <= token < 22 for piece in answer for token in piece.tokens)
    with pytest.raises(ValueError, match="have the tokens .Text. and .Speech."):
        model.generate([Speech(units=torch.tensor([3, 4]))], "text", settings)
    with pytest.raises(ValueError, match="takes no text, but is given 'the cat'"):
        model.generate([Text("the cat")])


def test_speech_alone_has_no_modality_tokens():
    vocabulary = OWN.vocabulary(24)
    for name in ("text_marker", "speech_marker"):
        with pytest.raises(ValueError, match="but has speech tokens alone"):
            getattr(vocabulary, name)
    assert vocabulary.opened_by() == {} and "speech_alone" not in Vocabulary().to_dict()
    assert [vocabulary.kind(token).name for token in (3, 4, 23)] == ["TEXT", "SPEECH", "SPEECH"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"first_unit": 5, "num_units": 20}, "units .5, 25. must be below the 24 rows"),
        ({"first_unit": 2, "num_units": 20, "begin": 3}, "begin_of_document must be an id below 24 that is not of sp"),
        ({"first_unit": 2, "num_units": 20, "end": 24}, "end_of_document must be an id below 24"),
        ({"first_unit": -1, "num_units": 20}, "first_unit of a unit layout must be a number from 0 on, but is -1"),
        ({"first_unit": 2, "num_units": 20, "begin": "bos"}, "begin of a unit layout must be a number from 0 on"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(tmp_path, values, message):
    write_opt(tmp_path / "opt")
    with pytest.raises(ValueError, match=message):
        read_unit_lm(tmp_path / "opt", UnitLayout(**values))


def test_an_unknown_layout_is_not_guessed(tmp_path):
    write_opt(tmp_path / "opt")
    with pytest.raises(ValueError, match="give the ids of another model of units by --unit-layout"):
        read_unit_lm(tmp_path / "opt")
    write_slamkit(tmp_path / "slam")
    (tmp_path / "slam" / "tokeniser_config.json").unlink()
    with pytest.raises(ValueError, match="give the ids of another model of units by --unit-layout"):
        read_unit_lm(tmp_path / "slam")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("tokeniser_config.json", "{}", "must have the numbers bos_eos_token_id"),
        ("tokeniser_config.json", "{", "must be JSON, but cannot be read"),
        ("config.json", "[]", "must hold a JSON object"),
        ("config.json", '{"model_type": "speech_language_model"}', "base_config of .* must be a model's configuration"),
        ("config.json", '{"model_type": "moshi-of-mine"}', "model_type of .* must be one that transformers has"),
        ("config.json", '{"model_type": "llama", "vocab_size": "x"}', "must be a model's configuration, but is not"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, text, message):
    write_slamkit(tmp_path / "slam")
    (tmp_path / "slam" / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_unit_lm(tmp_path / "slam")


@pytest.mark.parametrize("num_units", [NUM_UNITS - 1, NUM_UNITS + 1])
def test_a_speech_tokenizer_of_other_units_is_refused(tmp_path, num_units):
    write_slamkit(tmp_path / "slam")
    folders = ModelFolders(tmp_path / "slam", write_tokenizer(tmp_path / "tokenizer", num_units))
    with pytest.raises(ValueError, match=f"num_units of the speech tokenizer must be .*20, but .* is {num_units}"):
        SpiritLM.from_pretrained(folders)


def test_units_with_repetitions_need_such_a_tokenizer(tmp_path):
    write_slamkit(tmp_path / "slam", dedup=False)
    folders = ModelFolders(tmp_path / "slam", write_tokenizer(tmp_path / "tokenizer"))
    with pytest.raises(ValueError, match="deduplicated of stream unit must be the language model's False"):
        SpiritLM.from_pretrained(folders)


def test_a_layout_is_refused_for_a_model_of_ours(tmp_path, tiny_lm):
    network, text, vocabulary = tiny_lm
    save_lm(tmp_path / "lm", network, vocabulary, text)
    with pytest.raises(ValueError, match="unit_layout must be left out"):
        SpiritLM.from_pretrained(ModelFolders(tmp_path / "lm", unit_layout=OWN), None, LoadOptions())


def test_missing_weights_are_named(tmp_path):
    write_slamkit(tmp_path / "slam", rows=NUM_UNITS + 2)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "slam" / "model.safetensors")
    weights.pop("lm.model.norm.weight")
    save_file(weights, tmp_path / "slam" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="lacks model.norm.weight"):
        read_unit_lm(tmp_path / "slam")


def test_units_are_those_of_a_published_network_and_its_kmeans(tmp_path, monkeypatch):
    """The tokenizer that slamkit's models need, by the code of benchmarks-others.md, on a miniature."""
    torch.manual_seed(5)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    convolutions = {"conv_dim": (8,) * 8, "conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2), "conv_stride": (5, *(2,) * 7)}
    HubertModel(HubertConfig(**sizes, **convolutions, num_conv_pos_embeddings=16)).save_pretrained(tmp_path / "hubert")
    waveform = 0.1 * torch.randn(1, 16_000)
    network = HubertModel.from_pretrained(tmp_path / "hubert").eval()
    with torch.no_grad():
        features = network(waveform, output_hidden_states=True).hidden_states[2][0]
    centers = features[torch.randperm(len(features))[:NUM_UNITS]]
    clusters = SimpleNamespace(cluster_centers_=centers.numpy())
    monkeypatch.setitem(sys.modules, "joblib", SimpleNamespace(load=lambda name: clusters))
    page = (Path(__file__).parents[3] / "docs/benchmarks-others.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import joblib.*?)```", page, re.DOTALL)[1]
    code = code.replace("slprl/mhubert-base-25hz", str(tmp_path / "hubert")).replace("layer=11", "layer=2")
    exec(code.replace("tokenizers/mhubert_500", str(tmp_path / "tokenizer")), {})
    write_slamkit(tmp_path / "slam")
    model = SpiritLM.from_pretrained(ModelFolders(tmp_path / "slam", tmp_path / "tokenizer"))
    wanted = torch.cdist(features, centers).argmin(1).unique_consecutive()
    assert model.codec.encode(Speech(waveform[0], 16_000)).units.tolist() == wanted.tolist()
    assert model.speech_tokenizer.frame_rate == 25
