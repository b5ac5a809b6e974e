"""Every command asks a tuned model in the form of its tuning, and says what cannot be asked."""

import base64
import io
import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from spiritlm_pl.cli.main import run
from spiritlm_pl.conversations.template import RECORDS, ConversationTemplate, Side, load_template
from spiritlm_pl.generation import Dialogue, GenerationSettings, Speech, SpiritLM, StreamedPiece, StreamEnd, Text
from spiritlm_pl.generation.messages import dialogue_of
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.model_description import TEMPLATES
from spiritlm_pl.vocabulary import TokenKind

END = 2
AROUND = ConversationTemplate({"user": Side(), "assistant": Side(before="the", after="sat", given=False, ends=True)})
TURNS = Dialogue([("user", [Text("the cat")]), ("assistant", [Text("a dog")]), ("user", "[Speech][Hu3][Hu7]")])


@pytest.fixture(scope="module")
def tuned(tiny_lm, tmp_path_factory):
    network, text, vocabulary = tiny_lm
    known = {"asr": AROUND.to_dict(), RECORDS: load_template("chat").to_dict()}
    folder = tmp_path_factory.mktemp("tuned") / "lm"
    return save_lm(folder, network, replace(vocabulary, end_of_document=END), text, None, {TEMPLATES: known})


@pytest.fixture(scope="module")
def untuned(tiny_lm, tmp_path_factory):
    network, text, vocabulary = tiny_lm
    return save_lm(tmp_path_factory.mktemp("untuned") / "lm", network, replace(vocabulary, end_of_document=END), text)


@pytest.fixture(scope="module")
def model(tuned):
    return SpiritLM.load(tuned)


def command(capsys, *words, failed=False):
    """Run a command over lines, and return its lines; it must exit with 1 where items fail."""
    with pytest.raises(SystemExit, match="1") if failed else nullcontext():
        run([*map(str, words)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_model_knows_the_forms_of_its_tuning(model, untuned):
    assert [*model.templates] == ["asr", "chat"]
    asked = model.asked_by("chat").encode_prompt("the cat", "text").tokens
    written = [token for token in asked if model.vocabulary.kind(token) is TokenKind.TEXT]
    assert model.text_tokenizer.decode(written).replace(" ", "") == "User:thecatAssistant:"
    assert model.encode_prompt(TURNS) == model.asked_by("chat").encode_prompt(TURNS)  # by itself
    assert model.asked_by("asr").in_voice().encode_prompt("the cat") == model.asked_by("asr").encode_prompt("the cat")
    assert model.encode_prompt("the cat") == SpiritLM.load(untuned).encode_prompt("the cat")  # is still continued
    with pytest.raises(ValueError, match="model must be one that was tuned on conversations"):
        SpiritLM.load(untuned).generate(TURNS)


def test_answers_end_with_the_turn_and_hold_what_is_said_alone(model, monkeypatch):
    text = model.text_tokenizer
    new = [*text.encode("the dog ran sat"), END]
    monkeypatch.setattr(
        "spiritlm_pl.generation.spirit_lm.continue_tokens", lambda *_, **options: [new] * len(options["limits"])
    )
    monkeypatch.setattr("spiritlm_pl.generation.spirit_lm.stream_tokens", lambda *_: iter(new))
    asked = model.asked_by("asr")
    for (answer,) in (asked.generate("[Speech][Hu3]", "text"), *asked.generate_batch(["[Speech][Hu3]"] * 2, "text")):
        assert [piece.text.strip() for piece in answer] == ["dog ran"] and answer.finish_reason == "stop"
        assert list(answer.tokens) == new[:-1]
    *parts, end = asked.stream("[Speech][Hu3]", "text")
    assert "".join(part.piece.text for part in parts).strip() == "dog ran" and end == StreamEnd("stop")


@pytest.mark.parametrize("template", ["asr", "chat"])
@pytest.mark.parametrize("output", ["text", "any"])
def test_a_stream_is_what_is_generated(model, template, output):
    asked, settings = model.asked_by(template), GenerationSettings(max_new_tokens=20, seed=3, min_speech_units=0)
    (answer,) = asked.generate(TURNS, output, settings)
    *parts, end = asked.stream(TURNS, output, settings)
    assert all(isinstance(part, StreamedPiece) for part in parts)
    told = "".join(part.piece.text for part in parts if isinstance(part.piece, Text))
    assert told == "".join(piece.text for piece in answer if isinstance(piece, Text))
    assert end.finish_reason == answer.finish_reason


def test_scores_are_of_what_is_learnt_of_the_answer(model):
    asked = model.asked_by("chat")
    first, second = asked.score("the cat", ["a dog", [Speech(tokens=(model.vocabulary.token("unit", 5),))]])
    text = model.text_tokenizer
    prompt = asked.encode_prompt("the cat").tokens
    answer = text.encode("a dog", continuing=True) if text.joint else text.encode(" a dog")
    with torch.inference_mode():
        logits = model.model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    expected = sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))
    assert first.total == pytest.approx(expected, abs=1e-4) and first.num_tokens == len(answer)
    assert second.num_tokens == 2  # with the token of the change to speech
    assert asked.score("the cat", ["a dog"]) == model.score(Dialogue([("user", "the cat")]), ["a dog"])
    with pytest.raises(ValueError, match="turns must hold text or speech, but one of assistant is empty"):
        asked.score("the cat", [" "])


def test_lines_are_asked_by_a_template(tuned, untuned, tmp_path, monkeypatch, capsys, model):
    monkeypatch.chdir(tmp_path)
    messages = [{"role": "user", "content": [{"type": "text", "text": "the cat"}]}]
    lines = write(
        tmp_path / "in.jsonl", {"prompt": [{"text": "the cat"}]}, {"messages": messages}, {"prompt": "the cat"}
    )
    options = ("--output", "text", "--max-new-tokens", 6, "--device", "cpu")
    rows = command(capsys, "generate", "--jsonl", lines, "--model", tuned, "--template", "chat", *options)
    assert rows[0]["answers"] == rows[1]["answers"] == rows[2]["answers"]
    (expected,) = model.asked_by("chat").generate("the cat", "text", GenerationSettings(max_new_tokens=6))
    assert rows[0]["answers"] == [[{"text": piece.text} for piece in expected]]
    plain = command(capsys, "generate", "--jsonl", lines, "--model", tuned, *options)
    assert plain[1]["answers"] == rows[1]["answers"] and plain[2] != rows[2]  # messages are always asked
    both = write(tmp_path / "both.jsonl", {"messages": messages, "prompt": "a"}, {"prompt": "a"})
    assert (
        "prompt or messages, but has both"
        in command(capsys, "generate", "--jsonl", both, "--model", tuned, *options, failed=True)[0]["error"]
    )
    rows = command(capsys, "generate", "--jsonl", lines, "--model", untuned, *options, failed=True)
    assert "tuned on conversations" in next(row for row in rows if row["id"] == "2")["error"]
    with pytest.raises(ValueError, match="to be asked by template chat"):
        run(["generate", "--jsonl", str(lines), "--model", str(untuned), "--template", "chat"])

    items = write(
        tmp_path / "score.jsonl",
        {"context": "the cat", "hypotheses": ["a dog", "a cat"]},
        {"messages": messages, "hypotheses": [[{"text": "a dog"}], [{"text": "a cat"}]]},
    )
    rows = command(capsys, "score", items, "--model", tuned, "--template", "chat", "--device", "cpu")
    assert rows[0]["scores"] == rows[1]["scores"]
    assert rows[0]["scores"][0]["total"] == pytest.approx(model.asked_by("chat").score("the cat", ["a dog"])[0].total)
    with pytest.raises(ValueError, match="to be asked by template asr"):
        run(["score", str(items), "--model", str(untuned), "--template", "asr"])


def test_messages_hold_what_conversations_hold(model, tmp_path):
    samples = np.sin(np.arange(32_000) / 9).astype(np.float32) / 2
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples[:8000], 16_000, format="WAV")
    content = [
        {"type": "text", "text": "the"},
        {"type": "speech", "tokens": "[Hu3]"},
        {"type": "audio", "audio": str(tmp_path / "a.wav")},
        {"type": "audio", "audio": str(tmp_path / "a.wav"), "start": 0.5, "duration": 1.0},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(buffer.getvalue()).decode()}},
    ]
    (turn,) = dialogue_of({"messages": [{"role": "human", "content": content}]}, model.vocabulary).turns
    role, (text, tokens, whole, part, given) = turn
    assert role == "user" and text == Text("the") and tokens.tokens == (model.vocabulary.token("unit", 3),)
    assert whole.audio == str(tmp_path / "a.wav")
    np.testing.assert_allclose(part.waveform.numpy().ravel(), samples[8000:24_000], atol=1e-4)
    np.testing.assert_allclose(given.waveform.numpy().ravel(), samples[:8000], atol=1e-4)
    with pytest.raises(ValueError, match="start must be below the 2.00 s .* but is 5"):
        dialogue_of({"messages": [{"role": "user", "content": [{**content[3], "start": 5}]}]}, model.vocabulary)
