"""What the recorders of real browsers make is heard as the sound that they recorded."""

import base64
import http.server
import io
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from starlette.testclient import TestClient

from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.decoding import decode
from spiritlm_pl.serve.api import build_api
from spiritlm_pl.serve.session import Limits, Session
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, kmeans_plus_plus, nearest
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer

FOLDER = Path(__file__).parents[1] / "fixtures" / "recordings"
DROPPED = 0.08  # seconds at the start that Chromium's MP4 tells players to drop: its WebM does not
CHROMIUM, FIREFOX = shutil.which("chromium"), shutil.which("firefox-esr") or shutil.which("firefox")


@pytest.fixture(scope="module")
def sound():
    return load_waveform(FOLDER / "sound.flac")


@pytest.fixture
def client(spirit_lm, sound, monkeypatch):
    """A server whose units are clusters of this very sound."""
    features = MFCCFeatures(MFCCConfig())
    frames = features(sound[None], torch.tensor([len(sound)]))[0][0]
    quantizer = KMeans(KMeansConfig(num_units=12, feature_dim=features.feature_dim))
    centroids = kmeans_plus_plus(frames, 12, torch.Generator().manual_seed(0))
    for _ in range(10):
        index = nearest(frames, centroids)[0]
        centroids = torch.stack([frames[index == unit].mean(0) for unit in range(12)])
    quantizer.centroids.data.copy_(centroids)
    monkeypatch.setattr(spirit_lm.codec, "tokenizer", PhoneticTokenizer(features, quantizer).eval())
    with TestClient(build_api(Session(spirit_lm, Limits(max_seconds=3)))) as client:
        yield client


def frames_of(client, content):
    """The unit of each frame."""
    answer = client.post("/api/tokenize", json={"audio": base64.b64encode(content).decode()})
    assert answer.status_code == 200, answer.text
    return np.repeat(answer.json()["units"], answer.json()["durations"]).tolist()


def wav(waveform):
    file = io.BytesIO()
    soundfile.write(file, waveform.numpy(), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_units_of_chromiums_recordings_are_those_of_the_sound(client, sound):
    expected = frames_of(client, wav(sound))
    assert len(set(expected)) == 12
    assert frames_of(client, (FOLDER / "chromium.webm").read_bytes()) == expected
    later = frames_of(client, wav(sound[round(DROPPED * 16_000) :]))
    assert frames_of(client, (FOLDER / "chromium.mp4").read_bytes()) == later


def test_chromiums_mp4_lacks_the_start_that_it_tells_players_to_drop():
    ((webm, rate),) = decode(FOLDER / "chromium.webm")
    ((mp4, _),) = decode(FOLDER / "chromium.mp4")
    assert rate == 48_000 and webm.shape == (2, 95_040)
    torch.testing.assert_close(mp4, webm[:, round(DROPPED * rate) :])


def test_firefox_records_its_tone(client):
    waveform = load_waveform(FOLDER / "firefox.ogg")
    assert len(waveform) == pytest.approx(2.0 * 16_000, rel=0.01)
    assert strongest(waveform) == pytest.approx(1_000, abs=2)
    content = (FOLDER / "firefox.ogg").read_bytes()
    assert frames_of(client, content) == frames_of(client, wav(waveform))


def strongest(waveform):
    """The frequency in Hz that has most power."""
    power = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs()
    return int(power.argmax()) * 16_000 / len(waveform)


def likeness(recorded, sound):
    """The best correlation of one second of a recording with a sound that was played over and over."""
    part, played = recorded[4_000:20_000], sound.repeat(3)
    windows = played.unfold(0, len(part), 1)
    product = torch.fft.irfft(torch.fft.rfft(played) * torch.fft.rfft(part, len(played)).conj(), len(played))
    place = int(product[: len(windows)].argmax())
    return float(torch.corrcoef(torch.stack([windows[place], part]))[0, 1])


PAGE = """<!doctype html><script>
const types = TYPES;
const record = (stream, type) => new Promise(done => {
  const recorder = new MediaRecorder(stream, {mimeType: type, audioBitsPerSecond: 32000}), parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  recorder.onstop = () => done(new Blob(parts));
  recorder.start();
  setTimeout(() => recorder.stop(), 2000);
});
(async () => {
  const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const stream = await navigator.mediaDevices.getUserMedia({audio: plain});
  await new Promise(done => setTimeout(done, 500));
  const found = await Promise.all(types.map(type => record(stream, type)));
  for (const [place, blob] of found.entries()) await fetch("/" + place, {method: "POST", body: blob});
})().catch(error => fetch("/error", {method: "POST", body: String(error)}));
</script>"""


def recorded(command, types):
    """Files of these types that a browser makes of its microphone, in their order."""
    found = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.replace("TYPES", json.dumps(types)).encode())

        def do_POST(self):
            found.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        with subprocess.Popen([*command, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                files = dict(found.get(timeout=60) for _ in types)
            finally:
                browser.terminate()
        server.shutdown()
    assert list(files) == [f"/{place}" for place in range(len(types))], files
    return list(files.values())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")
def test_chromium_of_today_records_what_can_be_read(sound, tmp_path):
    soundfile.write(tmp_path / "sound.wav", sound.repeat(2).numpy(), 16_000, "PCM_16")
    options = [
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
        f"--use-file-for-fake-audio-capture={tmp_path / 'sound.wav'}",
    ]
    contents = recorded([CHROMIUM, *options], ["audio/webm;codecs=opus", "audio/mp4;codecs=opus"])
    webm, mp4 = (next(decode(content))[0].mean(0) for content in contents)
    assert 1.8 < len(webm) / 48_000 < 2.3
    assert (len(webm) - len(mp4)) / 48_000 == pytest.approx(DROPPED, abs=0.061)  # one may get a frame of 60 ms more
    (tmp_path / "recorded.webm").write_bytes(contents[0])
    assert likeness(load_waveform(tmp_path / "recorded.webm"), sound) > 0.9


@pytest.mark.slow
@pytest.mark.skipif(not FIREFOX, reason="no firefox on this machine")
def test_firefox_of_today_records_what_can_be_read(tmp_path):
    names = ("media.navigator.streams.fake", "media.navigator.permission.disabled")
    (tmp_path / "user.js").write_text("".join(f'user_pref("{name}", true);\n' for name in names))
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(tmp_path)]
    (content,) = recorded(command, ["audio/ogg;codecs=opus"])
    (tmp_path / "recorded.ogg").write_bytes(content)
    waveform = load_waveform(tmp_path / "recorded.ogg")
    assert 1.8 < len(waveform) / 16_000 < 2.3 and strongest(waveform) == pytest.approx(1_000, abs=2)
