"""A dialogue as a prompt has the tokens that the model was tuned on, up to where it answers."""

import itertools
from dataclasses import replace

import pytest
import torch

from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.rendering import Renderer
from spiritlm_pl.conversations.template import ConversationTemplate, Side, load_template
from spiritlm_pl.generation import Dialogue, Speech, Text
from spiritlm_pl.generation.asking import chosen_template, find_template
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.dialogue import within
from spiritlm_pl.generation.prompt import PromptEncoder
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

TEXT = train_text_tokenizer(["User: what is this? Assistant: a dog ran to the park"] * 4)
VOCABULARY = Vocabulary.spirit_lm(num_text=TEXT.vocab_size, num_units=9, end_of_document=TEXT.eos_id)
CODEC = SpeechCodec(VOCABULARY, None, None, torch.device("cpu"))


def units(*numbers: int) -> tuple[int, ...]:
    return tuple(VOCABULARY.token(UNIT, number) for number in numbers)


SPOKEN = Speech(tokens=units(1, 2))
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
    encoder = PromptEncoder(TEXT, CODEC, template)
    for wanted in (output, "any"):
        prompt = encoder.encode(Dialogue(turns), wanted)
        assert prompt.tokens == learnt[: len(prompt.tokens)]
        assert prompt.speech is None and prompt.stretch == ()
    forced = encoder.encode(Dialogue(turns), output).tokens
    own = [*TEXT.encode("a dog", continuing=template is not BARE)] if answer.text else [*units(3, 4)]
    assert learnt == [*forced, *own, TEXT.eos_id]

    said = [Text("a dog")] if answer.text else [Speech(tokens=units(3, 4))]
    assert [*itertools.chain(*encoder.encode_answer(Dialogue(turns), said))] == learnt


@pytest.mark.parametrize("prompt", ["[Text]what is this?[Speech][Hu1][Hu2]", [Text("what is this?"), SPOKEN]])
def test_a_prompt_without_turns_is_the_turn_of_the_user(prompt):
    encoder = PromptEncoder(TEXT, CODEC, load_template("chat"))
    turns = Dialogue([("user", [Text("what is this?"), SPOKEN])])
    assert encoder.encode(prompt, "text") == encoder.encode(turns, "text")
    assert encoder.encode_answer(prompt, "[Text]a dog") == encoder.encode_answer(turns, [Text("a dog")])


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "prompt must hold turns with text or speech, but is empty"),
        ([("user", [])], "prompt must hold turns with text or speech, but is empty"),
        ([("user", [Text(" ")])], "turns must hold text or speech, but one of user is empty"),
        ([("user", [Text("a")]), ("assistant", [Text("b")])], "the last turn must be one that assistant answers"),
        ([("narrator", [Text("a")])], "role must be one of user, assistant, but is 'narrator'"),
        ([("user", ["a"])], "a prompt must hold Text and Speech"),
    ],
)
def test_turns_that_cannot_be_asked_are_refused(turns, message):
    with pytest.raises(ValueError, match=message):
        PromptEncoder(TEXT, CODEC, BARE).encode(Dialogue(turns))


def test_turns_need_a_template():
    with pytest.raises(ValueError, match="turns must be asked by a template, but there is none"):
        PromptEncoder(TEXT, CODEC).encode(Dialogue([("user", [Text("a")])]))
    without_end = SpeechCodec(replace(VOCABULARY, end_of_document=None), None, None, torch.device("cpu"))
    with pytest.raises(ValueError, match="vocabulary must have a token that ends documents"):
        PromptEncoder(TEXT, without_end, BARE)


def test_a_template_is_one_that_the_model_was_tuned_on(tmp_path):
    chat, plain = load_template("chat"), load_template("plain")
    known = {"asr": plain, "chat": chat}
    assert chosen_template(known) is chat and chosen_template({"asr": plain}) is plain
    assert find_template(known, "asr") is plain
    with pytest.raises(ValueError, match="tuned on conversations to be asked by template chat, but is not"):
        find_template({}, "chat")  # though this package has a template of that name
    with pytest.raises(ValueError, match=r"template must be one that the model was tuned on \(asr, chat\), but is tts"):
        find_template(known, "tts")
    with pytest.raises(ValueError, match="but is left out"):
        chosen_template({"asr": plain, "tts": plain})
    (tmp_path / "own.yaml").write_text("roles: {user: {}, assistant: {ends: true}}")
    assert find_template({}, str(tmp_path / "own.yaml")) == BARE
    with pytest.raises(FileNotFoundError, match="none.yaml"):
        find_template(known, str(tmp_path / "none.yaml"))


AROUND = Side(before="A:", after="<END> .", given=False, ends=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" A: a dog <END> .", "a dog"),
        ("A:a dog", "a dog"),
        ("a dog", "a dog"),
        ("A: a <END> . dog", "a <END> . dog"),
        ("A: a dog <EN", "a dog <EN"),
        ("A:<END> .", ""),
        ("A", "A"),
    ],
)
def test_what_a_template_writes_around_answers_is_no_part_of_them(text, expected):
    assert within(text, AROUND, first=True) == expected
    told = ""
    for size in range(len(text) + 1):
        now = within(text[:size], AROUND, first=True, ended=False)
        assert now.startswith(told) and expected.startswith(now)  # what was told once stays
        told = now
    assert within(text, Side(before="A:", ends=True), first=True) == text
    assert within("A: b", AROUND, first=False) == "A: b"
