"""Models that are read without transformers answer as those of transformers do; what is not known is left to it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from spiritlm_pl.cli.main import run
from spiritlm_pl.generation import GenerationSettings, LoadOptions, SpiritLM, Text, own_model
from spiritlm_pl.generation.logits import Temperature, TopK, TopP
from spiritlm_pl.generation.own_model import OwnModel, read_own_model
from spiritlm_pl.generation.prompt import Prompt
from spiritlm_pl.generation.sampling import AnyModel, continue_tokens, stream_tokens
from spiritlm_pl.lm.folder import save_lm, write_model
from spiritlm_pl.lm.padding import left_pad
from spiritlm_pl.runtime.packed_linear import PackedLinear
from spiritlm_pl.vocabulary import Modality, Vocabulary

from .conftest import SIZES

VOCABULARY = Vocabulary.spirit_lm(num_text=60, num_units=20)
ROWS = VOCABULARY.num_rows
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "heads of their own": ("llama", {"num_key_value_heads": 4}),
    "one key": ("llama", {"num_key_value_heads": 1}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "attention biases": ("llama", {"attention_bias": True}),
    "wide heads": ("llama", {"head_dim": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}}),
    "as SmolLM2": (
        "llama",
        {
            "tie_word_embeddings": True,
            "is_llama_config": True,
            "rope_interleaved": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000},
        },
    ),
    "mistral": ("mistral", {"sliding_window": None, "tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
    "qwen2": ("qwen2", {}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
}
PROMPTS = [[5, 9, 2, 40, 33, 7, 3], [8, 1], [50, 51, 52, 53, 54]]


def network(family: str, values: dict[str, Any]) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SIZES, **values}, vocab_size=ROWS)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    for name, weight in model.named_parameters():  # larger than they are drawn, so that each part shows in the answers
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=0.0 if name.endswith("bias") else 1.0, std=0.3)
        else:
            weight.mul_(4)
    return model


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder that is read without transformers."""
    write_model(tmp_path, network("llama", {}), "2GB")
    assert read_own_model(tmp_path, ROWS) is not None
    return tmp_path


def answers(model: AnyModel, output: Any, **settings: Any) -> list[list[int]]:
    options = GenerationSettings(**settings)
    return continue_tokens(model, PROMPTS, VOCABULARY, output, options, limits=[30, 25, 30], seeds=[1, 2, 3], eos_id=12)


@pytest.mark.parametrize("name", LAYOUTS)
def test_answers_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = network(*LAYOUTS[name])
    write_model(tmp_path, model, "60KB" if name == "llama" else "2GB")
    assert (tmp_path / "model.safetensors").exists() == (name != "llama")  # that one in several files
    own = read_own_model(tmp_path, ROWS)
    assert own is not None
    tokens, mask = left_pad(PROMPTS)
    new = torch.randint(60, (3, 4), generator=torch.Generator().manual_seed(0))
    decoding = own.decoding(mask, 4, torch.ones(ROWS, dtype=torch.bool))
    found = torch.stack([decoding(torch.cat([tokens, new[:, :place]], 1)) for place in range(5)], 1)
    expected = [
        model(input_ids=torch.tensor([[*prompt, *new[row].tolist()]])).logits[0, -5:]
        for row, prompt in enumerate(PROMPTS)
    ]
    torch.testing.assert_close(found.log_softmax(-1), torch.stack(expected).log_softmax(-1), atol=1e-5, rtol=0)
    seen = set()
    for output in ("any", "speech", "text"):
        for settings in ({"greedy": True}, {"top_p": 0.9}, {"top_k": 5, "temperature": 1.5}):
            theirs = answers(model, output, **settings)
            assert answers(own, output, **settings) == theirs
            seen |= {token for row in theirs for token in row}
    assert len(seen) > 20
    prompt = Prompt(PROMPTS[0], Modality.TEXT, None)
    streamed = [list(stream_tokens(one, prompt, VOCABULARY, "any", GenerationSettings())) for one in (own, model)]
    assert streamed[0] == streamed[1]


def changed(**values: Any) -> Callable[[Path], None]:
    """Return a change of values of `config.json`; None removes one."""

    def change(folder: Path) -> None:
        found = {**json.loads((folder / "config.json").read_text()), **values}
        (folder / "config.json").write_text(json.dumps({k: v for k, v in found.items() if v != "left out"}))

    return change


def with_weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    """Return a change of the weights."""
    return lambda folder: save_file(
        change(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"}
    )


ROTATION = {"rope_type": "default", "rope_theta": 10_000.0}
UNKNOWN: dict[str, Callable[[Path], None]] = {
    "scaled rotation": changed(rope_parameters={**ROTATION, "rope_type": "linear", "factor": 2.0}),
    "part of the rotation": changed(rope_parameters={**ROTATION, "partial_rotary_factor": 0.5}),
    "older scaling": changed(rope_scaling={"rope_type": "linear", "factor": 2.0}),
    "another base": changed(rope_theta=20_000.0),
    "quantized": changed(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "code of its own": changed(auto_map={"AutoModelForCausalLM": "modeling.Other"}),
    "another activation": changed(hidden_act="gelu"),
    "another type": changed(dtype="bfloat16"),
    "no type": changed(dtype="left out"),
    "another architecture": changed(architectures=["LlamaForSequenceClassification"]),
    "another family": changed(model_type="granite", architectures=["GraniteForCausalLM"]),
    "a value that is not known": changed(logits_scaling=2.0),
    "a value left out": changed(num_key_value_heads="left out"),
    "windows": changed(layer_types=["full_attention", "sliding_attention"]),
    "tensor parallelism": changed(pretraining_tp=2),
    "a number as a text": changed(num_hidden_layers="2"),
    "fewer layers": changed(num_hidden_layers=1),
    "no end of layers": changed(num_hidden_layers=1 << 40),
    "other heads": changed(num_attention_heads=2),
    "heads of an odd size": changed(head_dim=15),
    "half of the numbers": with_weights(lambda found: {name: one.bfloat16() for name, one in found.items()}),
    "another weight": with_weights(lambda found: {**found, "model.layers.0.self_attn.q_norm.weight": torch.ones(16)}),
    "a weight less": with_weights(lambda found: {name: one for name, one in found.items() if "lm_head" not in name}),
    "another shape": with_weights(lambda found: {**found, "model.norm.weight": torch.ones(1, 64)}),
    "an adapter": lambda folder: (folder / "adapter_config.json").write_text("{}"),
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "no object": lambda folder: (folder / "config.json").write_text("[]"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no whole weights": lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 20),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_left_to_transformers(name: str, written: Path) -> None:
    UNKNOWN[name](written)
    assert read_own_model(written, ROWS) is None


def test_windows_are_left_to_transformers(tmp_path: Path) -> None:
    config = AutoConfig.for_model("mistral", **SIZES, sliding_window=5, vocab_size=ROWS)
    write_model(tmp_path, AutoModelForCausalLM.from_config(config), "2GB")
    assert read_own_model(tmp_path, ROWS) is None


def test_another_embedding_is_left_to_transformers(written: Path) -> None:
    assert read_own_model(written, ROWS + 1) is None


@pytest.mark.parametrize("lack", [AttributeError("no such operation"), RuntimeError("not on this processor"), None])
def test_a_processor_without_the_products_leaves_all_to_transformers(
    lack: Exception | None, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(self: PackedLinear, rows: torch.Tensor, *options: Any, **named: Any) -> torch.Tensor:
        if lack is not None:
            raise lack
        return torch.zeros(len(rows), 8)

    monkeypatch.setattr(PackedLinear, "__call__", product)
    assert read_own_model(written, ROWS) is None


@pytest.mark.parametrize("mistake", [KeyError, TypeError])
def test_a_mistake_in_packing_shows(mistake: type[Exception], written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(*given: Any) -> None:
        raise mistake("ours")

    monkeypatch.setattr(own_model, "_packed", packed)
    with pytest.raises(mistake, match="ours"):
        read_own_model(written, ROWS)


def test_weights_must_be_finite(written: Path) -> None:
    with_weights(lambda found: {**found, "model.norm.weight": torch.full((64,), torch.nan)})(written)
    with pytest.raises(ValueError, match="weights must be finite, but model.norm.weight of"):
        read_own_model(written, ROWS)


def test_damaged_weights_are_noticed(tiny_lm: Any, tmp_path: Path) -> None:
    save_lm(tmp_path / "lm", *[tiny_lm[place] for place in (0, 2, 1)])
    path = tmp_path / "lm" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must have SHA-256"):
        read_own_model(tmp_path / "lm", tiny_lm[2].num_rows)


def test_files_may_change_once_they_are_read(written: Path) -> None:
    own = read_own_model(written, ROWS)
    assert own is not None
    before = answers(own, "any", greedy=True)
    size = (written / "model.safetensors").stat().st_size
    with (written / "model.safetensors").open("r+b") as file:
        file.write(b"\x7f" * size)
    assert answers(own, "any", greedy=True) == before


OPTIONS: dict[str, Sequence[str]] = {
    "text": ["--output", "text", "--greedy"],
    "streamed": ["--output", "any", "--stream", "--seed", "3"],
    "samples": ["--output", "text", "--num-samples", "3"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_command_answers_as_the_model_of_transformers(
    name: str, model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["generate", "--model", str(model_folder), "--text", "the cat", "--max-new-tokens", "12", *OPTIONS[name]]
    loaded = []
    own = SpiritLM.from_pretrained

    def seen(*given: Any, **named: Any) -> SpiritLM:
        loaded.append(own(*given, **named))
        return loaded[-1]

    monkeypatch.setattr(SpiritLM, "from_pretrained", seen)
    run(command)
    found = capsys.readouterr()
    monkeypatch.setattr("spiritlm_pl.generation.loading.read_own_model", lambda folder, num_rows: None)
    run(command)
    assert found == capsys.readouterr()
    assert [isinstance(one.network, OwnModel) for one in loaded] == [True, False]


@pytest.mark.parametrize(
    "options", [{}, {"only_generates": True, "dtype": "bfloat16"}, {"only_generates": True, "compiled": True}]
)
def test_who_asks_for_more_gets_a_model_of_transformers(options: dict[str, Any], model_folder: Path) -> None:
    assert isinstance(SpiritLM.from_pretrained(model_folder, None, LoadOptions(**options)).model, PreTrainedModel)


def test_a_model_that_only_generates_does_not_score(model_folder: Path) -> None:
    model = SpiritLM.from_pretrained(model_folder, None, LoadOptions(only_generates=True))
    with pytest.raises(
        ValueError, match="only_generates must be False for a model that also scores, but is True instead"
    ):
        model.score([Text("the cat")], [[Text("sat")]])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Temperature(0.7), TemperatureLogitsWarper(0.7)),
        *((TopK(number), TopKLogitsWarper(number)) for number in (1, 5, 100)),
        *((TopP(share), TopPLogitsWarper(share)) for share in (0.01, 0.5, 0.95)),
    ],
)
def test_processors_are_those_of_transformers(ours: Any, theirs: Any) -> None:
    scores = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) * 3
    scores[1, 5:] = -torch.inf  # as of banned tokens
    scores[2, :4] = scores[2].max()  # equal ones
    tokens = torch.zeros(4, 2, dtype=torch.long)
    assert torch.equal(ours(tokens, scores), theirs(tokens, scores))
