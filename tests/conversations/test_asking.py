"""A dialogue as a prompt has the tokens that the model was tuned on, up to where it answers."""

import pytest
import torch

from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.rendering import Renderer
from spiritlm_pl.conversations.template import ConversationTemplate, Side, load_template
from spiritlm_pl.generation import Speech, Text
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.prompt import Dialogue, PromptEncoder
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

TEXT = train_text_tokenizer(["User: what is this? Assistant: a dog ran to the park"] * 4)
VOCABULARY = Vocabulary.spirit_lm(num_text=TEXT.vocab_size, num_units=9, end_of_document=TEXT.eos_id)
ENCODER = PromptEncoder(TEXT, SpeechCodec(VOCABULARY, None, None, torch.device("cpu")))


def units(*numbers: int) -> tuple[int, ...]:
    return tuple(VOCABULARY.token(UNIT, number) for number in numbers)


BARE = ConversationTemplate({"user": Side(), "assistant": Side(ends=True)})


@pytest.mark.parametrize("template", [load_template("chat"), BARE], ids=["chat", "bare"])
@pytest.mark.parametrize("answer", [Part(text="a dog"), Part(utterance="later")], ids=["text", "speech"])
def test_a_prompt_is_the_beginning_of_what_was_learnt(template, answer):
    spoken = {"asked": units(1, 2), "later": units(3, 4)}
    conversation = Conversation(
        "one",
        (
            Turn("user", (Part(text="what is this?"),)),
            Turn("assistant", (Part(text="the park"),)),
            Turn("user", (Part(utterance="asked"),)),
            Turn("assistant", (answer,)),
        ),
    )
    learnt = Renderer(template, TEXT, VOCABULARY, lambda part: spoken[part.utterance])(conversation).tokens.tolist()
    turns = [
        ("user", [Text("what is this?")]),
        ("assistant", [Text("the park")]),
        ("user", [Speech(tokens=units(1, 2))]),
    ]
    output = "text" if answer.text else "speech"
    for wanted in (output, "any"):
        prompt = ENCODER.encode(Dialogue(turns, template), wanted)
        assert prompt.tokens == learnt[: len(prompt.tokens)]
        assert prompt.speech is None and prompt.stretch == ()
    forced = ENCODER.encode(Dialogue(turns, template), output).tokens
    own = [*TEXT.encode("a dog", continuing=template is not BARE)] if answer.text else [*units(3, 4)]
    assert learnt == [*forced, *own, TEXT.eos_id]


def test_an_empty_dialogue_is_refused():
    with pytest.raises(ValueError, match="prompt must hold turns with text or speech"):
        ENCODER.encode(Dialogue([], BARE))
