"""Rendering of conversations: which tokens, and which of them are learnt."""

from dataclasses import replace

import pytest
import torch

from spiritlm_pl.benchmarks.few_shot.conversation import published_template
from spiritlm_pl.benchmarks.few_shot.template import load_shot_template
from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.rendering import Renderer
from spiritlm_pl.conversations.template import ConversationTemplate, load_template
from spiritlm_pl.generation import Speech
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.prompt import PromptEncoder
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

LINES = ["User: what is this? Assistant: a dog ran to the park <START Transcript> <END> A: stop '"] * 4
TEXT = train_text_tokenizer(LINES)
VOCABULARY = Vocabulary.spirit_lm(num_text=TEXT.vocab_size, num_units=9, end_of_document=TEXT.eos_id, multiple_of=1)
FIRST = VOCABULARY.speech_bounds[0]


def speech(part: Part) -> list[int]:
    return [FIRST + int(unit) for unit in (part.utterance or "").split("-")]


def rendered(template: ConversationTemplate, conversation: Conversation) -> list[str]:
    """Names of the tokens, those that are learnt with a star."""
    found = Renderer(template, TEXT, VOCABULARY, speech)(conversation)
    assert found.turns.sum() == len(found.tokens) and len(found.turns) == len(conversation.turns)
    names, words = [], []
    for token, learnt in zip(found.tokens.tolist(), found.learnt.tolist(), strict=True):
        name = VOCABULARY.name(token) or ("</s>" if token == TEXT.eos_id else None)
        if name is None:
            words.append((token, learnt))
            continue
        names += _words(words)
        words = []
        names.append(name + "*" * learnt)
    return names + _words(words)


def _words(tokens: list[tuple[int, bool]]) -> list[str]:
    stretches: list[tuple[list[int], bool]] = []
    for token, learnt in tokens:
        if not stretches or stretches[-1][1] is not learnt:
            stretches.append(([], learnt))
        stretches[-1][0].append(token)
    return [TEXT.decode(ids) + "*" * learnt for ids, learnt in stretches]


def chat(*turns: tuple[str, list[Part]]) -> Conversation:
    return Conversation("one", tuple(Turn(role, tuple(parts)) for role, parts in turns))


def test_only_answers_are_learnt_with_their_ends():
    conversation = chat(
        ("user", [Part(text="what is this?"), Part(utterance="1-2")]),
        ("assistant", [Part(text="a dog"), Part(utterance="3")]),
        ("user", [Part(utterance="4")]),
        ("assistant", [Part(utterance="5-6"), Part(text="the park")]),
    )
    assert rendered(load_template("chat"), conversation) == [
        *("[Text]", "User: what is this?", "[Speech]", "[Hu1]", "[Hu2]"),
        *("[Text]", "Assistant:", "a dog*", "[Speech]*", "[Hu3]*", "</s>*"),
        *("[Text]", "User:", "[Speech]", "[Hu4]"),
        *("[Text]", "Assistant:", "[Speech]*", "[Hu5]*", "[Hu6]*", "[Text]*", "the park*", "</s>*"),
    ]
    plain = rendered(load_template("plain"), conversation)
    assert plain[:8] == ["[Text]", "what is this?", "[Speech]", "[Hu1]", "[Hu2]", "[Text]*", "a dog*", "[Speech]*"]


def test_parts_and_turns_choose_what_is_learnt():
    conversation = Conversation(
        "one",
        (
            Turn("user", (Part(text="what is"), Part(text="this?", learn=True)), None),
            Turn("assistant", (Part(utterance="3"),), False),
        ),
    )
    expected = ["[Text]", "what is", "this?*", "[Speech]", "[Hu3]", "</s>"]
    assert rendered(load_template("plain"), conversation) == expected


@pytest.mark.parametrize(
    ("task", "asked", "answer", "expected"),
    [
        (
            "asr",
            Part(utterance="1-2"),
            Part(text="a dog"),
            ["[Speech]", "[Hu1]", "[Hu2]", "[Text]*", "<START Transcript> a dog <END>*", "</s>*"],
        ),
        (
            "tts",
            Part(text="a dog"),
            Part(utterance="1-2"),
            ["[Text]", "a dog 'stop'", "[Speech]*", "[Hu1]*", "[Hu2]*", "</s>*"],
        ),
        ("intent", Part(utterance="1"), Part(text="dog"), ["[Speech]", "[Hu1]", "[Text]*", "A: dog*", "</s>*"]),
    ],
)
def test_tasks_have_the_published_forms(task, asked, answer, expected):
    assert rendered(published_template(task), chat(("user", [asked]), ("assistant", [answer]))) == expected


@pytest.mark.parametrize(("task", "answer"), [("asr", "text"), ("tts", "audio"), ("intents", "label")])
def test_the_prompts_of_the_benchmark_are_the_questions(task, answer):
    """What a tuned model is asked in the few-shot benchmark is what it was asked in tuning."""
    form = load_shot_template(task, answer)
    asked = form.filled(form.query, Speech(tokens=(FIRST + 1, FIRST + 2)), {"text": "a dog", "label": "dog"}, None)
    prompt = PromptEncoder(TEXT, SpeechCodec(VOCABULARY, None, None, torch.device("cpu"))).encode(asked, form.output)
    spoken, written = Part(utterance="1-2"), Part(text="dog" if answer == "label" else "a dog")
    turns = (written, spoken) if answer == "audio" else (spoken, written)
    conversation = chat(("user", [turns[0]]), ("assistant", [turns[1]]))
    found = Renderer(published_template("intent" if task == "intents" else task), TEXT, VOCABULARY, speech)(
        conversation
    )
    assert found.tokens.tolist()[: len(prompt.tokens)] == prompt.tokens
    assert found.learnt[len(prompt.tokens) :].all() and not found.learnt[: len(prompt.tokens) - 1].any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "template must have roles and nothing else"),
        ({"roles": {"user": {}}}, "template must have the role assistant, but has user"),
        ({"roles": {"assistant": {}}}, "must end the turns of assistant with the end token"),
        ({"roles": {"assistant": {"ends": "yes"}}}, "ends of role assistant must be true or false, but is 'yes'"),
        ({"roles": {"assistant": {"starts": True}}}, "role assistant must have some of before, after, ends, given"),
        ({"roles": {"assistant": {"ends": True, "before": "[Text]"}}}, "must hold no tokens"),
    ],
)
def test_templates_that_are_none_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ConversationTemplate.from_dict(values)


def test_what_cannot_be_rendered_is_refused(tmp_path):
    with pytest.raises(ValueError, match="role must be one of system, user, assistant, but is 'narrator' instead"):
        rendered(load_template("chat"), chat(("narrator", [Part(text="x")]), ("assistant", [Part(text="y")])))
    with pytest.raises(ValueError, match="vocabulary must have a token that ends documents"):
        Renderer(load_template("chat"), TEXT, Vocabulary.spirit_lm(num_text=TEXT.vocab_size), speech)
    with pytest.raises(ValueError, match="vocabulary must have no task markers for conversations, but has 2"):
        Renderer(load_template("chat"), TEXT, replace(VOCABULARY, num_tasks=2), speech)
    with pytest.raises(FileNotFoundError, match="template must be one of chat, plain, or a YAML file, but none is"):
        load_template("none")
    (tmp_path / "bad.yaml").write_text("roles: [")
    with pytest.raises(ValueError, match=r"bad\.yaml: while parsing"):
        load_template(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"turns": "x"}, "turns must be a list of objects"),
        ({"turns": []}, "conversation must have turns, but has none"),
        ({"turns": [{"role": "assistant", "parts": []}]}, r"turn 1 \(assistant\) must hold something, but is empty"),
        (
            {"turns": [{"role": "user", "parts": [{"text": "a"}]}]},
            "must have a part to learn, .* but has turns of user",
        ),
        ({"turns": [{"role": "user", "parts": [{"text": "a", "tokens": "[Hu1]"}]}]}, "part must have one of text"),
        ({"turns": [{"role": "user", "parts": [{"image": "a"}]}]}, "but one has 'image'"),
        ({"turns": [{"role": 3, "parts": [{"text": "a"}]}]}, "role of a turn must be a word, but is 3"),
    ],
)
def test_records_that_are_none_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Conversation.from_dict(values)
