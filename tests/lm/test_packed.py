"""Packed rows: each document is modelled as if it stood alone, whatever the model, and to the gradient."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from spiritlm_pl.lm.attention import Packing, document_attention
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, token_losses

OTHERS = [
    {
        "model_type": "qwen2",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    {
        "model_type": "mistral",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": 6,
    },
]


def separate_losses(network, batch):
    """The loss of every token but a document's first, one document at a time by the plain model."""
    network.set_attn_implementation("eager")
    losses = []
    bounds = batch.cu_seqlens.tolist()
    for start, end in zip(bounds, bounds[1:], strict=False):
        tokens = batch.tokens.flatten()[None, start:end]
        logits = network(input_ids=tokens, use_cache=False).logits
        losses.append(F.cross_entropy(logits[0, :-1], tokens[0, 1:], reduction="none"))
    return torch.cat(losses)


@pytest.mark.parametrize("config", [None, *OTHERS], ids=["llama", "qwen2-tied", "mistral-window"])
def test_losses_and_gradients_are_those_of_separate_documents(config, tiny, vocabulary, make_batch):
    torch.manual_seed(0)
    settings = tiny if config is None else LanguageModelConfig(config=config)
    network, batch = build_network(settings, vocabulary), make_batch()
    total, losses, targets = token_losses(network, batch)
    total.backward()
    packed = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    expected = separate_losses(network, batch)
    assert_close(losses, expected)
    assert len(targets) == batch.tokens.numel() - (len(batch.cu_seqlens) - 1)
    expected.sum().backward()
    for name, parameter in network.named_parameters():
        assert_close(packed[name], parameter.grad, msg=name, rtol=1e-4, atol=1e-5)


def test_across_documents_a_row_is_one_document(tiny, vocabulary, make_batch):
    network, batch = build_network(tiny, vocabulary), make_batch()
    _, losses, _ = token_losses(network, batch, cross_documents=True)
    whole = make_batch(((24,), (24,)))
    whole = replace(whole, tokens=batch.tokens)
    _, expected, _ = token_losses(network, whole)
    assert_close(losses, expected)


def test_gradient_checkpointing_changes_nothing(tiny, vocabulary, make_batch):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = build_network(replace(tiny, gradient_checkpointing=checkpointing), vocabulary).train()
        token_losses(network, make_batch())[0].backward()
        gradients.append(network.get_input_embeddings().weight.grad)
    assert_close(*gradients)


def test_a_checkpoint_is_trained_not_run(tmp_path, tiny, vocabulary, make_batch):
    """transformers loads for inference, and then recomputes no layer: all activations would be kept."""
    build_network(tiny, vocabulary).save_pretrained(tmp_path)
    settings = LanguageModelConfig(checkpoint=str(tmp_path), gradient_checkpointing=True)
    network, calls = build_network(settings, vocabulary), []
    network.base_model.layers[0].mlp.register_forward_pre_hook(lambda *given: calls.append(given))
    token_losses(network, make_batch())[0].backward()
    assert network.training and len(calls) == 2


def test_only_tokens_under_the_mask_are_predicted(tiny, vocabulary, make_batch):
    batch = make_batch()
    mask = torch.zeros_like(batch.loss_mask)
    mask[0, 3], mask[1, 0], mask[1, 20] = True, True, True  # the last two open a document
    _, losses, targets = token_losses(build_network(tiny, vocabulary), replace(batch, loss_mask=mask))
    assert targets.tolist() == [batch.tokens[0, 3]] and len(losses) == 1


@pytest.mark.parametrize("window", [None, 4])
def test_bf16_products_agree_with_the_kernel(window):
    torch.manual_seed(0)
    bounds = Packing(torch.tensor([0, 7, 40], dtype=torch.int32), [7, 33])
    query, key, value = (torch.randn(40, heads, 16) for heads in (4, 2, 2))
    expected = document_attention(query, key, value, bounds, 0.25, window=window)
    low = [part.bfloat16() for part in (query, key, value)]
    assert_close(document_attention(*low, bounds, 0.25, window=window).float(), expected, rtol=0.05, atol=0.05)


def test_generation_of_a_training_model_is_the_plain_models(tiny, vocabulary):
    torch.manual_seed(0)
    network = build_network(tiny, vocabulary).eval()
    prompt = {
        "input_ids": torch.tensor([[1, 2, 3, 4], [0, 0, 7, 8]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]]),
    }
    options = {"max_new_tokens": 6, "do_sample": False, "use_cache": True, "pad_token_id": 0}
    ours = network.generate(**prompt, **options)
    network.set_attn_implementation("eager")
    assert torch.equal(ours, network.generate(**prompt, **options))
