"""The HTTP API: what it answers, what it refuses, and how many it serves at once."""

import asyncio
import base64
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy

import httpx
import numpy as np
import pytest
import soundfile
import torch
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, Text, packing, sampling
from spiritlm_pl.lm import probe
from spiritlm_pl.serve.api import build_api
from spiritlm_pl.serve.session import Busy, Limits, Session


def tone(seconds=1.0, rate=16_000):
    return 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)


def audio(samples, rate=16_000, file_format="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=file_format, subtype=subtype)
    return base64.b64encode(file.getvalue()).decode()


def refusal(response, status=422):
    """The one line that a refused request gets."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["detail"]
    detail = response.json()["detail"]
    assert "\n" not in detail and "Traceback" not in detail and len(detail) < 300
    return detail


def test_info_tells_what_is_served(client):
    info = client.get("/api/info").json()
    assert info["vocabulary"]["units"] == 20 and info["context"] == 128 and not info["expressive"]
    assert info["speakers"] == ["anna", "bert"] and info["styles"] == ["calm", "glad"]
    assert info["limits"] == {"max_seconds": 3, "max_megabytes": 1, "max_concurrent": 4}


def test_other_methods_of_a_path_are_refused_also_where_the_page_has_all_other_paths(session):
    app = build_api(session)
    app.mount("/", PlainTextResponse("the page"))
    with TestClient(app) as client:
        assert client.get("/other").text == "the page"
        for path in ("info", "generate", "chat", "tokenize", "vocode"):
            own = "GET" if path == "info" else "POST"
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {own}:
                response = client.request(method, f"/api/{path}")
                assert (response.status_code, response.headers["allow"]) == (405, own)
            assert client.request(own, f"/api/{path}").status_code == (200 if own == "GET" else 422)
        assert client.get("/docs").status_code == client.head("/openapi.json").status_code == 200
        assert client.post("/docs").headers["allow"] == "GET, HEAD"
        methods = {name: [*given] for name, given in client.get("/openapi.json").json()["paths"].items()}
        assert methods["/api/info"] == ["get"] and methods["/api/chat"] == ["post"]


def test_text_to_speech_that_can_be_heard_and_sent_back(client):
    request = {"prompt": [{"text": "the cat"}], "output": "speech", "max_new_tokens": 12, "speaker": "bert"}
    answer = client.post("/api/generate", json=request).json()
    (piece,) = answer["pieces"]
    waveform, rate = soundfile.read(io.BytesIO(base64.b64decode(piece["audio"])))
    assert rate == 16_000 and len(waveform) / rate == pytest.approx(piece["seconds"]) and np.abs(waveform).max() > 0
    assert "".join(token["name"] for token in answer["tokens"]) == "[Speech]" + piece["tokens"]
    assert client.post("/api/generate", json=request).json() == answer
    assert client.post("/api/generate", json=request | {"speaker": "anna"}).json()["pieces"] != answer["pieces"]
    assert client.post("/api/generate", json=request | {"style": "glad"}).json()["pieces"] != answer["pieces"]
    assert client.post("/api/generate", json=request | {"seed": 5}).json()["tokens"] != answer["tokens"]
    prompt = [{"text": "the cat"}, {"tokens": piece["tokens"]}, {"audio": audio(tone())}, {"text": "sat"}]
    on = client.post("/api/generate", json={"prompt": prompt, "output": "text", "max_new_tokens": 5})
    assert on.status_code == 200 and on.json()["finish_reason"] in ("stop", "length")
    kinds = [token["kind"] for token in on.json()["prompt_tokens"]]
    assert kinds[0] == "modality" and kinds.count("modality") == 3 and "unit" in kinds


def test_the_tokens_of_an_answer_are_those_that_the_model_wrote(client, spirit_lm, monkeypatch):
    written = []

    def continued(*arguments, **options):
        written.append(sampling.continue_tokens(*arguments, **options))
        return written[-1]

    monkeypatch.setattr("spiritlm_pl.generation.spirit_lm.continue_tokens", continued)
    request = {"prompt": [{"text": "the cat"}], "output": "text", "max_new_tokens": 12}
    answer = client.post("/api/generate", json=request).json()
    tokens, _ = sampling.finished(written[0][0], spirit_lm.end_token)
    assert [token["id"] for token in answer["tokens"]] == list(tokens)  # of random bytes, no tokenizer would give them


def test_the_speech_of_a_prompt_is_tokenized_once(client, spirit_lm, monkeypatch):
    heard, encode = [], type(spirit_lm.speech_tokenizer).encode
    monkeypatch.setattr(
        type(spirit_lm.speech_tokenizer), "encode", lambda self, *audio: heard.append(1) or encode(self, *audio)
    )
    request = {"prompt": [{"audio": audio(tone())}], "output": "text", "max_new_tokens": 2}
    assert client.post("/api/generate", json=request).status_code == 200 and len(heard) == 1


def test_speech_is_tokenized_while_another_answer_is_made(session, spirit_lm, monkeypatch):
    tokenized, generated, encode = threading.Event(), threading.Event(), type(spirit_lm.speech_tokenizer).encode

    def note(self, *audio):
        found = encode(self, *audio)
        tokenized.set()
        return found

    monkeypatch.setattr(type(spirit_lm.speech_tokenizer), "encode", note)
    waveform = torch.from_numpy(tone()).float()

    def answer():
        session.answer([Speech(waveform, 16_000)], "text", GenerationSettings(max_new_tokens=2))
        generated.set()

    with ThreadPoolExecutor() as threads:
        with session.turn():  # another's
            reading = threads.submit(session.read_speech, base64.b64decode(audio(tone())))
            assert reading.result(30).tokens
            tokenized.clear()
            answering = threads.submit(answer)
            assert tokenized.wait(30) and not generated.is_set()
        answering.result(30)
    assert generated.is_set()


def test_who_tokenizes_takes_a_place(spirit_lm):
    session = Session(spirit_lm, Limits(max_concurrent=1))
    with session.turn(), pytest.raises(Busy, match="requests must be at most 1 at a time"):
        session.read_speech(base64.b64decode(audio(tone())))
    assert session.read_speech(base64.b64decode(audio(tone()))).tokens


def test_an_answer_tells_whether_it_stopped_or_was_cut_off(client, spirit_lm, monkeypatch):
    request = {"prompt": [{"text": "the cat"}], "output": "speech", "max_new_tokens": 12, "seed": 3}
    monkeypatch.setattr(type(spirit_lm), "end_token", None)
    cut_off = client.post("/api/generate", json=request).json()
    assert cut_off["finish_reason"] == "length"
    ids = [token["id"] for token in cut_off["tokens"]]
    end = next(token for token in ids[3:] if token not in ids[:3])
    monkeypatch.setattr(type(spirit_lm), "end_token", end)
    stopped = client.post("/api/generate", json=request).json()
    assert stopped["finish_reason"] == "stop"
    assert [token["id"] for token in stopped["tokens"]] == ids[: ids.index(end)]


@pytest.mark.parametrize("stream", [False, True])
def test_characters_without_tokens_are_told_beside_the_answer(client, stream):
    for text, expected in (("the cat", None), ("the щ cat", "the text tokenizer has no tokens for щ: the model reads")):
        request = {"prompt": [{"text": text}], "output": "text", "max_new_tokens": 2, "stream": stream}
        response = client.post("/api/generate", json=request)
        told = json.loads(response.text.strip().rpartition("data: ")[2]) if stream else response.json()
        assert ("warnings" in told) == (expected is not None)
        assert expected is None or told["warnings"][0].startswith(expected)


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG"])
def test_tokens_of_audio_are_spoken_with_their_durations(client, file_format):
    stereo = np.stack([tone(1.0, 44_100)] * 2, axis=1)
    tokenized = client.post("/api/tokenize", json={"audio": audio(stereo, 44_100, file_format)}).json()
    assert tokenized["seconds"] == pytest.approx(1.0, abs=0.01)
    assert tokenized["tokens"] == "".join(f"[Hu{unit}]" for unit in tokenized["units"])
    assert sum(tokenized["durations"]) == pytest.approx(25, abs=1)
    for request in (
        {"tokens": tokenized["tokens"], "durations": tokenized["durations"]},
        {"units": tokenized["units"], "durations": tokenized["durations"]},
    ):
        response = client.post("/api/vocode", json=request)
        assert response.headers["content-type"] == "audio/wav"
        waveform, rate = soundfile.read(io.BytesIO(response.content))
        assert rate == 16_000 and len(waveform) == sum(tokenized["durations"]) * 640


def test_typed_control_tokens_are_words(client, spirit_lm):
    typed = "[Hu5] [Speech] [Text] <s> </s> <unk> <0x41> [St1][Pi2] ▁"
    request = {"prompt": [{"text": typed}], "output": "text", "max_new_tokens": 1}
    marker, *words = client.post("/api/generate", json=request).json()["prompt_tokens"]
    assert marker["name"] == "[Text]"
    assert words and {token["kind"] for token in words} == {"text"}
    control = {spirit_lm.text_tokenizer.bos_id, spirit_lm.text_tokenizer.eos_id}
    assert not control & {token["id"] for token in words}
    assert spirit_lm.text_tokenizer.decode([token["id"] for token in words]).startswith("[Hu5] [Speech] [Text] <s>")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": []}, "prompt must have at least 1 item"),
        ({"prompt": [{}]}, "prompt.0 must have exactly one of text, audio and tokens, but has none"),
        ({"prompt": [{"text": "a", "audio": "b"}]}, "but has text and audio"),
        ({"prompt": [{"text": "  "}]}, "at least one word or unit, but is empty"),
        ({"prompt": [{"text": "cat " * 200}]}, "shorter than the model's context of 128 tokens"),
        ({"prompt": [{"text": "a" * 20_000}]}, "prompt.0.text must have at most 10000 characters, but is 'aaa"),
        ({"prompt": [{"tokens": "[Hu20]"}]}, "but one is [Hu20] instead"),
        ({"prompt": [{"tokens": "[Pi1][Hu1]"}]}, "but one is [Pi1]"),
        ({"prompt": [{"tokens": "[Text]"}]}, "must be units such as [Hu12][Hu7] and nothing else, but are '[Text]'"),
        ({"prompt": [{"tokens": ""}]}, "must be units such as [Hu12]"),
        ({"prompt": [{"tokens": "[Hu" + "9" * 5000 + "]"}]}, "4300 digits"),
        ({"temperature": 0}, "temperature must be greater than or equal to 0.01, but is 0"),
        ({"top_p": 1.5}, "top_p must be less than or equal to 1, but is 1.5"),
        ({"top_k": -1}, "top_k must be greater than or equal to 0, but is -1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"seed": 2**70}, "seed must be less than or equal to"),
        ({"output": "song"}, "output must be 'text', 'speech' or 'any', but is 'song'"),
        ({"speaker": "carl"}, "speaker must be one of anna, bert"),
        ({"style": 7}, "style must be one of calm, glad"),
        ({"temprature": 1}, "temprature must be left out"),
    ],
)
def test_bad_requests_are_named(client, change, message):
    assert message in refusal(client.post("/api/generate", json={"prompt": [{"text": "cat"}]} | change))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{bad", "body must be JSON"),
        (b"\xff\xfe{", "body must be JSON in UTF-8"),
        (b"[1]", "body must be a valid dictionary"),
        (b'{"prompt": [{"text": "a"}], "temperature": NaN}', "temperature must be a finite number, but is nan"),
        (b'{"prompt": [{"text": "\\ud800"}]}', "prompt.0.text must be a valid string"),
    ],
)
def test_bodies_that_are_no_proper_json_are_named(client, body, message):
    response = client.post("/api/generate", content=body, headers={"content-type": "application/json"})
    assert message in refusal(response)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("/etc/passwd", "audio must be a file in base64, but is '/etc/passwd'"),
        ("../../model/lm/config.json", "must be a file in base64"),
        ("http://127.0.0.1/a.wav", "must be a file in base64"),
        ("", "audio must be a file of WAV, FLAC, Ogg, MP3, AAC, MP4, WebM, AIFF or CAF, but is 0 bytes"),
        (base64.b64encode(b"RIFF no audio at all").decode(), "audio must be a file of WAV"),
        (audio(np.zeros(0)), "audio must hold samples, but has none"),
        (audio(tone(0.01)), "at least 640 samples, but has 160"),
        (audio(np.zeros(16_000)), "must hold sound, but is silent"),
        (audio(np.full(16_000, np.nan), subtype="FLOAT"), "finite samples"),
        (audio(tone(3.5)), "at most 3 s, but lasts 3.5 s"),
        (audio(np.zeros(16_000 * 600), file_format="FLAC"), "at most 3 s, but lasts 600.0 s"),
        (audio(tone(), 7_999), "sample rate of audio must be in [8000, 192000] Hz, but is 7999"),
        (audio(np.zeros((16_000, 5))), "at most 2 channels, but has 5"),
        (audio(tone(), file_format="PAF", subtype="PCM_16"), "bytes of something else"),
        (base64.b64encode(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n").decode(), "of something else"),
        (audio(tone() * 32_768, subtype="FLOAT"), "audio must be in [-1, 1], but has a peak of 9830"),
    ],
)
def test_audio_that_is_of_no_use_is_named(client, given, message):
    assert message in refusal(client.post("/api/tokenize", json={"audio": given}))
    assert message in refusal(client.post("/api/generate", json={"prompt": [{"audio": given}]}))


def test_loud_audio_does_no_harm(client):
    loud = audio(tone() * 1e30, subtype="FLOAT")
    assert client.post("/api/tokenize", json={"audio": loud}).status_code in (200, 422)


def test_the_speech_of_a_prompt_is_limited_as_a_whole(client, monkeypatch):
    monkeypatch.setattr("spiritlm_pl.generation.codec.SpeechCodec.encode", None)  # nothing is tokenized before
    pieces = [{"audio": audio(tone(2.0))}] * 2
    detail = refusal(client.post("/api/generate", json={"prompt": pieces}))
    assert "prompt must hold at most 3 s of speech, but holds 4.0 s" in detail


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "exactly one of tokens and units, but has neither"),
        ({"tokens": "[Hu1]", "units": [1]}, "but has both"),
        ({"units": [20]}, "unit must be in [0, 20), but is 20"),
        ({"units": [-1]}, "unit must be in [0, 20), but is -1"),
        ({"units": []}, "at least one unit"),
        ({"units": [1, 2], "durations": [3]}, "durations must be 2, one for each unit, but are 1"),
        ({"units": [1], "durations": [0]}, "durations must be in [1, 10000], but one is 0"),
        ({"units": [1, 2], "durations": [100, 200]}, "at most 3 s, but would last 12.0 s"),
        ({"units": [1, 2] * 200}, "at most 3 s, but would last"),
        ({"tokens": "[Hu1] hello"}, "and nothing else, but are '[Hu1] hello'"),
    ],
)
def test_bad_tokens_are_named(client, request_, message):
    assert message in refusal(client.post("/api/vocode", json=request_))


def test_of_a_hundred_at_once_those_over_the_bound_get_503_and_none_hangs(spirit_lm, monkeypatch):
    session = Session(spirit_lm, Limits(max_concurrent=4))
    generate, release, running, most = spirit_lm.generate_batch, threading.Event(), [0], [0]

    def slow(self, *arguments):
        running[0] += 1
        most[0] = max(most[0], running[0])
        assert release.wait(60)
        answers = generate(*arguments)
        running[0] -= 1
        return answers

    monkeypatch.setattr(type(spirit_lm), "generate_batch", slow)

    async def ask(client, number):
        request = {"prompt": [{"text": "cat"}], "output": "speech", "max_new_tokens": 5, "seed": number}
        response = await client.post("/api/generate", json=request)
        if response.status_code == 503:
            refused.append(response)
            if len(refused) == 96:
                release.set()
        return response

    async def all_of_them():
        transport = httpx.ASGITransport(build_api(session))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.wait_for(asyncio.gather(*(ask(client, number) for number in range(100))), 60)

    refused = []
    found = asyncio.run(all_of_them())
    assert sorted(response.status_code for response in found) == [200] * 4 + [503] * 96
    assert most == [1]  # one at a time
    assert int(refused[0].headers["retry-after"]) > 0
    assert "at most 4 at a time" in refusal(refused[0], 503)
    assert all(response.json()["pieces"][0]["audio"] for response in found if response.status_code == 200)
    with session.turn():  # all places are free again
        pass


def test_a_place_is_free_again_after_an_error(client):
    for _ in range(10):
        refusal(client.post("/api/generate", json={"prompt": [{"text": " "}]}))
    assert client.post("/api/vocode", json={"units": [1, 2]}).status_code == 200


def test_a_model_that_neither_hears_nor_speaks_says_so(spirit_lm):
    session = Session(SpiritLM(spirit_lm.model, spirit_lm.text_tokenizer, spirit_lm.vocabulary))
    session.warm_up()
    with TestClient(build_api(session)) as client:
        info = client.get("/api/info").json()
        assert (info["reads_speech"], info["speaks"], info["speakers"]) == (False, False, [])
        assert "speech tokenizer" in refusal(client.post("/api/tokenize", json={"audio": audio(tone())}))
        assert "vocoder" in refusal(client.post("/api/vocode", json={"units": [1]}))
        request = {"prompt": [{"text": "cat"}], "output": "speech", "max_new_tokens": 5}
        (piece,) = client.post("/api/generate", json=request).json()["pieces"]
        assert piece["tokens"].startswith("[Hu") and "audio" not in piece


def test_every_field_is_documented(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/api/info", "/api/generate", "/api/chat", "/api/tokenize", "/api/vocode"}
    requests = ("GenerateRequest", "ChatRequest", "TokenizeRequest", "VocodeRequest")
    for name in (*requests, "PromptPiece", "ContentPart", "Message"):
        for field, about in schema["components"]["schemas"][name]["properties"].items():
            assert about.get("description"), f"{name}.{field}"
    assert "WebM" in schema["components"]["schemas"]["PromptPiece"]["properties"]["audio"]["description"]
    assert {"413", "422", "503"} <= set(schema["paths"]["/api/generate"]["post"]["responses"])


@pytest.mark.parametrize(
    "limits", [{"max_seconds": 0}, {"max_megabytes": float("nan")}, {"max_concurrent": 0}, {"max_concurrent": 33}]
)
def test_limits_have_limits(limits):
    with pytest.raises(ValueError, match=f"{next(iter(limits))} must be"):
        Limits(**limits)


def test_an_answer_does_not_touch_the_global_random_state(client):
    state = torch.get_rng_state()
    client.post("/api/generate", json={"prompt": [{"text": "cat"}], "max_new_tokens": 5})
    assert torch.equal(torch.get_rng_state(), state)


def test_after_warming_up_no_weights_are_packed_for_a_user(spirit_lm, monkeypatch):
    monkeypatch.setattr(probe, "_outcomes", {})  # what other tests have found out with other code in some places
    model = copy(spirit_lm)
    model.network = type(spirit_lm.model)(deepcopy(spirit_lm.model.config)).eval().requires_grad_(False)
    packing.promise_fixed(model.model)
    session = Session(model)
    session.warm_up()
    assert packing.packed_model(model.model) is not None
    monkeypatch.setattr(packing, "PackedModel", None)
    monkeypatch.setattr(packing, "fingerprint", None)
    assert session.answer([Text("the cat")], "speech", GenerationSettings(max_new_tokens=5)).tokens
