"""Losses of pairs in packed rows equal those of the published formulas, computed document by document."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spiritlm_pl.lm.build import build_network, document_loss
from spiritlm_pl.lm.loss import HAS_TORCH_FUSED, LossSettings
from spiritlm_pl.preferences.learning import preference_loss, preference_metrics
from spiritlm_pl.preferences.losses import DPO, SimPO
from spiritlm_pl.preferences.packing import fill_rows, pack
from spiritlm_pl.preferences.pairs import Pair, Pairs, modalities_of

METHODS = ["chunked", "full", *(["torch"] if HAS_TORCH_FUSED else [])]


def log_likelihood(network, prompt: list[int], continuation: list[int]) -> Tensor:
    """Of a continuation, by the model's own forward over this document alone."""
    tokens = torch.tensor([[*prompt, *continuation]])
    logs = network(input_ids=tokens, use_cache=False).logits[0].float().log_softmax(-1)[:-1]
    return logs.gather(1, tokens[0, 1:, None])[len(prompt) - 1 :].sum()


def piece_by_piece(network, pairs: Pairs, loss) -> Tensor:
    """The formulas of the papers, written out for one pair after the other."""
    total = torch.zeros(())
    for place, pair in enumerate(pairs):
        chosen, rejected = (log_likelihood(network, pair.prompt, one) for one in (pair.chosen, pair.rejected))
        if isinstance(loss, SimPO):
            margin = loss.beta * (chosen / len(pair.chosen) - rejected / len(pair.rejected)) - loss.gamma
            total = total - torch.log(1 / (1 + torch.exp(-margin)))
            continue
        first, second = pairs.reference[place].tolist()
        margin = loss.beta * ((chosen - first) - (rejected - second))
        right, wrong = torch.log(1 / (1 + torch.exp(-margin))), torch.log(1 / (1 + torch.exp(margin)))
        total = total - (1 - loss.label_smoothing) * right - loss.label_smoothing * wrong
        total = total - loss.likelihood_weight * chosen / len(pair.chosen)
    return total / len(pairs)


@pytest.mark.parametrize("packing", ["packed", "documents"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", [DPO(0.3), DPO(0.1, 0.2, 0.5), SimPO(2.0, 0.7)], ids=["dpo", "all of dpo", "simpo"])
def test_loss_and_gradient_are_those_of_the_formula(vocabulary, tiny, pairs, loss, method, packing) -> None:
    torch.manual_seed(0)
    settings = replace(tiny, loss=LossSettings(method=method, chunk=5), packing=packing)
    network = build_network(settings, vocabulary)
    expected = piece_by_piece(network, pairs, loss)
    expected.backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    batch = pack(pairs, 50, vocabulary, step=0)
    assert len(batch.tokens) > 1 and batch.segment_ids.max() > 1  # several rows of several pairs
    found, _ = preference_loss(network, batch, loss)
    found.backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=name)


def test_log_likelihoods_are_those_of_each_document_alone(vocabulary, tiny, pairs) -> None:
    torch.manual_seed(0)
    network = build_network(tiny, vocabulary)
    batch = pack(pairs, 50, vocabulary, step=0)
    seen: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        value, _, _ = document_loss(
            network,
            batch,
            lambda sums, counts: seen.append((sums, counts)) or sums.sum(),  # type: ignore[func-returns-value]
        )
        expected = torch.stack(
            [
                torch.stack([log_likelihood(network, pair.prompt, one) for one in (pair.chosen, pair.rejected)])
                for pair in pairs
            ]
        )
    ((sums, counts),) = seen
    found = torch.stack([sums[batch.chosen], sums[batch.rejected]], 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(value, expected.sum(), atol=1e-4, rtol=1e-6)
    assert counts[batch.chosen].tolist() == [len(pair.chosen) for pair in pairs]
    assert counts.sum() == batch.loss_mask.sum()


def test_figures_are_means_over_pairs(vocabulary, tiny, pairs) -> None:
    network = build_network(tiny, vocabulary)
    loss, sums = preference_loss(network, pack(pairs, 64, vocabulary, step=0), DPO(0.5))
    _, some = preference_loss(network, pack(pairs, 64, vocabulary, step=0, filling=3), DPO(0.5))
    _, first = preference_loss(network, pack(pairs.take(np.arange(4)), 64, vocabulary, step=0), DPO(0.5))
    figures = preference_metrics(sums)
    assert figures["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert figures["reward_margin"] == pytest.approx(figures["reward_chosen"] - figures["reward_rejected"], abs=1e-5)
    assert 0 <= figures["accuracy"] <= 1
    torch.testing.assert_close(some, first, atol=1e-3, rtol=1e-5)  # pairs that fill up do not count


def test_modalities(vocabulary) -> None:
    text, unit = 7, vocabulary.token("unit", 3)
    found = Pairs.of(
        [
            Pair("text", [unit], [vocabulary.text_marker, text], [text]),
            Pair("speech", [text], [unit], [unit, unit]),
            Pair("both", [text], [unit], [text]),
        ],
        np.uint16,
    )
    assert modalities_of(found, vocabulary).tolist() == [0, 1, 2]


def test_both_documents_of_a_pair_lie_in_one_row(vocabulary, pairs) -> None:
    batch = pack(pairs, 40, vocabulary, step=3)
    length = batch.tokens.shape[1]
    starts = batch.cu_seqlens[:-1]
    assert length <= 40 and batch.step == 3
    assert torch.equal(starts[batch.chosen] // length, starts[batch.rejected] // length)
    for place, pair in enumerate(pairs):
        for segment, continuation in ((batch.chosen, pair.chosen), (batch.rejected, pair.rejected)):
            low, high = batch.cu_seqlens[segment[place] : segment[place] + 2].tolist()
            assert batch.tokens.flatten()[low:high].tolist() == [*pair.prompt, *continuation]
            learnt = batch.loss_mask.flatten()[low:high].tolist()
            assert learnt == [False] * len(pair.prompt) + [True] * len(continuation)
    assert int(batch.loss_mask.sum()) == sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)


def test_rows_are_filled() -> None:
    rows = fill_rows(np.array([5, 9, 4, 6, 1]), 10)
    assert sorted(place for row in rows for place in row) == [0, 1, 2, 3, 4]
    assert len(rows) == 3


def test_values_out_of_range_are_refused() -> None:
    for make in (
        lambda: DPO(0.0),
        lambda: DPO(0.1, 0.5),
        lambda: DPO(0.1, 0, -1),
        lambda: SimPO(-1),
        lambda: SimPO(1, -1),
    ):
        with pytest.raises(ValueError, match="must be in"):
            make()
    assert F.logsigmoid(torch.zeros(())) < 0
