"""Keys and values of packed decoding: read in pieces, gone on with, freed, and within the free memory."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache

from spiritlm_pl.generation import key_values, network_decoding, packed_decoding
from spiritlm_pl.generation.key_values import KeyValues
from spiritlm_pl.generation.packed_decoding import PackedDecoding
from spiritlm_pl.generation.packing import own_reader, packed_model
from spiritlm_pl.lm.padding import left_pad

from .packed_networks import PROMPTS, VOCABULARY, answers, network


def test_a_cache_that_holds_a_beginning_is_gone_on_with() -> None:
    model = network()
    found = packed_model(model)
    assert found is not None
    tokens = torch.tensor([PROMPTS[0]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    everything = torch.ones(VOCABULARY.num_rows, dtype=torch.bool)
    cache = DynamicCache(config=model.config)
    model(input_ids=tokens[:, :4], cache=cache, use_cache=True)
    whole, rest = (
        PackedDecoding(found, mask, 1, everything, own_reader(model, mask, given)) for given in (None, cache)
    )
    torch.testing.assert_close(rest(tokens), whole(tokens))
    more = torch.cat([tokens, torch.tensor([[3]])], 1)
    torch.testing.assert_close(rest(more), whole(more))


@pytest.mark.parametrize(("places", "size"), [(1, 0), (7, 0), (1, 4_000), (32, 10_000)])
def test_answers_are_the_same_whatever_the_pieces(places: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    monkeypatch.setattr(key_values, "LEAST_PLACES", places)
    monkeypatch.setattr(key_values, "LEAST_BYTES", size)
    monkeypatch.setattr(packed_decoding, "POSITIONS", 1 + size % 7)
    ours = answers(model), answers(model, greedy=False, top_p=0.9)
    monkeypatch.setattr(network_decoding, "packed_model", lambda model: None)
    assert ours == (answers(model), answers(model, greedy=False, top_p=0.9))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("prompt", [1, 5])
def test_attention_to_pieces_is_that_to_the_whole(prompt: int, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_values, "LEAST_PLACES", 3)
    monkeypatch.setattr(key_values, "LEAST_BYTES", 0)
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 4, 2, 16, 8, generator=generator)  # rows, heads, places, size of a head
    states = KeyValues(keys[:, :, :prompt], values[:, :, :prompt], 16 - prompt)
    bias = torch.zeros(4, 1, 1, 16)
    bias[1:, ..., :1] = -torch.inf if padded else 0.0
    for place in range(prompt, 16):
        states.append(keys[:, :, place], values[:, :, place])
        query = torch.randn(4, 2, 3, 8, generator=generator)
        seen = slice(place + 1)
        found = states.attend(query, bias[..., seen], 0.3)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query, keys[:, :, seen], values[:, :, seen], attn_mask=bias[..., seen], scale=0.3
        )
        torch.testing.assert_close(found, expected)
    assert len(states.pieces) == 5
    assert sum(held.shape[2] for held, _ in states.pieces) == 16


def test_keys_and_values_are_freed_with_the_answer() -> None:
    found = packed_model(network())
    assert found is not None
    tokens = torch.tensor([PROMPTS[0]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    everything = torch.ones(VOCABULARY.num_rows, dtype=torch.bool)
    gc.disable()  # which would find a cycle late, and at any time
    try:
        decoding = PackedDecoding(found, mask, 1, everything)
        decoding(tokens)
        kept = weakref.ref(decoding.states[0])
        del decoding
        assert kept() is None
    finally:
        gc.enable()


def test_memory_grows_with_the_answer_and_not_with_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    found = packed_model(model)
    assert found is not None
    tokens, mask = left_pad(PROMPTS)
    everything = torch.ones(VOCABULARY.num_rows, dtype=torch.bool)
    decoding = PackedDecoding(found, mask, 100_000, everything, own_reader(model, mask))
    places = []
    monkeypatch.setattr(key_values, "LEAST_BYTES", 64 * 3 * 2 * 16 * 4)  # of 64 places of 3 rows, 2 heads of 16
    for _ in range(packed_decoding.POSITIONS + 2):
        tokens = torch.cat([tokens, decoding(tokens).argmax(-1, keepdim=True)], 1)
        places.append(sum(keys.shape[2] for keys, _ in decoding.states[0].pieces) - mask.shape[1])
    assert places == [0] + [64] * 64 + [128] * 64 + [192] * 64 + [256] * 64 + [320]
    assert all(len(each) <= 256 for each in (decoding.cos, decoding.sin))


def test_keys_and_values_beyond_the_free_memory_are_left_to_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    found = packed_model(model)
    assert found is not None
    places = 4 * 2 * 2 * 16 * 2 * 4  # bytes of one place: 4 rows, 2 layers, 2 heads of 16, keys and values in float32
    free = SimpleNamespace(available=1000 * places / packed_decoding.MOST_MEMORY)
    monkeypatch.setattr(packed_decoding.psutil, "virtual_memory", lambda: free)
    assert packed_decoding.cache_fits(found, 4, 1000)
    assert not packed_decoding.cache_fits(found, 4, 1001)
    expected = answers(model)
    monkeypatch.setattr(network_decoding, "cache_fits", lambda packed, rows, places: (rows, places) != (3, 7 + 30))
    monkeypatch.setattr(network_decoding, "PackedDecoding", None)
    assert answers(model) == expected
