"""Turns over HTTP and on the page: asked in the form of the model's tuning, whole and as a stream."""

import base64
import io
import json
import threading
import time

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from spiritlm_pl.generation import Dialogue, GenerationSettings, Speech, StreamedPiece, StreamEnd, Text
from spiritlm_pl.serve.api import build_api
from spiritlm_pl.serve.page import prompt_of, with_pending
from spiritlm_pl.serve.session import Busy, Limits, Session

MESSAGES = [
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": [{"type": "text", "text": "a dog"}]},
    {"role": "user", "content": [{"text": "and"}, {"type": "speech", "tokens": "[Hu3][Hu7]"}]},
]
OPTIONS = {"max_new_tokens": 20, "seed": 3, "min_speech_units": 0}


@pytest.fixture
def session(tuned):
    return Session(tuned, Limits(max_seconds=3, max_megabytes=1, max_concurrent=2))


def wav(seconds=0.5):
    file = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * 16_000)) / 16_000)
    soundfile.write(file, samples, 16_000, format="WAV")
    return base64.b64encode(file.getvalue()).decode()


def turns(tuned):
    spoken = Speech(tokens=tuple(tuned.vocabulary.token("unit", unit) for unit in (3, 7)))
    return Dialogue([("user", [Text("the cat")]), ("assistant", [Text("a dog")]), ("user", [Text("and"), spoken])])


def events(response):
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]


@pytest.mark.parametrize("template", ["asr", "chat", None])
@pytest.mark.parametrize("output", ["text", "speech"])
def test_messages_are_asked_by_the_template_of_the_model(client, tuned, template, output):
    request = {"messages": MESSAGES, "output": output, "template": template, **OPTIONS}
    answer = client.post("/api/chat", json=request).json()
    asked = tuned.asked_by(template or "chat")
    (expected,) = asked.generate(turns(tuned), output, GenerationSettings(**OPTIONS))
    prompt = asked.encode_prompt(turns(tuned), output).tokens
    assert [token["id"] for token in answer["prompt_tokens"]] == prompt
    assert [token["id"] for token in answer["tokens"]] == list(expected.tokens)
    assert answer["finish_reason"] == expected.finish_reason and len(answer["pieces"]) == len(expected)


@pytest.mark.parametrize("output", ["text", "speech", "any"])
def test_a_stream_holds_the_same_answer(client, output):
    request = {"messages": MESSAGES, "output": output, **OPTIONS}
    whole = client.post("/api/chat", json=request).json()
    *parts, end = events(client.post("/api/chat", json=request | {"stream": True}))
    assert end == {"finish_reason": whole["finish_reason"]}
    for number, piece in enumerate(whole["pieces"]):
        own = [part for part in parts if part["number"] == number]
        if "text" in piece:
            assert "".join(part["text"] for part in own) == piece["text"]
        else:
            assert sum(part["seconds"] for part in own) == pytest.approx(piece["seconds"], abs=0.01)
            assert all(soundfile.read(io.BytesIO(base64.b64decode(part["audio"])))[1] == 16_000 for part in own)


def test_a_prompt_is_streamed_too(client):
    request = {"prompt": [{"text": "the cat"}], "output": "text", **OPTIONS}
    *parts, _ = events(client.post("/api/generate", json=request | {"stream": True}))
    whole = client.post("/api/generate", json=request).json()
    assert "".join(part["text"] for part in parts) == "".join(piece["text"] for piece in whole["pieces"])


def test_audio_of_messages_is_heard(client):
    heard = {"type": "input_audio", "input_audio": {"data": wav(), "format": "wav"}}
    request = {"messages": [{"role": "user", "content": [heard]}], "output": "text", **OPTIONS}
    answer = client.post("/api/chat", json=request).json()
    assert "unit" in {token["kind"] for token in answer["prompt_tokens"]}


def message(content, role="user"):
    return {"messages": [{"role": role, "content": content}]}


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (message("a", "narrator"), "role must be one of system, user, assistant, but is 'narrator'"),
        (message("a", "assistant"), "the last turn must be one that assistant answers"),
        (message(" "), "turns must hold text or speech, but one of user is empty"),
        (message([]), "messages.0.content must have at least 1 item"),
        (message([{"type": "image_url", "image_url": "x"}]), "must be of type text, input_audio or speech"),
        (message([{"type": "text", "text": "a", "tokens": "[Hu1]"}]), "exactly one of text, audio and tokens"),
        (
            message("a") | {"template": "tts"},
            "template must be one that the model was tuned on (asr, chat), but is tts",
        ),
        (message("a") | {"template": "/etc/own.yaml"}, "template must be one that the model was tuned on"),
        (message([{"audio": wav(4)}]), "at most 3 s"),
        ({"messages": []}, "messages must have at least 1 item"),
        (message("a " * 300), "context"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_asked_is_refused_in_one_line(client, request_, detail, stream):
    response = client.post("/api/chat", json=request_ | {"stream": stream})
    assert response.status_code == 422, response.text
    assert detail in response.json()["detail"] and "\n" not in response.json()["detail"]


def test_a_model_without_templates_is_not_asked(spirit_lm):
    with TestClient(build_api(Session(spirit_lm))) as client:
        refused = client.post("/api/chat", json=message("a"))
        assert refused.status_code == 422 and "must be one that was tuned on conversations" in refused.json()["detail"]
        assert client.get("/api/info").json()["templates"] == []


def test_the_description_tells_of_messages_and_streams(client):
    described = client.get("/openapi.json").json()
    post = described["paths"]["/api/chat"]["post"]
    answers = post["responses"]["200"]["content"]
    assert set(answers) == {"application/json", "text/event-stream"}
    assert "finish_reason" in answers["text/event-stream"]["schema"]["properties"]
    content = described["components"]["schemas"]["Message"]["properties"]["content"]
    assert {one.get("type") for one in content["anyOf"]} == {"string", "array"}
    assert client.get("/api/info").json()["templates"] == ["asr", "chat"]


def test_a_reader_that_goes_away_ends_the_answer_and_frees_its_place(session, tuned, monkeypatch):
    made, go_on = [], threading.Event()

    def slow(self, prompt, *_, stopped):
        own = []
        made.append(own)
        for number in range(1000):
            if stopped():
                return
            own.append(number)
            yield StreamedPiece(number, Text("a"))
            go_on.wait(30)

    monkeypatch.setattr(type(tuned), "stream", slow)
    reader = session.stream(turns(tuned), "text")
    assert next(reader).number == 0
    other = session.stream(turns(tuned), "text")  # waits for the model
    with pytest.raises(Busy):
        session.stream(turns(tuned), "text")
    reader.close()
    other.close()
    go_on.set()
    for _ in range(300):
        try:
            session.stream(turns(tuned), "text").close()
            break
        except Busy:
            time.sleep(0.1)
    else:
        raise AssertionError("places stay taken")
    assert made[:2] == [[0], []]  # neither went on once its reader was gone


def test_an_error_within_a_stream_reaches_its_reader(session, tuned, monkeypatch):
    def failing(self, *_, **__):
        yield StreamedPiece(0, Text("a"))
        raise RuntimeError("broken")

    monkeypatch.setattr(type(tuned), "stream", failing)
    reader = session.stream(turns(tuned), "text")
    assert next(reader).piece == Text("a")
    with pytest.raises(RuntimeError, match="broken"):
        next(reader)
    monkeypatch.undo()
    assert [*session.stream(turns(tuned), "text")][-1].__class__ is StreamEnd  # and the model is free again


def test_the_page_asks_turns_of_their_speakers(session):
    said = with_pending([("user", Text("the cat")), ("assistant", Text("a dog"))], " and ", None, session)
    assert said[-1] == ("user", Text("and"))
    assert prompt_of(said, "") == [Text("the cat"), Text("a dog"), Text("and")]
    told = prompt_of([*said, ("user", Text("then"))], "chat").turns
    assert told == [("user", [Text("the cat")]), ("assistant", [Text("a dog")]), ("user", [Text("and"), Text("then")])]
