"""Decoding with packed weights gives what `generate` of `transformers` gives, and follows changes of the weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.llama.modeling_llama import LlamaMLP

from spiritlm_pl.adapters.rows import TrainedRows
from spiritlm_pl.generation import network_decoding, packing
from spiritlm_pl.generation.packed_decoding import PackedDecoding
from spiritlm_pl.generation.packing import can_be_packed, fingerprint, own_reader, packed_model
from spiritlm_pl.lm.layers import use_lean_layers
from spiritlm_pl.lm.loss import LossHead, LossSettings
from spiritlm_pl.lm.padding import left_pad
from spiritlm_pl.runtime.onednn_linear import onednn_products

from .packed_networks import PROMPTS, VOCABULARY, answers, network

FAMILIES = (
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("qwen2", {}),
    ("mistral", {"sliding_window": None}),
)


@pytest.mark.parametrize(("family", "values"), FAMILIES)
@pytest.mark.parametrize("output", ["any", "speech", "text"])
def test_answers_are_those_of_generate(
    family: str, values: dict[str, Any], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(family, **values)
    assert packed_model(model) is not None
    ours = answers(model, output), answers(model, output, greedy=False, top_p=0.9)
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert ours == (answers(model, output), answers(model, output, greedy=False, top_p=0.9))
    assert len({token for row in ours[1] for token in row}) > 5


def test_bfloat16_is_as_close_as_the_forward() -> None:
    exact = network()
    half = network().to(torch.bfloat16)
    found = packed_model(half)
    assert found is not None
    tokens, mask = left_pad(PROMPTS)
    new = torch.randint(60, (3, 4), generator=torch.Generator().manual_seed(0))
    decoding = PackedDecoding(found, mask, 4, torch.ones(VOCABULARY.num_rows, dtype=torch.bool), own_reader(half, mask))
    ours = torch.stack([decoding(torch.cat([tokens, new[:, :place]], 1)) for place in range(5)], 1)
    whole, seen = torch.cat([tokens, new], 1), torch.nn.functional.pad(mask, (0, 4), value=True).long()
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    logits = {
        model.dtype: model(input_ids=whole, attention_mask=seen, position_ids=positions).logits[:, -5:].float()
        for model in (exact, half)
    }
    ours_off = (ours - logits[torch.float32]).square().mean()
    theirs_off = (logits[torch.bfloat16] - logits[torch.float32]).square().mean()
    assert 0 < ours_off < 1.5 * theirs_off


CHANGES: dict[str, Callable[[torch.Tensor], object]] = {
    "in place": lambda weight: weight.neg_(),
    "by its data": lambda weight: weight.data.neg_(),  # changes neither address nor version
    "exchanged rows": lambda weight: weight.data.copy_(weight.flip(0)),
    "inference mode": lambda weight: weight.neg_(),
}


@pytest.mark.parametrize("way", CHANGES)
def test_changed_weights_are_packed_anew(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.inference_mode(way == "inference mode"):
        model = network()
    first = packed_model(model)
    assert first is not None
    assert packed_model(model) is first
    before = answers(model)
    with torch.inference_mode(way == "inference mode"), torch.no_grad():
        CHANGES[way](model.get_parameter("model.layers.1.mlp.down_proj.weight"))
    found = answers(model)
    assert packed_model(model) is not first
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert found == answers(model) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [96, 95])  # a row of 95 numbers does not fill 64-bit integers
def test_any_single_number_that_changes_is_seen(dtype: torch.dtype, size: int) -> None:
    model = network(intermediate_size=size).to(dtype)
    weight = model.get_parameter("model.layers.0.mlp.down_proj.weight").data
    seen = {fingerprint(model)}
    for place in range(0, weight.numel(), 97):
        number = weight.view(-1)[place]
        number.copy_(torch.nextafter(number, number + 1))
        seen.add(fingerprint(model))
    assert len(seen) == 1 + len(range(0, weight.numel(), 97))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks for it
def test_merged_adapters_are_packed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    before = answers(model)
    settings = LoraConfig(r=4, target_modules=["down_proj"], init_lora_weights=False)
    merged = get_peft_model(model, settings).merge_and_unload()
    found = answers(merged)
    assert packed_model(merged) is not None
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert found == answers(merged) != before


def test_a_part_that_changes_without_a_weight_is_packed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    before = answers(model)
    model.model.layers[1].mlp.act_fn = torch.nn.GELU()
    model.model.layers[0].self_attn.scaling *= 3
    found = answers(model)
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert found == answers(model) != before


@pytest.mark.parametrize(("family", "values"), FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [False, True])
def test_prompts_are_read_by_packed_weights(
    family: str, values: dict[str, Any], dtype: torch.dtype, padded: bool
) -> None:
    model = network(family, **values).to(dtype)
    found = packed_model(model)
    assert found is not None
    rows = torch.randint(3, 60, (2, 11), generator=torch.Generator().manual_seed(0))
    everything = torch.ones(VOCABULARY.num_rows, dtype=torch.bool)
    mask = torch.ones_like(rows[:, :9], dtype=torch.bool)
    mask[1, :3] = not padded
    logits = []
    for cache in (None, DynamicCache(config=model.config)):  # the second is for the model's own forward
        read = own_reader(model, mask, cache)
        assert (read is None) == (cache is None)
        decoding = PackedDecoding(found, mask, 2, everything, read)
        logits.append(torch.stack([decoding(rows[:, :length]) for length in (9, 10, 11)]))
    scale = float(logits[0].std())
    torch.testing.assert_close(*logits, atol=scale * (1e-4 if dtype == torch.float32 else 0.2), rtol=0)


def test_long_padded_prompts_are_left_to_the_forward_whose_mask_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    mask = torch.ones(2, 9, dtype=torch.bool)
    monkeypatch.setattr(packing, "MOST_PAIRS", 2 * 9 * 9 - 1)
    assert own_reader(model, mask) is None
    mask[1, 0] = False
    assert own_reader(model, mask) is not None
    monkeypatch.setattr(packing, "MOST_PAIRS", 2 * 9 * 9)
    assert own_reader(model, mask) is None


def test_weights_that_never_change_are_packed_at_the_promise_and_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = network()
    before = packed_model(model)
    model.model.layers[0].mlp.down_proj.weight.data.neg_()  # as PEFT's merge, before any promise
    packing.promise_fixed(model)
    found = packed_model(model)
    assert before is not None and found is not None and found is not before
    monkeypatch.setattr(packing, "fingerprint", None)
    assert packed_model(model) is found


def test_a_model_that_another_thread_scores_with_stays_packed() -> None:
    model = network()
    found = packed_model(model)
    with onednn_products(model):
        assert found is not None and packed_model(model) is found
        assert can_be_packed(network()) and can_be_packed(model)


def test_weights_that_are_trained_are_not_kept() -> None:
    model = network().requires_grad_()
    assert packed_model(model) is not packed_model(model)


def test_what_cannot_be_packed_is_left_to_generate() -> None:
    assert not can_be_packed(network("gpt_neox", num_key_value_heads=None))
    assert not can_be_packed(network().half())
    watched = network()
    watched.model.layers[0].register_forward_pre_hook(lambda module, given: None)
    assert not can_be_packed(watched)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_be_packed(network())
    compiled = network()
    compiled.compile()
    assert not can_be_packed(compiled)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("granite", {"residual_multiplier": 0.5, "embedding_multiplier": 3.0}),
        ("mistral", {"sliding_window": 5}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    ],
)
def test_families_that_compute_otherwise_are_found_out(family: str, values: dict[str, Any]) -> None:
    assert packed_model(network(family, **values)) is None


def test_memory_that_is_short_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    monkeypatch.setattr("spiritlm_pl.generation.packed_decoding.MOST_MEMORY", 0.0)
    assert packed_model(model) is None


class Flipped(torch.nn.Module):
    """Module of code that is not known."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.flip(-1)


def negative(own: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *given: -own(*given)


def replaced(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    feed_forward = model.model.layers[1].mlp
    feed_forward.forward = negative(feed_forward.forward)


def of_another_class(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = type("Negative", (LlamaMLP,), {"forward": negative(LlamaMLP.forward), "__module__": __name__})
    model.model.layers[1].mlp.__class__ = own


def of_a_patched_class(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaMLP, "forward", negative(LlamaMLP.forward))


def with_an_unknown_part(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model.model.norm = torch.nn.Sequential(model.model.norm, Flipped())


def hooked_after(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model.model.layers[0].self_attn.o_proj.register_forward_hook(lambda module, given, output: -output)


@pytest.mark.parametrize("change", [replaced, of_another_class, of_a_patched_class, with_an_unknown_part, hooked_after])
def test_code_that_was_put_in_its_place_is_called(
    change: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    before = answers(model)
    change(model, monkeypatch)
    assert packed_model(model) is None
    found = answers(model)
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert found == answers(model) != before


@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj.weight", "lm_head.weight"])
def test_weights_elsewhere_than_on_the_cpu_are_left_to_generate(name: str) -> None:
    model = network()
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, torch.nn.Parameter(model.get_parameter(name).to("meta")))
    assert model.device.type == "cpu"
    assert not can_be_packed(model)


def test_families_that_scale_by_position_are_left_to_generate() -> None:
    rotation = {
        "rope_type": "yarn",
        "factor": 8.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "rope_theta": 1e6,
        "original_max_position_embeddings": 16,
        "llama_4_scaling_beta": 0.5,  # Ministral 3 scales queries by it beyond the 16th token
    }
    model = network("ministral3", head_dim=16, sliding_window=None, rope_parameters=rotation)
    assert packed_model(model) is None


def test_settings_that_are_not_known_are_left_to_generate() -> None:
    rotation = {"rope_type": "default", "rope_theta": 1e4}
    assert can_be_packed(network(rope_parameters=rotation))
    assert not can_be_packed(network(rope_parameters={**rotation, "scale_by_position": 0.5}))
    AttentionInterface.register("negative", lambda *given, **named: (-sdpa_attention_forward(*given, **named)[0], None))
    model = network()
    model.set_attn_implementation("negative")
    assert not can_be_packed(model)


def test_layers_that_training_puts_in_place_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = network()
    use_lean_layers(model)
    model.set_output_embeddings(LossHead(model.get_output_embeddings(), LossSettings()))
    rows = torch.nn.Parameter(torch.randn(5, 64), requires_grad=False)
    model.set_input_embeddings(TrainedRows(model.get_input_embeddings(), rows, 3))
    assert packed_model(model) is not None
    ours = answers(model)
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert ours == answers(model)
