"""Attention of documents side by side is that of each alone, to the gradient, with and without rotated positions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spiritlm_pl.lm import attention, grouped_attention, groups
from spiritlm_pl.lm.attention import Packing, document_attention
from spiritlm_pl.lm.grouped_attention import rotations
from spiritlm_pl.lm.groups import Groups

LENGTHS = [1, 31, 40, 0, 200, 33, 32, 270, 40]  # some are alone in a group, some are several blocks long
SCALE = 0.3


def bounds(lengths: list[int]) -> Packing:
    return Packing(torch.tensor([0, *lengths]).cumsum(0).int(), lengths)


def parts(heads: int, keys: int, size: int = 16, lengths: list[int] = LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(sum(lengths), number, size) for number in (heads, keys, keys, heads)]
    return [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]


def tables(size: int = 16, lengths: list[int] = LENGTHS) -> tuple[Tensor, Tensor]:
    """Angles that differ in the two halves of a head, as scaled positions of some models might."""
    places = torch.cat([torch.arange(length) for length in lengths])[:, None] + 1.0
    angles = places * torch.linspace(0.01, 1.5, size)
    return angles.cos(), angles.sin()


def rotate(part: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = part.shape[-1] // 2
    turned = torch.cat((-part[..., half:], part[..., :half]), -1)
    return part * cos[:, None] + turned * sin[:, None]


def plain(query: Tensor, key: Tensor, value: Tensor, lengths: list[int] = LENGTHS) -> Tensor:
    """One document after another, by torch's attention."""
    found = []
    for one in zip(*(part.split(lengths) for part in (query, key, value)), strict=True):
        one_query, one_key, one_value = (part.transpose(0, 1)[None] for part in one)
        attended = F.scaled_dot_product_attention(
            one_query, one_key, one_value, is_causal=True, scale=SCALE, enable_gqa=True
        )
        found.append(attended[0].transpose(0, 1))
    return torch.cat(found)


def results(compute: Any, given: list[Tensor], factor: Tensor) -> list[Tensor]:
    leaves = [part.clone().requires_grad_() for part in given]
    attended = compute(*leaves)
    return [attended.detach(), *torch.autograd.grad((attended * factor).sum(), leaves)]


@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("rotated", [False, True])
def test_values_and_gradients_are_those_of_documents_alone(heads: int, keys: int, rotated: bool) -> None:
    *given, factor = parts(heads, keys)
    cos, sin = tables()
    packed = bounds(LENGTHS)

    def ours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        turns = rotations(packed.groups, cos, sin) if rotated else None
        return grouped_attention.grouped_attention(query, key, value, packed.groups, SCALE, turns)

    def exact(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if rotated:
            query, key = (rotate(part, cos.double(), sin.double()) for part in (query, key))
        return plain(query, key, value)

    expected = results(exact, [part.double() for part in given], factor.double())
    for found, wanted in zip(results(ours, given, factor), expected, strict=True):
        assert found.dtype == torch.bfloat16 and found.shape == wanted.shape
        assert (found.double() - wanted).norm() < 0.01 * wanted.norm()
        torch.testing.assert_close(found.double(), wanted, rtol=0.03, atol=0.1 * float(wanted.std()))


def test_other_documents_change_nothing() -> None:
    *given, factor = parts(4, 2)
    before = results(lambda *each: document_attention(*each, bounds(LENGTHS), SCALE), given, factor)
    changed = [part.clone() for part in given]
    for part in changed:
        part[73:] += 1  # from the fifth document on
    after = results(lambda *each: document_attention(*each, bounds(LENGTHS), SCALE), changed, factor)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:72], other[:72]) and not torch.equal(one[73:], other[73:])


def test_weights_are_recomputed_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    *given, factor = parts(6, 2)
    found, kept = [], []
    for threshold in (1, 10**6):
        monkeypatch.setattr(grouped_attention, "RECOMPUTED_FROM", threshold)
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda part, to=saved: to.append(part) or part, lambda part: part
        ):
            found.append(results(lambda *each: document_attention(*each, bounds(LENGTHS), SCALE), given, factor))
        kept.append(sum(part.numel() for part in saved))
    assert kept[0] < kept[1]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_nothing_is_kept_without_gradients() -> None:
    *given, _ = parts(4, 4)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda part: saved.append(part) or part, lambda part: part):
        document_attention(*given, bounds(LENGTHS), SCALE)
    assert not saved


def test_every_token_is_in_one_group() -> None:
    found = Groups.of(LENGTHS)
    tokens = torch.arange(sum(LENGTHS)) + 1
    assert torch.equal(found.scatter(found.gather(tokens)), tokens)
    padded = found.gather(tokens, zeros=True)
    assert sorted(padded[padded > 0].tolist()) == tokens.tolist()
    assert sum(group.num * group.length for group in found.groups) == len(padded) == len(found.places)
    assert all(group.length % groups.STEP == 0 for group in found.groups)
    assert len(Groups.of([64] * 100).groups) == -(-100 // (groups.MOST // 64))
    assert not len(Groups.of([64] * 100).padding)


def test_half_precision_on_a_cpu_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    own = attention.grouped_attention
    monkeypatch.setattr(attention, "grouped_attention", lambda *given: calls.append(1) or own(*given))
    *given, _ = parts(4, 4)
    document_attention(*given, bounds(LENGTHS), SCALE, window=270)
    assert len(calls) == 1
    document_attention(*(part.float() for part in given), bounds(LENGTHS), SCALE)
    document_attention(*given, bounds(LENGTHS), SCALE, window=269)
    document_attention(*given, bounds(LENGTHS), SCALE, dropout=0.1)
    document_attention(*given, bounds(LENGTHS), SCALE, softcap=5.0)
    assert len(calls) == 1
