"""A model whose answers differ, and tasks of lm-eval with few questions."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.lm.folder import save_lm

TASKS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_tasks.py"))))


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def network(tiny_lm):
    """Weights that prefer some words, so that answers differ."""
    torch.manual_seed(11)
    config = LlamaConfig.from_dict(tiny_lm[0].config.to_dict() | {"max_position_embeddings": 256})
    found = LlamaForCausalLM(config).eval()
    for weights in found.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    return found


@pytest.fixture(scope="module")
def model(network, tiny_lm):
    return SpiritLM(network, *tiny_lm[1:])


@pytest.fixture(scope="module")
def folder(network, tiny_lm, tmp_path_factory):
    made = tmp_path_factory.mktemp("model")
    save_lm(made / "lm", network, tiny_lm[2], tiny_lm[1])
    return made


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    made = tmp_path_factory.mktemp("tasks")
    for number, (name, count) in enumerate((("cats", 23), ("dogs", 9))):
        TASKS.write_lines(made / f"{name}.jsonl", TASKS.questions(number, count))
        TASKS.write_lines(made / f"{name}_shots.jsonl", TASKS.questions(50 + number, 8))
        files = {"test": f"{name}.jsonl", "train": f"{name}_shots.jsonl"}
        task = TASKS.CHOICE | {"task": f"tiny_{name}", "dataset_kwargs": {"data_files": files}}
        (made / f"{name}.yaml").write_text(json.dumps(task))  # JSON is YAML
    group = {
        "group": "tiny",
        "task": ["tiny_cats", "tiny_dogs"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    (made / "tiny.yaml").write_text(json.dumps(group))
    TASKS.write_lines(made / "last.jsonl", [{"text": f"{line} mat"} for line in TASKS.sentences(3, 12, 6)])
    last = {
        "task": "tiny_last",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "last.jsonl"}},
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.split()[:-1]|join(' ')}} ",
        "doc_to_target": "mat",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
    }
    (made / "last.yaml").write_text(json.dumps(last))
    written = TASKS.CHOICE | {"task": "tiny_written", "output_type": "generate_until", "doc_to_choice": None}
    (made / "written.yaml").write_text(
        json.dumps(written | {"metric_list": [{"metric": "exact_match"}], "dataset_kwargs": {"data_files": files}})
    )
    return made
