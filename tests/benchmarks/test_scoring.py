"""Scores in every way of counting against the model's own `forward`, one hypothesis at a time."""

import dataclasses

import pytest
import torch

from spiritlm_pl.benchmarks.items import ChoiceItem
from spiritlm_pl.benchmarks.scoring import ChoiceScorer
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech, Text


def units(model, *codes):
    first = model.vocabulary.speech_bounds[0]
    return Speech(tokens=tuple(first + code for code in codes))


def items_of(model):
    return [
        ChoiceItem("words", (), (units(model, 1, 2, 3),), (units(model, 4, 5),)),
        ChoiceItem("alike", (), (units(model, 1, 2, 3, 4, 5),), (units(model, 1, 2, 3, 4, 6, 7),)),
        ChoiceItem("prefix", (), (units(model, 1, 2),), (units(model, 1, 2, 3),)),
        ChoiceItem("story", (units(model, *range(19)),), (units(model, 3, 2),), (units(model, 9),)),
        ChoiceItem("text", (Text("the cat"),), (Text("sat on"),), (Text("a dog ran off"),)),
        ChoiceItem("to speech", (Text("the cat sat on the mat"),), (units(model, 7, 8),), (units(model, 8, 7, 1),)),
        ChoiceItem("to text", (units(model, 3, 4, 5, 6),), (Text("the mat"),), (Text("a dog"),)),
    ]


@torch.no_grad()
def expected(model, item, hypothesis):
    """Return the scores of one hypothesis by plain loops."""
    vocabulary, text = model.vocabulary, model.text_tokenizer
    spoken = isinstance(hypothesis[0], Speech)
    said = [piece for piece in (*item.context, *hypothesis)]
    whole = model.encode_prompt(said).tokens
    if not item.context:
        start = len(text.opening) + len(vocabulary.opening) + 1
    else:
        start = len(model.encode_prompt(item.context, "speech" if spoken else "text").tokens)
    first = len(text.opening) + len(vocabulary.opening) + 1
    end = vocabulary.end_of_document
    tokens = whole if end is None else [*whole, end]
    logits = model.model(torch.tensor([tokens])).logits[0].double()
    speech = slice(*vocabulary.speech_bounds)

    def value(place, masked=False):
        row = logits[place - 1]
        return float(row[tokens[place]] - (row[speech] if masked else row).logsumexp(0))

    own, both = range(start, len(whole)), range(first, len(whole))
    found = {"sum": sum(map(value, own)), "whole_mean": sum(map(value, both)) / len(both)}
    found["mean"] = found["sum"] / len(own)
    if spoken:
        found["masked_sum"] = sum(value(place, True) for place in own)
        found["masked_mean"] = found["masked_sum"] / len(own)
        if all(isinstance(piece, Speech) for piece in item.context):
            found["masked_whole_mean"] = sum(value(place, True) for place in both) / len(both)
    if end is not None:
        found["sum_end"] = found["sum"] + value(len(whole))
        found["mean_end"] = found["sum_end"] / (len(own) + 1)
    return found


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("batch_tokens", [4096, 40])
def test_scores_are_those_of_one_hypothesis_at_a_time(model, batch_tokens, ended):
    if ended:
        vocabulary = dataclasses.replace(model.vocabulary, end_of_document=2)
        model = SpiritLM(model.model, model.text_tokenizer, vocabulary)
    scorer = ChoiceScorer(model, batch_tokens)
    items = items_of(model)
    lines = scorer.score([scorer.encode(item) for item in items])
    for item, line in zip(items, lines, strict=True):
        for which, hypothesis in enumerate((item.right, item.wrong)):
            wanted = expected(model, item, hypothesis)
            assert {name: pair[which] for name, pair in line.scores.items()} == pytest.approx(wanted, abs=1e-4)
            assert line.num_tokens[which] == round(wanted["sum"] / wanted["mean"])


def test_equal_hypotheses_tie(model):
    scorer = ChoiceScorer(model, 64)
    others = [ChoiceItem(f"{n}", (), (units(model, *range(n)),), (units(model, n),)) for n in range(1, 19)]
    same = ChoiceItem("same", (), (units(model, 4, 9, 2),), (units(model, 4, 9, 2),))
    line = scorer.score([scorer.encode(item) for item in (*others, same)])[-1]
    assert all(line.points(variant) == 0.5 for variant in line.scores)


@torch.no_grad()
def test_units_alone_are_counted_among_the_tokens_of_all_streams(tiny_lm):
    from spiritlm_pl.vocabulary import Vocabulary

    network, text, _ = tiny_lm
    vocabulary = Vocabulary.spirit_lm(
        num_text=text.vocab_size, num_units=10, num_pitches=4, num_styles=4, multiple_of=network.config.vocab_size
    )
    model = SpiritLM(network, text, vocabulary)
    tokens = [vocabulary.token("style", 1), vocabulary.token("pitch", 2), vocabulary.token("unit", 5)]
    tokens += [vocabulary.token("unit", 7)]
    scorer = ChoiceScorer(model)
    item = ChoiceItem("one", (), (Speech(tokens=tuple(tokens)),), (Speech(tokens=tuple(tokens[:2])),))
    wanted = expected(model, item, item.right)
    line = scorer.score([scorer.encode(dataclasses.replace(item, wrong=item.right))])[0]
    logits = network(torch.tensor([model.encode_prompt(item.right).tokens])).logits[0].double().log_softmax(-1)
    place = len(model.encode_prompt(item.right).tokens) - 2
    value = sum(float(logits[place + n - 1, tokens[2 + n]]) for n in (0, 1))
    assert line.scores["units_sum"][0] == pytest.approx(value, abs=1e-4)
    assert line.scores["units_mean"][0] == pytest.approx(value / 2, abs=1e-4)
    assert line.scores["sum"][0] == pytest.approx(wanted["sum"], abs=1e-4)
    without = scorer.score([scorer.encode(item)])[0]
    assert "units_sum" not in without.scores  # a hypothesis has none


def test_what_cannot_be_scored_is_told(model):
    scorer = ChoiceScorer(model)
    mixed = ChoiceItem("mixed", (), (units(model, 1),), (Text("the cat"),))
    both = ChoiceItem("both", (), (units(model, 1), Text("the cat")), (Text("the cat"),))
    long = ChoiceItem("long", (), (units(model, *range(19)),) * 9, (units(model, 1),), names=("a", "b"))
    for item, message in (
        (mixed, "one is text and one is speech"),
        (both, "pieces of text or pieces of speech, but has both"),
        (long, "at most 128 tokens, but a has 172"),
    ):
        with pytest.raises(ValueError, match=message):
            scorer.encode(item)
