"""Families of models: trained, scored and continued as their own forward does it, or refused in one line."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.deepspeed import HfDeepSpeedConfig, is_deepspeed_zero3_enabled

from spiritlm_pl.generation.network_decoding import _cache_difference, _padding_difference
from spiritlm_pl.generation.prompt import Prompt
from spiritlm_pl.generation.sampling import continue_tokens, stream_tokens
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.lm import attention, probe
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, check_losses, token_losses
from spiritlm_pl.lm.likelihood import _sharing_difference, choice_log_likelihoods
from spiritlm_pl.lm.logits import Logits, own_logits
from spiritlm_pl.lm.loss import HAS_TORCH_FUSED, LossSettings
from spiritlm_pl.lm.shrink import small_network, unsharded
from spiritlm_pl.vocabulary import Modality

WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
BASE = {**WIDTH, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 128}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
PACKED = {
    "llama": BASE,
    "granite": {**BASE, "logits_scaling": 8.0},
    "granitemoe": {**BASE, **EXPERTS, "logits_scaling": 8.0},
    "cohere": BASE,
    "cohere2": {**BASE, "sliding_window": 6},
    "gemma2": {**BASE, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6, "attn_logit_softcapping": 2.0},
    "gpt_oss": {**BASE, **EXPERTS, "head_dim": 8, "sliding_window": 6},
    "nanochat": BASE,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, **NO_DROPOUT},
    "phi": BASE,
}
APART = {
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 1,
        "state_size": 8,
    },
    "bamba": {**BASE, **MAMBA, "attn_layer_indices": [1]},
    "lfm2": {**BASE, "layer_types": ["conv", "full_attention"]},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
    "recurrent_gemma": {**BASE, "lru_width": 32, "block_types": ["recurrent", "attention"]},
    "falcon": {**WIDTH, "new_decoder_architecture": False, "alibi": False},
    "llama4_text": {**BASE, "num_local_experts": 2, "attention_chunk_size": 6, "interleave_moe_layer_step": 1},
}


def settings_of(family, **more):
    return LanguageModelConfig(config={"model_type": family, **{**PACKED, **APART}[family]}, **more)


def built(family, vocabulary, **more):
    torch.manual_seed(0)
    return build_network(settings_of(family, **more), vocabulary)


def plain_model(family, vocabulary):
    torch.manual_seed(0)
    values = {"bos_token_id": None, "eos_token_id": None, **{**PACKED, **APART}[family]}
    config = AutoConfig.for_model(family, vocab_size=vocabulary.num_rows, **values)
    return AutoModelForCausalLM.from_config(config).eval()


def own_losses(network, batch, lengths=None):
    """Losses of documents, one at a time by the plain forward of a model of the same weights."""
    plain = AutoModelForCausalLM.from_config(network.config, attn_implementation="eager")
    plain.load_state_dict(network.state_dict())
    documents = batch.tokens.flatten().split(lengths or batch.cu_seqlens.diff().tolist())
    logits = [plain(input_ids=tokens[None], use_cache=False).logits[0, :-1] for tokens in documents]
    pairs = zip(logits, documents, strict=True)
    return plain, torch.cat([F.cross_entropy(one, tokens[1:], reduction="none") for one, tokens in pairs])


def assert_trained_as_alone(network, batch):
    """Losses and the gradients of all parameters are those of autograd through the model's own forward."""
    total, losses, _ = token_losses(network, batch)
    total.backward()
    plain, expected = own_losses(network, batch)
    expected.sum().backward()
    assert_close(losses, expected, rtol=0, atol=1e-5)
    for (name, ours), theirs in zip(network.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            assert_close(ours.grad, theirs.grad, msg=name, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", PACKED)
def test_packed_rows_are_trained_as_documents_alone(family, vocabulary, make_batch):
    assert_trained_as_alone(built(family, vocabulary, loss=LossSettings(chunk=10)), make_batch())


TORCHS_LOSS = pytest.mark.skipif(not HAS_TORCH_FUSED, reason="this version of torch has no fused loss of its own")


@pytest.mark.parametrize(
    ("family", "method"), [("gemma2", "full"), ("granite", "full"), pytest.param("granite", "torch", marks=TORCHS_LOSS)]
)
def test_each_method_knows_what_the_model_does_to_its_logits(family, method, vocabulary, make_batch):
    assert_trained_as_alone(built(family, vocabulary, loss=LossSettings(method=method)), make_batch())


@TORCHS_LOSS
def test_torchs_loss_cannot_cap(vocabulary):
    with pytest.raises(ValueError, match="chunked or full with logits that the model caps at 15, but is torch"):
        built("nanochat", vocabulary, loss=LossSettings(method="torch"))


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss"])
def test_capped_scores_and_sinks_in_bfloat16(family, vocabulary, make_batch):
    network, batch = built(family, vocabulary, dtype="bfloat16").eval(), make_batch()
    _, losses, _ = token_losses(network, batch)
    _, expected = own_losses(network, batch)
    assert_close(losses.mean(), expected.float().mean(), rtol=0.02, atol=0)


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss", "cohere"])
def test_what_is_sampled_during_training_is_the_models_own(family, vocabulary):
    network = built(family, vocabulary).eval()
    prompts = [[5, 6, 7, 8, 9, 10, 11, 12], [3, 4]]  # longer than the window, and padded
    limits, options = [6, 6], GenerationSettings(greedy=True, max_new_tokens=6)
    ours = continue_tokens(network, prompts, vocabulary, "any", options, limits=limits, seeds=[0, 0])
    network.set_attn_implementation("eager")
    assert ours == continue_tokens(network, prompts, vocabulary, "any", options, limits=limits, seeds=[0, 0])


@pytest.mark.parametrize("family", APART)
def test_what_cannot_be_packed_is_refused_and_trained_document_by_document(family, vocabulary, make_batch):
    told = r"losses differ by up to \d\S* nats from those of its own forward"
    if family == "falcon":  # whose attention cannot be exchanged
        told = "code ends in KeyError: 'spiritlm_packed'"
    line = f"packing must be documents with {family}, as packed its {told}, but is packed instead"
    with pytest.raises(ValueError, match=line):
        built(family, vocabulary)
    assert_trained_as_alone(built(family, vocabulary, packing="documents"), make_batch())


def test_documents_may_see_each_other_where_asked_for(vocabulary, make_batch):
    network, batch = built("mamba2", vocabulary, packing="documents", cross_documents=True), make_batch()
    _, losses, _ = token_losses(network, batch, cross_documents=True)
    assert_close(losses, own_losses(network, batch, [24, 24])[1], rtol=0, atol=1e-5)


def test_a_keyword_that_is_swallowed_is_found(monkeypatch, vocabulary):
    swallow = attention.packed_attention

    def without_sinks(*given, s_aux=None, **kwargs):
        return swallow(*given, **kwargs)

    monkeypatch.setattr(probe, "_outcomes", {})
    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, without_sinks)
    with pytest.raises(ValueError, match="documents with gpt_oss, as packed its losses differ by up to"):
        built("gpt_oss", vocabulary)


def test_what_a_forward_does_to_its_logits_is_asked_of_it(vocabulary, monkeypatch):
    assert own_logits(plain_model("granite", vocabulary)) == Logits(0.125)
    assert own_logits(plain_model("gemma2", vocabulary)) == Logits(1.0, 30.0)
    network = plain_model("llama", vocabulary)
    assert own_logits(network) == Logits()
    own = type(network).forward

    def squared(self, *given, **kwargs):
        output = own(self, *given, **kwargs)
        output.logits = output.logits.square()
        return output

    monkeypatch.setattr(type(network), "forward", squared)
    with pytest.raises(ValueError, match="at most, but the forward of llama does something else with them"):
        own_logits(network)


def test_the_probe_is_small_runs_once_and_draws_nothing(monkeypatch):
    config = AutoConfig.for_model("llama", hidden_size=4096, num_hidden_layers=32, intermediate_size=11008)
    state, tried = torch.get_rng_state(), []
    monkeypatch.setattr(probe, "_outcomes", {})
    monkeypatch.setattr(probe, "small_network", lambda given: tried.append(given) or small_network(given))
    for _ in range(2):
        check_losses(config, settings_of("llama"))
    check_losses(AutoConfig.for_model(**{**config.to_dict(), "_name_or_path": "elsewhere"}), settings_of("llama"))
    assert len(tried) == 1 and torch.equal(state, torch.get_rng_state())
    small = small_network(config)
    assert small.config.num_hidden_layers == 2 and sum(p.numel() for p in small.parameters()) < 3_000_000
    weights = small_network(config).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in small.state_dict().items())


def test_the_precision_around_it_changes_nothing(monkeypatch, vocabulary):
    monkeypatch.setattr(probe, "_outcomes", {})
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            network = built("gemma2", vocabulary)
    finally:
        torch.set_default_dtype(torch.float32)
    assert network.get_output_embeddings().own == Logits(1.0, 30.0)
    assert [float(each.told.split()[5]) < 1e-5 for each in probe._outcomes.values()] == [True]


def test_small_copies_show_each_kind_of_layer():
    config = AutoConfig.for_model("gemma3_text", num_hidden_layers=26, sliding_window=512)
    small = small_network(config).config
    assert small.layer_types == ["sliding_attention"] * 5 + ["full_attention"] and small.sliding_window == 6


@pytest.mark.parametrize(("family", "values"), [("ernie4_5_moe", {"moe_k": 6, "moe_num_experts": 64}), ("cwm", {})])
def test_a_copy_whose_own_forward_fails_is_none(monkeypatch, family, values):
    """More experts chosen than a copy has, under a name of their own; ids of ends that must be numbers."""
    monkeypatch.setattr(probe, "_outcomes", {})
    config = AutoConfig.for_model(family, **values)
    for packing in ("packed", "documents"):
        check_losses(config, LanguageModelConfig(config={"model_type": family}, packing=packing))


def test_layers_between_the_decoder_and_the_output_are_told_of(monkeypatch):
    """Hidden states of a ModernBERT decoder go through one more layer; its ids of ends must be numbers."""
    monkeypatch.setattr(probe, "_outcomes", {})
    config = AutoConfig.for_model("modernbert-decoder")
    settings = LanguageModelConfig(config={"model_type": config.model_type}, packing="documents")
    with pytest.raises(ValueError, match="another family than modernbert-decoder, as its code ends in ValueError"):
        check_losses(config, settings)
    with pytest.raises(ValueError, match="given the hidden states of the decoder as they are, but the forward of mode"):
        own_logits(small_network(config))


def test_what_cannot_be_tried_is_not_packed(vocabulary, monkeypatch):
    def fails(config):
        raise ValueError("none") from TypeError("heads")

    monkeypatch.setattr(probe, "_outcomes", {})
    monkeypatch.setattr(probe, "small_network", fails)
    rule = r"llama, as packed its code could not be tried on a small copy \(TypeError: heads\), but is packed instead"
    with pytest.raises(ValueError, match=rule):
        built("llama", vocabulary)
    built("llama", vocabulary, packing="documents")


def test_small_copies_are_not_sharded():
    sharded = HfDeepSpeedConfig({"zero_optimization": {"stage": 3}})  # transformers asks whether it is alive
    assert is_deepspeed_zero3_enabled()
    with unsharded():
        assert not is_deepspeed_zero3_enabled()
    assert is_deepspeed_zero3_enabled() and sharded.is_zero3()


def greedy(model, prompt, number, vocabulary):
    """Likeliest continuation, all computed anew for each token."""
    tokens = list(prompt)
    for _ in range(number):
        tokens.append(int(probe.plain_logits(model, tokens)[-1, : vocabulary.num_tokens].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_oss", "mamba2", "bamba", "rwkv", "recurrent_gemma"])
@torch.no_grad()
def test_scores_and_answers_are_those_of_the_plain_forward(family, vocabulary, monkeypatch):
    monkeypatch.setattr("spiritlm_pl.lm.likelihood.SHORTEST_SHARED", 0)
    model = plain_model(family, vocabulary)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, 0.3)
    items = [([5, 6, 7], [[8, 9], [10]], [0, 0]), (list(range(20, 29)), [[3], [4, 30, 2]], [0, 1])]
    found = torch.cat(choice_log_likelihoods(model, items))
    expected = []
    for context, continuations, unscored in items:
        for end, left in zip(continuations, unscored, strict=True):
            logs = probe.plain_logits(model, context + end).log_softmax(-1)
            expected.append(sum(logs[len(context) + i - 1, end[i]] for i in range(left, len(end))))
    assert_close(found.float(), torch.stack(expected), rtol=0, atol=1e-4)

    prompts, options = [context for context, *_ in items], GenerationSettings(greedy=True, max_new_tokens=5)
    wanted = [greedy(model, prompt, 5, vocabulary) for prompt in prompts]
    made = continue_tokens(model, prompts, vocabulary, "any", options, limits=[5, 5], seeds=[0, 0])
    streamed = [
        list(stream_tokens(model, Prompt(prompt, Modality.TEXT, None), vocabulary, "any", options))
        for prompt in prompts
    ]
    assert made == streamed == wanted


def test_right_ways_stay_the_fast_ones(vocabulary):
    """A trial that fails for a reason of ours would only make everything slow."""
    network = small_network(plain_model("llama", vocabulary).config)
    with torch.no_grad():
        found = [trial(network) for trial in (_cache_difference, _padding_difference, _sharing_difference)]
    assert max(found) < 1e-4


def test_a_family_that_cannot_be_tried_is_told_of(monkeypatch, capsys):
    untried = probe.Outcome(False, "code could not be tried on a small copy (ValueError: sizes)", tried=False)
    monkeypatch.setattr(probe, "outcome", lambda *arguments: untried)
    config = AutoConfig.for_model("llama")
    check_losses(config, LanguageModelConfig(config={"model_type": "llama"}, packing="documents"))
    assert "losses of llama are not checked against its own forward, as its code could" in capsys.readouterr().err
    with pytest.raises(ValueError, match="packing must be documents with llama, as packed its code could not be tried"):
        check_losses(config, LanguageModelConfig(config={"model_type": "llama"}))
