"""The loss of hidden states against logits made in full; and what it means for text and speech."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from spiritlm_pl.lm.loss import HAS_TORCH_FUSED, LossSettings, next_token_loss
from spiritlm_pl.lm.metrics import loss_metrics, loss_sums
from spiritlm_pl.streams import UNIT, SpeechLayout, Stream
from spiritlm_pl.vocabulary import Vocabulary


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("method", "z_loss"),
    [
        ("chunked", 0.0),
        ("chunked", 0.01),
        pytest.param("torch", 0.0, marks=pytest.mark.skipif(not HAS_TORCH_FUSED, reason="not in this torch")),
        ("full", 0.0),
        ("full", 0.01),
    ],
)
def test_value_and_gradients(method, z_loss, bias):
    torch.manual_seed(0)
    hidden, weight = torch.randn(23, 8, dtype=torch.double), torch.randn(50, 8, dtype=torch.double)
    offset = torch.randn(50, dtype=torch.double) if bias else None
    targets = torch.randint(0, 50, (23,))
    inputs = [x.float().requires_grad_() for x in (hidden, weight, offset) if x is not None]
    settings = LossSettings(method=method, chunk=7, z_loss=z_loss)
    total, losses = next_token_loss(inputs[0], inputs[1], inputs[2] if bias else None, targets, settings)
    (total / 23).backward()

    exact = [x.requires_grad_() for x in (hidden, weight, offset) if x is not None]
    logits = F.linear(exact[0], exact[1], exact[2] if bias else None)
    expected = F.cross_entropy(logits, targets, reduction="none")
    full = expected.sum() + z_loss * logits.logsumexp(-1).square().sum()
    (full / 23).backward()
    assert_close(losses, expected.float())
    assert_close(total, full.float())
    for ours, theirs in zip(inputs, exact, strict=True):
        assert_close(ours.grad, theirs.grad.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["chunked", "full", "torch"])
@pytest.mark.parametrize("z_loss", [0.0, 0.01])
def test_tokens_are_weighed(method, z_loss):
    if method == "torch" and (z_loss or not HAS_TORCH_FUSED):
        return
    torch.manual_seed(0)
    inputs = [torch.randn(23, 8), torch.randn(50, 8), torch.randn(50)]
    targets, weights = torch.randint(0, 50, (23,)), torch.rand(23)
    weights[3] = 0
    settings = LossSettings(method=method, chunk=7, z_loss=z_loss)
    ours, exact = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    total, losses = next_token_loss(*ours, targets, settings, weights=weights)
    (2 * total).backward()
    logits = F.linear(*exact)
    expected = F.cross_entropy(logits, targets, reduction="none")
    full = (weights * (expected + z_loss * logits.logsumexp(-1).square())).sum()
    (2 * full).backward()
    assert_close(losses, expected.detach())  # what is reported is not weighed
    assert_close(total, full)
    for own, theirs in zip(ours, exact, strict=True):
        assert_close(own.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_no_gradient_is_formed_where_none_is_wanted(mode, monkeypatch):
    hidden, targets = torch.randn(9, 8), torch.arange(9)
    weight, bias = (torch.nn.Parameter(torch.randn(*shape)) for shape in ((20, 8), (20,)))
    expected = next_token_loss(hidden, weight, bias, targets, LossSettings(chunk=4))
    monkeypatch.setattr(torch, "zeros_like", lambda *_, **__: pytest.fail("a buffer for gradients"))
    monkeypatch.setattr(torch.Tensor, "scatter_add_", lambda *_, **__: pytest.fail("a gradient of the logits"))
    with mode():
        assert_close(next_token_loss(hidden, weight, bias, targets, LossSettings(chunk=4)), expected)


def test_under_autocast_gradients_keep_the_dtype_of_parameters():
    torch.manual_seed(0)
    hidden, weight = torch.randn(9, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        total, losses = next_token_loss(hidden, weight, None, torch.arange(9), LossSettings(chunk=4))
    total.backward()
    assert losses.dtype == weight.grad.dtype == hidden.grad.dtype == torch.float32
    assert_close(losses, F.cross_entropy(hidden @ weight.T, torch.arange(9), reduction="none"), rtol=0.02, atol=0.02)


def test_settings_name_what_is_wrong():
    with pytest.raises(ValueError, match="chunk must be at least 1, but is 0"):
        LossSettings(chunk=0)
    with pytest.raises(ValueError, match="z_loss must be at least 0, but is -1"):
        LossSettings(z_loss=-1)


@pytest.mark.parametrize(
    ("offered", "rule"), [(True, "with z_loss 0.01, but is torch"), (False, "on torch .*, but is")]
)
def test_what_the_fused_loss_cannot_do_is_refused(monkeypatch, offered, rule):
    monkeypatch.setattr("spiritlm_pl.lm.loss.HAS_TORCH_FUSED", offered)
    with pytest.raises(ValueError, match=f"method must be chunked or full {rule}"):
        LossSettings(method="torch", z_loss=0.01)


def test_kinds_are_counted_apart():
    vocabulary = Vocabulary.spirit_lm(num_text=10, num_units=5, num_tasks=2)
    targets = torch.tensor([0, 9, vocabulary.text_marker, vocabulary.bounds(UNIT)[0], vocabulary.task_offset])
    sums = loss_sums(torch.tensor([1.0, 2.0, 4.0, math.log(2), 8.0]), targets, vocabulary)
    metrics = loss_metrics(sums, vocabulary, units_per_second=18.0)
    assert metrics["loss_text"] == pytest.approx(1.5)
    assert metrics["loss"] == pytest.approx((15 + math.log(2)) / 5)
    assert metrics["perplexity_speech"] == pytest.approx(2.0)
    assert metrics["speech_bits_per_second"] == pytest.approx(18.0)
    assert "loss_text" not in loss_metrics(loss_sums(torch.ones(1), torch.tensor([12]), vocabulary), vocabulary, None)


def test_the_end_of_a_document_counts_neither_as_text_nor_as_speech() -> None:
    vocabulary = Vocabulary.spirit_lm(num_text=10, num_units=4, multiple_of=1, end_of_document=2)
    targets = torch.tensor([3, 2, 12, 2, 10])  # text, end, unit, end, [Text]
    metrics = loss_metrics(loss_sums(torch.tensor([1.0, 4.0, 2.0, 6.0, 7.0]), targets, vocabulary), vocabulary, None)
    found = {name: metrics[name] for name in metrics if name.startswith("loss")}
    assert found == {"loss": 4.0, "loss_text": 1.0, "loss_speech": 2.0, "loss_end": 5.0}
    endless = replace(vocabulary, end_of_document=None)
    without = loss_metrics(loss_sums(torch.ones(5), targets, endless), endless, None)
    assert "loss_end" not in without and without["loss_text"] == 1.0


def test_every_codebook_has_a_loss_of_its_own() -> None:
    rest: dict[str, Any] = {"size": 4, "rate": 12.5, "deduplicated": False}
    streams = (
        Stream(name="semantic", prefix="Se", **rest),
        Stream(name="acoustic", prefix="Ac", num_codebooks=2, **rest),
    )
    vocabulary = Vocabulary(num_text=10, streams=streams, multiple_of=1)
    first, _ = vocabulary.bounds("acoustic")
    targets = torch.tensor([3, vocabulary.bounds("semantic")[0], first, first + 3, first + 4, first + 7])
    metrics = loss_metrics(loss_sums(torch.arange(6.0), targets, vocabulary), vocabulary, None)
    assert metrics["loss_acoustic"] == 3.5 and metrics["loss_semantic"] == 1.0 and metrics["loss_speech"] == 3.0
    assert metrics["loss_acoustic_0"] == 2.5 and metrics["loss_acoustic_1"] == 4.5
    assert not [name for name in metrics if name.startswith(("perplexity_acoustic_", "loss_semantic_"))]
    with pytest.raises(ValueError, match="must not be that of a codebook of acoustic, but is 'acoustic_1'"):
        SpeechLayout((*streams, Stream(name="acoustic_1", prefix="Xx", **rest)))
