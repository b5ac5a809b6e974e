"""Scores in every way of counting against the model's own `forward`, one hypothesis at a time."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from spiritlm_pl.benchmarks.items import ChoiceItem
from spiritlm_pl.benchmarks.scoring import ChoiceScorer
from spiritlm_pl.data.steps import in_steps
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.streams import Stream, delayed
from spiritlm_pl.vocabulary import Vocabulary


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
        found["whole_mean_end"] = (sum(map(value, both)) + value(len(whole))) / (len(both) + 1)
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


def test_a_text_after_a_text_of_the_published_model_has_a_space_before_it(model, monkeypatch):
    monkeypatch.setattr(type(model.text_tokenizer), "joint", "")
    scorer = ChoiceScorer(model)

    def whole(context, hypothesis):
        return scorer.encode(ChoiceItem("a", (Text(context),), (Text(hypothesis),), (Text(" a dog"),))).wholes[0]

    apart = model.encode_prompt([Text("the cat sat on the mat")]).tokens
    assert whole("the cat sat", "on the mat") == whole("the cat sat ", "on the mat") == apart
    assert whole("the cat sat", " on the mat") == apart


@torch.no_grad()
def test_all_steps_of_delayed_codebooks_are_scored(tiny_lm):
    network, text, _ = tiny_lm
    stream = Stream(name="codec", prefix="Co", size=6, num_codebooks=3, rate=12.5, deduplicated=False)
    vocabulary = Vocabulary(
        num_text=text.vocab_size, streams=delayed((stream,), 1), multiple_of=network.config.vocab_size
    )
    model = SpiritLM(network, text, vocabulary)
    frames = [[1, 2, 3], [4, 5, 0], [2, 1, 4]]

    def spoken(last):
        codes = [*frames[:-1], [*frames[-1][:2], last]]
        return [vocabulary.token("codec", code, book) for row in codes for book, code in enumerate(row)]

    steps = [tuple(in_steps(np.array(spoken(last)), vocabulary).tolist()) for last in (4, 5)]
    item = ChoiceItem("a", (), (Speech(tokens=steps[0]),), (Speech(tokens=steps[1]),))
    scorer = ChoiceScorer(model)
    line = scorer.score([scorer.encode(item)])[0]
    assert line.num_tokens == (9, 9) and line.points("sum") != 0.5  # they differ in the very last code alone


@torch.no_grad()
def test_an_end_may_stand_right_behind_the_last_position(tiny_lm):
    _, text, vocabulary = tiny_lm
    vocabulary = dataclasses.replace(vocabulary, end_of_document=2)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12, "bos_token_id": None, "eos_token_id": None}
    network = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary.num_rows, **shape)).eval()
    model = SpiritLM(network, text, vocabulary)
    scorer = ChoiceScorer(model)
    codes = range(11)  # after [Speech], so that they fill all positions
    line = scorer.score([scorer.encode(ChoiceItem("a", (), (units(model, *codes),), (units(model, 3),)))])[0]
    assert line.num_tokens == (11, 1) and line.scores["sum_end"][0] < line.scores["sum"][0]


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
