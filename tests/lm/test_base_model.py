"""What cannot be a base is told in one line, before its tokenizer or weights are looked for."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from spiritlm_pl.cli.extend_vocab import extend_vocab
from spiritlm_pl.cli.main import run
from spiritlm_pl.lm.base_model import checkpoint_config
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.extend_vocab import extend_checkpoint, extend_embeddings
from spiritlm_pl.lm.folder import load_causal_lm, load_lm, save_lm
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.model_description import stored_vocabulary
from spiritlm_pl.streams import PITCH
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

LINES = ["the cat sat on the mat", "a dog ran to the park", "the bird sang"] * 4
LORA = {"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}
OWN_CODE = {"AutoConfig": "configuration_moon.MoonConfig", "AutoModelForCausalLM": "modeling_moon.MoonForCausalLM"}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("adapter_config.json", LORA, r"holds an adapter \(LoRA\); merge it with its base first"),
        (
            "config.json",
            {"model_type": "moon"},
            r"model_type must be one that transformers 5\S+ knows, but is 'moon' in",
        ),
        (
            "config.json",
            {"model_type": "moon", "auto_map": OWN_CODE},
            r"\(moon\) brings code of its own, and code from a checkpoint is not run",
        ),
        (
            "config.json",
            {"model_type": "gemma3"},
            r"\(gemma3\) wraps one for images or sound; save its text model first",
        ),
        ("config.json", {"model_type": "llama4"}, r"\(llama4\) wraps one for images or sound"),
        ("config.json", {"model_type": "t5"}, r"must be a causal language model, but '.*' \(t5\) is not"),
        ("config.json", {"model_type": "bart"}, r"must be a causal language model, but '.*' \(bart\) is not"),
        (
            "config.json",
            {"model_type": "gpt2", "n_layer": 10**9},
            r"n_layer must be at most 10000 in .*, but is 1000000000 instead",
        ),
        ("config.json", {}, "must have a readable config.json"),
        ("other.json", {}, "must have a readable config.json"),
    ],
)
def test_the_reason_is_told(tmp_path, file, content, reason):
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=reason) as caught:
        extend_vocab(str(tmp_path), tmp_path / "new")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), "16", [16], None])
def test_values_of_another_kind_are_named(value):
    config = {"model_type": "llama", "hidden_size": value, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(ValueError, match="network.config must be a model's configuration, but is not: .*hidden_size"):
        build_network(LanguageModelConfig(config=config), Vocabulary.spirit_lm(num_text=20, num_units=5))


def test_a_network_that_no_computer_could_build_is_refused():
    config = {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 10**30, "num_attention_heads": 2}
    with pytest.raises(ValueError, match=r"num_hidden_layers must be at most 10000 in network.config, but is 10{30} "):
        build_network(LanguageModelConfig(config=config), Vocabulary.spirit_lm(num_text=20, num_units=5))


def test_an_unknown_kind_of_rotary_positions_is_named(tmp_path):
    config = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"model_type": "llama", "max_position_embeddings": 32}
    vocabulary = Vocabulary.spirit_lm(num_text=20, num_units=5)
    network = build_network(LanguageModelConfig(config=config), vocabulary)
    save_lm(tmp_path, network, vocabulary)
    wrong = {"rope_parameters": {"rope_type": "odd", "rope_theta": 10_000.0}}
    with pytest.raises(ValueError, match=r"could not be tried on a small copy \(KeyError: 'odd'\)"):
        build_network(LanguageModelConfig(config=config | wrong), vocabulary)
    (tmp_path / CHECKSUMS).unlink()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"rope_parameters": None, "pad_token_id": 2**63}))
    with pytest.raises(ValueError, match=f"configuration of {tmp_path} must be one of its kind, but is not: .*adding"):
        load_lm(tmp_path)
    path.write_text(whole)
    with pytest.raises(ValueError, match=f"configuration of {tmp_path} must be one of its kind, but is not: 'odd'"):
        load_causal_lm(tmp_path, vocabulary)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "qwen3", "gpt2", "opt", "mpt", "falcon", "phi", "mamba"])
def test_text_models_are_taken(tmp_path, kind):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    assert checkpoint_config(str(tmp_path)).model_type == kind


def test_a_model_without_some_of_its_weights_is_no_base(tmp_path, tiny):
    tokenizer = train_text_tokenizer(LINES)
    vocabulary = Vocabulary.spirit_lm(num_text=tokenizer.vocab_size, num_units=20, multiple_of=16)
    folder = save_lm(tmp_path / "base", build_network(tiny, vocabulary), vocabulary, tokenizer)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / CHECKSUMS).unlink()
    message = r"must hold all weights of the model, but '.*base' lacks model\.layers\.1\.mlp\.up_proj\.weight"
    with pytest.raises(ValueError, match=message):
        extend_checkpoint(str(folder), tmp_path / "new", vocabulary)
    with pytest.raises(ValueError, match=message):
        build_network(LanguageModelConfig(checkpoint=str(folder)), vocabulary)


SMALL = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
GPTJ = {"vocab_size": 400, "n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4}


@pytest.mark.parametrize(
    ("kind", "settings", "padded"),
    [
        ("phi", {**SMALL, "intermediate_size": 48}, 0),
        ("gptj", GPTJ, 0),
        ("gptj", GPTJ, 48),
        ("llama", {**SMALL, "intermediate_size": 48}, 48),
        ("llama", {**SMALL, "intermediate_size": 48, "tie_word_embeddings": True}, 48),
    ],
)
def test_new_tokens_start_as_likely_as_old_ones(kind, settings, padded):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, bos_token_id=None, eos_token_id=None, **settings)
    network = AutoModelForCausalLM.from_config(config).eval()
    num_text = 400 - padded
    head = network.get_output_embeddings()
    head.weight.data[num_text:] = 0  # rows beyond the tokenizer's, which were never trained
    if head.bias is not None:
        head.bias.data[:num_text] = torch.randn(num_text) - 5  # as trained ones are
        head.bias.data[num_text:] = 0
    vocabulary = Vocabulary.spirit_lm(num_text=num_text, num_units=200, multiple_of=16)
    extend_embeddings(network, vocabulary)
    prompts = torch.randint(num_text, (4, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        likely = network(prompts).logits.softmax(-1)[..., num_text:].sum(-1).mean().item()
    assert likely == pytest.approx(1 - num_text / vocabulary.num_rows, rel=0.2)
    bias = network.get_output_embeddings().bias
    assert bias is None or (
        len(bias) == vocabulary.num_rows and bias[num_text:].std().item() == pytest.approx(1, rel=0.2)
    )


@pytest.mark.parametrize("kind", ["llama", "phi", "gpt2"])
def test_trained_speech_tokens_keep_their_rows_by_name(tmp_path, capsys, kind):
    """Base to Expressive, of a model whose documents end with a token."""
    text = train_text_tokenizer(LINES)
    base = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=20, num_tasks=2, multiple_of=16, end_of_document=2)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(kind, vocab_size=base.num_rows, bos_token_id=None, eos_token_id=None, **sizes)
    network = AutoModelForCausalLM.from_config(config)
    if kind == "phi":
        network.lm_head.bias.data.normal_()
    save_lm(tmp_path / "base", network, base, text)
    extend_vocab(str(tmp_path / "base"), tmp_path / "new", 20, num_pitches=4, num_styles=3, num_tasks=2, multiple_of=16)
    assert "has speech tokens already: their rows are kept, and those of 7 tokens drawn" in capsys.readouterr().err
    extended, _, grown = load_lm(tmp_path / "new")
    assert (grown.size(PITCH), grown.end_of_document) == (4, 2)
    before, after = (
        {
            vocabulary.name(token) or token: [
                *model.get_input_embeddings().weight[token].tolist(),
                *output(model, token),
            ]
            for token in range(vocabulary.num_tokens)
        }
        for model, vocabulary in ((network, base), (extended, grown))
    )
    assert before.items() <= after.items() and "[TTS]" in before and len(after) == len(before) + 7


def output(model, token):
    """Row and bias of a token in the output layer."""
    head = model.get_output_embeddings()
    return head.weight[token].tolist() + ([] if head.bias is None else [head.bias[token].item()])


def test_trained_tokens_are_not_lost_and_folders_not_overwritten(tmp_path):
    text = train_text_tokenizer(LINES)
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=20, multiple_of=16)
    config = AutoConfig.for_model("llama", **{**SMALL, "vocab_size": vocabulary.num_rows})
    save_lm(tmp_path / "base", AutoModelForCausalLM.from_config(config), vocabulary, text)
    with pytest.raises(ValueError, match="num_units must be at least the 20 of .*, whose trained tokens are kept, but"):
        extend_vocab(str(tmp_path / "base"), tmp_path / "new", num_units=10)
    with pytest.raises(ValueError, match="output must be a new folder, but .*base holds "):
        extend_vocab(str(tmp_path / "base"), tmp_path / "base", num_units=20)
    run(["extend-vocab", str(tmp_path / "base"), str(tmp_path / "new"), "--num-units=30"])
    assert stored_vocabulary(tmp_path / "new").layout.first.size == 30
    assert not list((tmp_path / "new").glob(".*"))  # such as the claim of the command on the folder
