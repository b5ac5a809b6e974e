"""Rotary positions under the names of before `transformers` 5, which read them as 10,000 where they are missing."""

import json
from copy import deepcopy

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from spiritlm_pl.lm.base_model import checkpoint_config
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.lm.rotary_names import older_rotary_names
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

SCALED = {
    "rope_type": "llama3",
    "factor": 2.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def changed(model_type, **values):
    """A configuration whose rotary positions are not those of the family."""
    config = AutoConfig.for_model(model_type)
    parameters = getattr(config, "rope_parameters", None) or {}
    for number, one in enumerate([one for one in parameters.values() if isinstance(one, dict)] or [parameters]):
        if one.get("rope_type") == "default":
            one.update(rope_theta=12_345.0 + number, **values)
            if "partial_rotary_factor" in one:
                one["partial_rotary_factor"] = 0.75
    return config


@pytest.mark.parametrize(
    "model_type, values, names",
    [
        ("llama", {}, {"rope_theta": 12_345.0}),
        ("qwen3", SCALED, {"rope_theta": 12_345.0, "rope_scaling": SCALED}),
        ("phi", {}, {"rope_theta": 12_345.0, "partial_rotary_factor": 0.75}),
        ("gpt_neox", {}, {"rotary_emb_base": 12_345.0, "rotary_pct": 0.75}),
        ("olmo3", {}, {"rope_theta": 12_346.0}),
        ("gemma3_text", {}, {"rope_theta": 12_346.0, "rope_local_base_freq": 12_345.0}),
        ("opt", {}, {}),
        ("mellum", {}, {}),
    ],
)
def test_the_older_names(model_type, values, names):
    assert older_rotary_names(changed(model_type, **values)) == names


def test_transformers_reads_the_same_with_them():
    """Of every family that it knows: both stand in the file, and they must not disturb each other."""
    checked = []
    for model_type in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            config = changed(model_type)
        except StrictDataclassError:  # its own defaults do not fit together
            continue
        names = older_rotary_names(config)
        if names:
            read = type(config).from_dict({**config.to_dict(), **deepcopy(names)})
            assert read.rope_parameters == config.rope_parameters, model_type
            assert older_rotary_names(read) == names, model_type
            checked.append(model_type)
    assert len(checked) > 60


@pytest.mark.parametrize("values", [{}, SCALED], ids=["plain", "scaled"])
def test_both_are_written_again_after_reading(tmp_path, values):
    text = train_text_tokenizer(["the cat sat on the mat"] * 4)
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=20, multiple_of=64)
    config = LlamaConfig(
        vocab_size=vocabulary.num_rows,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5, **values},
    )
    save_lm(tmp_path / "first", LlamaForCausalLM(config), vocabulary, text)
    save_lm(tmp_path / "second", load_lm(tmp_path / "first")[0], vocabulary, text)
    for folder in ("first", "second"):
        written = json.loads((tmp_path / folder / "config.json").read_text())
        assert written["rope_theta"] == 1e5 and written.get("rope_scaling", {}) == values
        assert written["rope_parameters"] == {"rope_type": "default", "rope_theta": 1e5, **values}
        opened = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
        assert opened.config.rope_parameters == written["rope_parameters"]
    (tmp_path / "first" / CHECKSUMS).unlink()
    (tmp_path / "first" / "config.json").write_text(json.dumps({**written, "rope_theta": 77.0}))  # changed by hand
    for load in (load_lm, lambda folder: checkpoint_config(str(folder))):
        with pytest.raises(ValueError, match=r"first must give one base .* 77.0 as rope_theta and 100000.0 in rope_pa"):
            load(tmp_path / "first")
