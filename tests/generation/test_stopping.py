"""Answers end at a text in them, or where another modality begins; each row of a batch by itself, streamed or not."""

import pytest
import torch

from spiritlm_pl.generation import sampling
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.streaming import StreamEnd
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Modality

PROMPTS = [[Text("the cat")], [Text("a dog ran off on the mat")], [Text("the mat")]]


@pytest.fixture
def spirit_lm(tiny_lm):
    return SpiritLM(*tiny_lm)


def follow(monkeypatch, spirit_lm, scripts):
    """Let the model say scripts of token ids, chosen by the length of the batch's rows, one after the other."""

    class Follow:
        def __init__(self, rows):
            self.rows, self.step = rows, 0

        def __call__(self, input_ids, scores):
            chosen = torch.full_like(scores, -10.0)
            for row, script in enumerate(self.rows):
                chosen[row, script[0]] = 0.0  # where the script's token is banned
                chosen[row, script[min(self.step, len(script) - 1)]] = 10.0
            self.step += 1
            return chosen.masked_fill(scores.isinf(), -torch.inf)

    own, given = sampling._processors, iter(scripts)

    def processors(vocabulary, output, eos_id, settings, seeds, *others):
        made = own(vocabulary, output, eos_id, settings, seeds, *others)
        made.insert(1, Follow([next(given) for _ in seeds]))
        return made

    monkeypatch.setattr(sampling, "_processors", processors)


def test_a_text_ends_an_answer_that_keeps_it(monkeypatch, spirit_lm):
    tokenizer = spirit_lm.text_tokenizer
    scripts = [tokenizer.encode(text) for text in ("dog <END> the cat", "on the mat", "<END>")]
    follow(monkeypatch, spirit_lm, scripts)
    settings = GenerationSettings(greedy=True, stop=("<END>",), max_new_tokens=40)
    answers = [one for (one,) in spirit_lm.generate_batch(PROMPTS, "text", settings)]
    assert [answer.finish_reason for answer in answers] == ["stop", "length", "stop"]
    assert answers[0][0].text == "dog <END>" and answers[2][0].text == "<END>"
    assert answers[1][0].text.startswith("on the mat") and len(answers[1][0].tokens) == 40
    assert len(answers[0][0].tokens) < len(scripts[0])


@pytest.mark.parametrize("output, other", [("text", Modality.SPEECH), ("speech", Modality.TEXT)])
def test_a_change_of_modality_ends_an_answer_where_it_is_asked_for(monkeypatch, spirit_lm, output, other):
    vocabulary = spirit_lm.vocabulary
    own = spirit_lm.text_tokenizer.encode("dog") if output == "text" else [vocabulary.token(UNIT, 3)]
    script = [*own, vocabulary.marker(other), *own]
    settings = GenerationSettings(greedy=True, ends_at_change=True, max_new_tokens=8)
    follow(monkeypatch, spirit_lm, [script, script])
    (answer,) = spirit_lm.generate([Text("the cat")], output, settings)
    assert answer.finish_reason == "stop" and answer[0].tokens == tuple(own)
    (unended,) = spirit_lm.generate([Text("the cat")], output, GenerationSettings(greedy=True, max_new_tokens=8))
    assert unended.finish_reason == "length"  # there the token is banned


@pytest.mark.parametrize("stop", [("<END>",), ()])
def test_a_stream_ends_where_the_whole_answer_does(monkeypatch, spirit_lm, stop):
    script = [*spirit_lm.text_tokenizer.encode("dog <END> the"), spirit_lm.vocabulary.speech_marker]
    settings = GenerationSettings(greedy=True, stop=stop, ends_at_change=True, max_new_tokens=40)
    follow(monkeypatch, spirit_lm, [script, script])
    (whole,) = spirit_lm.generate([Text("the cat")], "text", settings)
    *pieces, end = spirit_lm.stream([Text("the cat")], "text", settings)
    assert isinstance(end, StreamEnd) and end.finish_reason == whole.finish_reason == "stop"
    assert "".join(streamed.piece.text for streamed in pieces) == whole[0].text
    assert whole[0].text == ("dog <END>" if stop else "dog <END> the")


def test_one_row_of_a_batch_ends_without_the_others(spirit_lm):
    """An untrained model: the answers of a batch are those of each prompt by itself, wherever they end."""
    settings = GenerationSettings(greedy=True, stop=("a", "t"), max_new_tokens=30)
    together = [one for (one,) in spirit_lm.generate_batch(PROMPTS, "text", settings)]
    alone = [spirit_lm.generate(prompt, "text", settings)[0] for prompt in PROMPTS]
    assert [list(answer) for answer in together] == [list(answer) for answer in alone]
    assert [answer.finish_reason for answer in together] == [answer.finish_reason for answer in alone]


def test_settings_that_cannot_be_are_refused(spirit_lm):
    with pytest.raises(ValueError, match="stop must be texts that are not empty, but is 'x' instead"):
        GenerationSettings(stop="x")
    with pytest.raises(ValueError, match="stop must be texts"):
        GenerationSettings(stop=("",))
    with pytest.raises(ValueError, match="ends_at_change must be left out unless output is text or speech"):
        spirit_lm.generate([Speech(units=torch.tensor([1, 2]))], "any", GenerationSettings(ends_at_change=True))
