"""Log-likelihoods against a plain loop, in any batch, on any number of ranks."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.lm import likelihood
from spiritlm_pl.lm.likelihood import choice_log_likelihoods, log_likelihoods, token_log_likelihoods


@pytest.fixture
def model():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=96, **shape, initializer_range=0.3)).eval()


@torch.no_grad()
def test_scores_equal_a_plain_loop(model):
    generator = torch.Generator().manual_seed(1)
    sequences = [
        (torch.randint(90, (length,), generator=generator).tolist(), scored)
        for length, scored in ((5, 2), (9, 8), (20, 4), (3, 1), (64, 30))
    ]
    expected = []
    for tokens, scored in sequences:
        logs = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        expected.append(sum(logs[i - 1, tokens[i]].item() for i in range(len(tokens) - scored, len(tokens))))
    for batch_tokens in (8192, 20):
        torch.testing.assert_close(
            log_likelihoods(model, sequences, batch_tokens), torch.tensor(expected), rtol=1e-4, atol=1e-4
        )


def test_ranks_share_the_batches(model, monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    sequences = [(list(range(length)), 2) for length in range(4, 15)]
    whole = log_likelihoods(model, sequences, batch_tokens=30)
    number = len(calls)
    parts = [log_likelihoods(model, sequences, 30, rank, 3) for rank in range(3)]
    torch.testing.assert_close(sum(parts), whole)
    assert len(calls) - number == 3 * -(-number // 3)  # equally many calls on every rank


def some_items():
    generator = torch.Generator().manual_seed(2)

    def tokens(length):
        return torch.randint(90, (length,), generator=generator).tolist()

    return [
        (tokens(context), [tokens(length) for length in lengths])
        for context, lengths in ((5, (1, 1)), (9, (3, 7)), (1, (2, 1)), (30, (4, 4, 4)), (12, (6,)), (7, (1, 5)))
    ]


@pytest.mark.parametrize("shortest", [0, 8, 100])  # all contexts shared, some, none
@pytest.mark.parametrize("batch_tokens", [8192, 20])
def test_a_shared_context_gives_the_same(model, batch_tokens, shortest, monkeypatch):
    monkeypatch.setattr(likelihood, "SHORTEST_SHARED", shortest)
    items = [(*item, [number % len(end) for number, end in enumerate(item[1])]) for item in some_items()]
    found = choice_log_likelihoods(model, items, batch_tokens)
    for (context, continuations, unscored), scores in zip(items, found, strict=True):
        ends = zip(continuations, unscored, strict=True)
        alone = log_likelihoods(model, [(context + end, len(end) - left) for end, left in ends])
        torch.testing.assert_close(scores.float(), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("most_logits", [1, 1 << 26])
@pytest.mark.parametrize("shortest", [0, 8, 100])
@pytest.mark.parametrize("batch_tokens", [8192, 20])
@torch.no_grad()
def test_every_token_is_scored_in_the_whole_and_in_a_part_of_the_vocabulary(
    model, batch_tokens, shortest, most_logits, monkeypatch
):
    monkeypatch.setattr(likelihood, "SHORTEST_SHARED", shortest)
    monkeypatch.setattr(likelihood, "MOST_LOGITS", most_logits)
    allowed = torch.arange(96) >= 40
    items = some_items()
    found = token_log_likelihoods(model, items, batch_tokens, allowed)
    without = token_log_likelihoods(model, items, batch_tokens, with_context=False)
    for (context, continuations), scores, own in zip(items, found, without, strict=True):
        assert scores.context.shape == (2, len(context) - 1) and own.context.shape == (1, 0)
        for tokens, values, plain in zip(continuations, scores.continuations, own.continuations, strict=True):
            logits = model(torch.tensor([context + tokens])).logits[0, :-1]
            targets = torch.tensor(context + tokens)[1:, None]
            masked = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1).gather(1, targets)[:, 0]
            expected = torch.stack([logits.log_softmax(-1).gather(1, targets)[:, 0], masked])
            torch.testing.assert_close(torch.cat([scores.context, values], 1), expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(plain, expected[:1, len(context) - 1 :], rtol=1e-4, atol=1e-4)
