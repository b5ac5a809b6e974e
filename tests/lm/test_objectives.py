"""Objectives: weights by stream, and one that a configuration names by its path."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from spiritlm_pl.contracts.objective import Objective
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, token_losses
from spiritlm_pl.lm.objectives import NextToken, WeightedStreams
from spiritlm_pl.lm.probe import random_rows
from spiritlm_pl.vocabulary import Vocabulary

WORDS = Vocabulary.spirit_lm(num_text=20, num_units=30, num_pitches=5, num_styles=4, end_of_document=2, multiple_of=1)


@pytest.fixture
def network():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    return build_network(LanguageModelConfig(config={"model_type": LlamaConfig.model_type, **sizes}), WORDS)


def test_weights_count_in_the_sum_and_not_in_the_figures(network):
    batch = random_rows()
    batch = replace(batch, tokens=torch.randint(0, WORDS.num_rows, batch.tokens.shape, generator=torch.Generator()))
    plain, losses, targets = NextToken()(network, batch, WORDS, False)
    assert torch.equal(plain, token_losses(network, batch)[0]) and torch.allclose(plain, losses.sum())
    weighted = WeightedStreams({"text": 0.5, "pitch": 0.0, "unit": 2.0})
    weighted.check(WORDS)
    total, same, _ = weighted(network, batch, WORDS, False)
    factors = {"text": 0.5, "unit": 2.0, "pitch": 0.0, "style": 1.0, "modality": 1.0}
    wanted = torch.tensor([1.0 if t == 2 else factors[WORDS.label(t)] for t in targets.tolist()])
    assert torch.equal(same, losses) and torch.allclose(total, (wanted * losses).sum())
    assert len(set(wanted.tolist())) == 4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "must name text or a stream, but are empty"),
        ({"text": -1.0}, "finite and at least 0, but that of text is -1"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        WeightedStreams(weights)


def test_a_stream_that_the_vocabulary_lacks_is_named():
    with pytest.raises(ValueError, match="some of text, unit, pitch, style, but one is of 'semantic'"):
        WeightedStreams({"semantic": 1.0}).check(WORDS)
    with pytest.raises(ValueError, match="must leave something to learn, but those of text, .* are all 0"):
        WeightedStreams(dict.fromkeys(("text", "unit", "pitch", "style"), 0.0)).check(WORDS)
    assert isinstance(NextToken(), Objective) and isinstance(WeightedStreams({"text": 1.0}), Objective)
