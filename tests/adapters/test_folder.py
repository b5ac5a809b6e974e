"""Folders of adapters: peft opens them, they are merged and exported, and those of another base are refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from spiritlm_pl.adapters.folder import WEIGHTS_FILE, with_adapter
from spiritlm_pl.adapters.merge import merge_adapter
from spiritlm_pl.cli.main import USER_ERRORS, run
from spiritlm_pl.generation import GenerationSettings, LoadOptions, SpiritLM
from spiritlm_pl.generation.sampling import continue_tokens
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.base_model import ADAPTER_FILE
from spiritlm_pl.lm.folder import load_lm
from spiritlm_pl.lm.identity import weights_hash
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.left_over import temporary_path
from spiritlm_pl.runtime.model_description import DESCRIPTION_FILE
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import adapted, make_base, written

GREEDY = GenerationSettings(greedy=True, max_new_tokens=20)
PEFT_ASKS_TRANSFORMERS = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft 0.21.2


@pytest.fixture
def adapter(base: Path, vocabulary: Vocabulary, tmp_path: Path) -> Path:
    return written(tmp_path / "adapter", adapted(base, vocabulary), base, vocabulary)


@torch.no_grad()
def logits(network: torch.nn.Module, tokens: Tensor) -> Tensor:
    return network(input_ids=tokens).logits


@pytest.mark.filterwarnings(PEFT_ASKS_TRANSFORMERS)
def test_peft_opens_it_and_gives_what_was_trained(base: Path, vocabulary: Vocabulary, adapter: Path, tokens: Tensor):
    expected = logits(adapted(base, vocabulary).eval(), tokens)
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert (logits(plain, tokens) - expected).abs().max() > 0.1
    opened = PeftModel.from_pretrained(plain, adapter)
    assert_close(logits(opened, tokens), expected, rtol=0, atol=1e-5)
    assert opened.peft_config["default"].base_model_name_or_path == str(base)


def test_merged_is_as_applied(base: Path, vocabulary: Vocabulary, adapter: Path, tokens: Tensor):
    expected = logits(adapted(base, vocabulary).eval(), tokens)
    for merged in (True, False):
        network, _, _ = load_lm(base)
        found = with_adapter(network, adapter, base, vocabulary, merged)
        assert type(found) is type(network)
        assert_close(logits(found, tokens), expected, rtol=0, atol=1e-5)
        assert any("lora_" in name for name, _ in found.named_parameters()) != merged


def test_merged_and_exported_continues_alike_in_plain_transformers(base: Path, adapter: Path, tmp_path: Path):
    merged = merge_adapter(base, adapter, tmp_path / "merged")
    exported = export_lm(merged, tmp_path / "exported")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported), AutoTokenizer.from_pretrained(exported)
    prompt = tokenizer("[Speech][Hu1][Hu2][Text]the cat", return_tensors="pt")
    length = prompt["input_ids"].shape[1]
    found = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, length:].tolist()

    def continued(ours: SpiritLM) -> list[int]:
        ids = prompt["input_ids"].tolist()
        how = {"limits": [20], "seeds": [0], "eos_id": ours.end_token}
        [new] = continue_tokens(ours.model, ids, ours.vocabulary, "any", GREEDY, **how)
        return new

    for ours in (
        SpiritLM.from_pretrained(base, adapter=adapter),
        SpiritLM.from_pretrained(base, options=LoadOptions(adapter=adapter)),
        SpiritLM.from_pretrained(merged),
    ):
        new = continued(ours)
        assert len(new) > 3 and found[: len(new)] == new
    assert continued(SpiritLM.from_pretrained(base)) != new


def test_the_python_of_adapters_md(base: Path, adapter: Path, tmp_path: Path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name, folder in (("quickstart/model/lm", base), ("runs/lora/export", adapter)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert isinstance(names["model"], SpiritLM)


def test_a_whole_model_folder_is_merged_with_its_other_parts(base: Path, adapter: Path, tmp_path: Path, capsys):
    shutil.copytree(base, tmp_path / "model" / "lm")
    (tmp_path / "model" / "vocoder").mkdir()
    (tmp_path / "model" / "vocoder" / "config.json").write_text("{}")
    run(["merge-adapter", str(tmp_path / "model"), str(adapter), str(tmp_path / "out"), "--dtype", "bfloat16"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lm", "vocoder"]
    assert load_lm(tmp_path / "out" / "lm")[0].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="must be a new folder, but .*out is not empty"):
        merge_adapter(base, adapter, tmp_path / "out")


def test_the_hash_is_of_the_weights_and_not_of_their_files(
    base: Path, text: TextTokenizer, vocabulary: Vocabulary, tmp_path: Path
):
    known = weights_hash(base)
    for name, dtype, size in (("half", torch.bfloat16, "5GB"), ("parts", None, "10KB")):
        assert weights_hash(export_lm(base, tmp_path / name, dtype=dtype, max_shard_size=size)) == known
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    weights = load_file(base / "model.safetensors")
    assert weights_hash(make_base(tmp_path / "other", text, vocabulary, "lm_head.weight" in weights, seed=1)) != known
    save_file({**weights, "model.rotary_emb.inv_freq": torch.ones(4)}, base / "model.safetensors")  # of older files
    assert weights_hash(base) == known
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        save_file({**weights, name: 1.01 * weights[name]}, base / "model.safetensors")
        assert weights_hash(base) != known
    with pytest.raises(FileNotFoundError, match="model must hold weights, but .* holds no "):
        weights_hash(tmp_path)


def test_adapters_of_another_base_are_refused(
    base: Path, adapter: Path, text: TextTokenizer, vocabulary: Vocabulary, tmp_path: Path
):
    other = make_base(tmp_path / "other", text, vocabulary, seed=1)
    told = f"must be used with the base model that it was trained on, {base} with the hash .*, but {other} has "
    with pytest.raises(ValueError, match=told):
        SpiritLM.from_pretrained(other, adapter=adapter)
    with pytest.raises(ValueError, match=told):
        merge_adapter(other, adapter, tmp_path / "out")
    for words in (["generate", "--text", "the", "--lm"], ["score", "items.jsonl", "--model"]):
        (tmp_path / "items.jsonl").write_text('{"context": "the", "hypotheses": [" cat"]}\n')
        words = [str(tmp_path / word) if word == "items.jsonl" else word for word in words]
        with pytest.raises(USER_ERRORS, match="hash"):
            run([*words, str(other), "--adapter", str(adapter)])
    assert not (tmp_path / "out").exists()


def test_what_is_no_adapter_of_this_model_is_told(base: Path, adapter: Path, vocabulary: Vocabulary, tmp_path: Path):
    def fails(message: str, error: type[Exception] = ValueError) -> None:
        network, _, _ = load_lm(base)
        with pytest.raises(error, match=message) as caught:
            with_adapter(network, adapter, base, vocabulary)
        assert "\n" not in str(caught.value)

    whole = {path.name: path.read_bytes() for path in adapter.iterdir()}

    def restore() -> None:
        for name, content in whole.items():
            (adapter / name).write_bytes(content)

    (adapter / WEIGHTS_FILE).write_bytes(whole[WEIGHTS_FILE][:-10])
    fails(f"{WEIGHTS_FILE} must have SHA-256")
    (adapter / CHECKSUMS).unlink()  # as folders of other programs have none
    fails("damaged")
    restore()
    (adapter / CHECKSUMS).unlink()
    weights = load_file(adapter / WEIGHTS_FILE)
    first = min(weights)
    save_file({name: value for name, value in weights.items() if name != first}, adapter / WEIGHTS_FILE)
    fails(f"{WEIGHTS_FILE} lacks .?{re.escape(first)}")
    save_file({**weights, "base_model.model.more.lora_A.weight": weights[first].clone()}, adapter / WEIGHTS_FILE)
    fails(f"{WEIGHTS_FILE} holds base_model.model.more")
    save_file({**weights, first: weights[first][:, :-1].contiguous()}, adapter / WEIGHTS_FILE)
    fails("does not: .*size mismatch")
    save_file({**weights, first: weights[first] * float("nan")}, adapter / WEIGHTS_FILE)
    fails("NaN")
    values = json.loads(whole[ADAPTER_FILE])
    (adapter / ADAPTER_FILE).write_text(json.dumps({**values, "peft_type": "PROMPT_TUNING"}))
    fails("adapter must be one of peft_type LORA, but .* is of PROMPT_TUNING")
    rows = {name: [None] for name in values["trainable_token_indices"]}
    (adapter / ADAPTER_FILE).write_text(json.dumps({**values, "trainable_token_indices": rows}))
    fails("adapter must fit the model .*, but .* does not: ")
    (adapter / ADAPTER_FILE).write_text(json.dumps({**values, "megatron_config": {}, "megatron_core": "antigravity"}))
    fails("adapter must be one of transformers, but .* has a megatron_config")
    restore()
    (adapter / CHECKSUMS).unlink()
    own = json.loads(whole[DESCRIPTION_FILE])
    for name, value in (("base_hash", 3), ("vocabulary", [1]), ("computation", "x")):
        (adapter / DESCRIPTION_FILE).write_text(json.dumps({**own, name: value}))
        fails(f"{name} of .*{DESCRIPTION_FILE} must be of type .*, but is ")
    restore()
    (adapter / CHECKSUMS).unlink()
    (adapter / WEIGHTS_FILE).rename(adapter / "adapter_model.bin")
    fails(f"adapter must have its weights in {WEIGHTS_FILE}", FileNotFoundError)
    (adapter / ADAPTER_FILE).unlink()
    fails(f"adapter must be the folder of an adapter, but .* holds no {ADAPTER_FILE}", FileNotFoundError)


def test_adapters_and_whole_models_are_not_taken_for_each_other(base: Path, adapter: Path, vocabulary: Vocabulary):
    with pytest.raises(FileNotFoundError, match="must be the folder of an adapter, but .*base is a whole model"):
        with_adapter(load_lm(base)[0], base, base, vocabulary)
    with pytest.raises(ValueError, match="is an adapter: give the folder of its base model"):
        load_lm(adapter)
    network = adapted(base, vocabulary)
    with pytest.raises(ValueError, match="folder of an adapter must not hold a whole model, but .*base does"):
        written(base, network, base, vocabulary)


def test_what_killed_processes_left_of_adapters_and_merges_is_removed(
    base: Path, vocabulary: Vocabulary, adapter: Path, tmp_path: Path
):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True)
    left = [temporary_path(tmp_path / name) for name in ("adapter", "merged")]
    left = [path.with_name(path.name.replace(f"-{os.getpid()}", f"-{int(ended.stdout)}.x")) for path in left]
    for path in left:
        path.mkdir()
    written(adapter, adapted(base, vocabulary), base, vocabulary)
    assert [path.is_dir() for path in left] == [False, True]
    merge_adapter(base, adapter, tmp_path / "merged")
    assert not left[1].exists()
