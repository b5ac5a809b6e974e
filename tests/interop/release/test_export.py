"""The published language models exported for `transformers`: the same ids, strings and greedy answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.interop.release.layout import Release, Variant
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


@pytest.mark.parametrize("variant, kinds", [("base", {}), ("expressive", {"num_pitches": 64, "num_styles": 100})])
def test_a_published_model_continues_as_published(
    tmp_path: Path, golden: Any, whole_release: Release, variant: Variant, kinds: dict[str, int]
) -> None:
    source = whole_release.lm(variant)
    network = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
    save_lm(tmp_path / "lm", network, Vocabulary.spirit_lm(**kinds), TextTokenizer.load(source))
    exported = export_lm(tmp_path / "lm", tmp_path / "out")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported), AutoTokenizer.from_pretrained(exported)
    cases = golden.described(f"lm_{variant}")
    assert len(cases["tokenisation"]) == 29 and len(cases["generation"]) == 9
    added = json.loads((exported / "added_tokens.json").read_text())  # what llama.cpp reads: make test-readers
    assert added["[Text]"] == 32_000 and max(added.values()) == len(tokenizer) - 1
    for case in cases["tokenisation"]:
        assert tokenizer.encode(case["prompt"]) == case["input_ids"]
        assert tokenizer.decode(case["input_ids"], skip_special_tokens=True) == case["decoded"]
    for case in cases["generation"]:
        ranges = cases["forbidden_ids_ranges"][case["output_modality"]]
        forbidden = {token for first, last in ranges for token in range(first, last + 1)}
        forbidden.discard(tokenizer.eos_token_id)  # the end stays allowed
        prompt = tokenizer(case["prompt"], return_tensors="pt")
        settings = {"max_new_tokens": case["max_new_tokens"], "do_sample": False}
        settings["suppress_tokens"] = sorted(forbidden) or None
        ids = model.generate(**prompt, **settings)[0].tolist()
        assert ids == case["fp32_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == case["generated_string"]
