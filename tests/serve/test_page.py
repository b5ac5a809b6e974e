"""The page as a person uses it, in a headless Chromium, and as an attacker does, without one."""

import base64
import io
import json
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECRET = "/etc/passwd"


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


def wav(seconds=0.5):
    file = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * 16_000)) / 16_000)
    soundfile.write(file, samples, 16_000, format="WAV")
    return file.getvalue()


def call(client, target, given):
    """What the page's handler of a button answers: the events of Gradio's queue, as the browser hears them."""
    config = client.get("/config").json()
    ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    (handler,) = (found for found in config["dependencies"] if [ids[target], "click"] in found["targets"])
    boxes = {part["id"]: part["props"] for part in config["components"]}
    data = [given.get(boxes[number].get("elem_id"), boxes[number].get("value")) for number in handler["inputs"]]
    visitor = uuid.uuid4().hex
    joined = client.post(
        "/gradio_api/queue/join", json={"data": data, "fn_index": handler["id"], "session_hash": visitor}
    )
    assert joined.status_code == 200, joined.text
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": visitor}) as events:
        for line in events.iter_lines():
            if line.startswith("data:") and (event := json.loads(line[5:]))["msg"] == "process_completed":
                return event
    raise AssertionError("the queue has ended without an answer")


def upload(client, name, content):
    response = client.post("/gradio_api/upload", files={"files": (name, content)})
    return response.status_code, response


def file_data(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_an_uploaded_file_becomes_a_turn(client):
    (path,) = upload(client, "a.wav", wav())[1].json()
    event = call(client, "add", {"text": "", "speech": file_data(path)})
    assert event["success"], event


@pytest.mark.parametrize("path", [SECRET, "http://127.0.0.1:1/a.wav", "https://example.com/a.wav", __file__])
@pytest.mark.parametrize("box", ["text", "speech"])
def test_only_uploads_are_read(client, path, box):
    event = call(client, "add", {"text": "", "speech": None} | {box: file_data(path)})
    assert not event["success"], event
    assert "root:" not in json.dumps(event)
    if path.startswith("http"):
        assert "audio must be uploaded, but is an address" in event["output"]["error"]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"text": " "}, "at least one word or unit"), ({"text": "a" * 20_000}, "text must have at most 10000 characters")],
)
def test_errors_are_readable(client, given, message):
    event = call(client, "generate", given)
    assert not event["success"]
    assert message in (event["output"]["error"] or ""), event


def test_characters_without_tokens_are_told_below_the_answer(client):
    for text, told in (("the cat", False), ("the щ cat", True)):
        event = call(client, "generate", {"text": text, "output": "text", "longest": 2})
        assert event["success"], event
        (notes,) = [one for one in event["output"]["data"] if isinstance(one, dict) and "hint" in str(one.get("value"))]
        assert notes["visible"] == told and ("no tokens for щ: " in notes["value"]) == told


def test_a_voice_that_is_not_offered_is_refused(client):
    assert not call(client, "generate", {"text": "cat", "speaker": "carl"})["success"]


@pytest.mark.parametrize("content", [b"", b"no audio", b"RIFF"])
def test_uploads_that_are_no_audio_are_refused_readably(client, content):
    (path,) = upload(client, "a.wav", content)[1].json()
    event = call(client, "add", {"text": "", "speech": file_data(path)})
    assert "audio must be a file of WAV" in event["output"]["error"]


def test_names_of_uploads_lead_nowhere(client, temporary):
    for name in ("../../../../tmp/spiritlm_escaped.wav", "/etc/spiritlm_escaped", "..\\..\\a.wav", "a/../../b.wav"):
        status, response = upload(client, name, b"abc")
        if status == 200:
            (path,) = response.json()
            assert ".." not in Path(path).parts and path.startswith(f"{temporary}/spiritlm-")
            assert client.get(f"/gradio_api/file={path}").content == b"abc"
            assert client.get(f"/gradio_api/file={path}/../../../../../..{SECRET}").status_code in (403, 404)


def test_methods_of_the_api_are_not_asked_of_the_page(client):
    response = client.get("/api/generate")
    assert response.status_code == 405 and response.headers["allow"] == "POST"


def test_uploads_are_limited(client):
    assert upload(client, "a.wav", b"a" * 1_500_000)[0] == 413


@pytest.mark.parametrize(
    "path",
    [
        f"/gradio_api/file={SECRET}",
        f"/gradio_api/file={__file__}",
        f"/gradio_api/file=../../../../../..{SECRET}",
        "/gradio_api/file=%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/gradio_api/file=http://127.0.0.1:1/",
        f"/gradio_api/file{SECRET}",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/monitoring/summary",
        f"/static/../../../../../..{SECRET}",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        f"/{SECRET}",
    ],
)
def test_no_path_of_the_server_is_readable(client, path):
    response = client.get(path)
    assert response.status_code in (403, 404) and "root:" not in response.text


UNGUARDED = """
import sys
from pathlib import Path
from fastapi import FastAPI
from starlette.testclient import TestClient
from spiritlm_pl.cli.serve import load_model
from spiritlm_pl.serve import app as serve_app
from spiritlm_pl.serve.session import Session

serve_app.Allowlist.is_open = lambda self, path: True
app = serve_app.mount_page(FastAPI(), Session(load_model(Path(sys.argv[1]))), Path(sys.argv[2]))
with TestClient(app) as client:
    for path in ("/etc/passwd", sys.argv[1] + "/lm/config.json"):
        print(client.get(f"/gradio_api/file={path}").status_code)
    config = client.get("/config").json()
assert config["analytics_enabled"] is False, config["analytics_enabled"]
clicks = [found for found in config["dependencies"] if found["targets"][0][1] == "click"]
assert clicks and all(found["api_visibility"] == "private" for found in clicks)
"""


@pytest.mark.slow
def test_gradio_itself_guards_its_files_too(model_folder, tmp_path):
    """The list of open doors is one wall; this is the one behind it."""
    command = [sys.executable, "-c", UNGUARDED, str(model_folder), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["403"] * 2


@pytest.fixture
def browser():
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium or no chromedriver on this machine")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1200"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.slow
def test_typed_text_becomes_speech_that_can_be_heard_and_continued(browser, address, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def find(selector):
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(condition):
        return WebDriverWait(browser, 60, poll_frequency=0.1).until(lambda _: condition())

    def click(selector):
        wait(lambda: find(selector))[0].click()

    browser.get(address)
    wait(lambda: find("#text textarea"))[0].send_keys("the <b>cat</b> [Hu5]")
    click("#output label:nth-of-type(2)")
    click("#generate")
    source = wait(lambda: find("#answer_audio audio") and find("#answer_audio audio")[0].get_attribute("src"))
    waveform, rate = soundfile.read(io.BytesIO(httpx.get(source).content))
    assert rate == 16_000 and len(waveform) > 1600 and np.sqrt((waveform**2).mean()) > 1e-3
    play = "return document.querySelector('#answer_audio audio').duration"
    assert wait(lambda: browser.execute_script(play)) == pytest.approx(len(waveform) / rate, abs=0.05)
    assert wait(lambda: find("#answer_picture img"))[0].get_attribute("src").startswith("data:image/")
    assert find("#answer_tokens .token.unit") and find("#answer_tokens .token.modality")
    assert find("#turn_1 .turn")[0].text.endswith("the <b>cat</b> [Hu5]")

    click("#continue")
    player = wait(lambda: find("#turn_2 audio"))[0].get_attribute("src")
    again, _ = soundfile.read(io.BytesIO(base64.b64decode(player.partition(",")[2])))
    np.testing.assert_allclose(again, waveform, atol=1e-4)
    (tmp_path / "tone.wav").write_bytes(wav())
    find("#speech input[type=file]")[0].send_keys(str(tmp_path / "tone.wav"))
    wait(lambda: find("#speech [aria-label='Play'], #speech audio"))
    click("#add")
    wait(lambda: find("#turn_3 audio"))
    click("#remove_2")
    wait(lambda: not find("#turn_3"))
    time.sleep(0.5)  # the list is drawn anew
    click("#output label:nth-of-type(1)")
    click("#generate")
    wait(lambda: not find("#answer_tokens .token.unit") and find("#answer_tokens .token.text"))
    click("#clear")
    wait(lambda: find("#no_turns"))
    click("#generate")
    wait(lambda: any("prompt must hold at least one word" in toast.text for toast in find("[data-testid=toast-body]")))
