"""The client of docs/hugging-face.md, as it stands there, against a server of Hugging Face models."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import soundfile
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spiritlm_pl.interop.export import export_lm

DOCS = Path(__file__).resolve().parents[2] / "docs" / "hugging-face.md"


def client(port: int, folder: Path, exported: Path) -> str:
    code = next(block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if "urlopen" in block)
    return (
        code.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        .replace('"exported"', repr(str(exported)))
        .replace('"quickstart/model/speech_tokenizer"', repr(str(folder / "speech_tokenizer")))
        .replace('"quickstart/model/vocoder"', repr(str(folder / "vocoder")))
    )


def test_a_spoken_question_has_a_spoken_answer(model_folder, tmp_path, monkeypatch):
    exported = tmp_path / "exported"
    export_lm(model_folder / "lm", exported)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported), AutoTokenizer.from_pretrained(exported)
    units = [token for token in range(len(tokenizer)) if tokenizer.convert_ids_to_tokens(token).startswith("[Hu")]
    asked = []

    class Server(BaseHTTPRequestHandler):
        """Completions of speech."""

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request)
            ids = tokenizer(request["prompt"], return_tensors="pt").input_ids
            others = [token for token in range(model.config.vocab_size) if token not in units]
            made = model.generate(ids, max_new_tokens=12, do_sample=False, suppress_tokens=others, eos_token_id=None)
            text = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=request["skip_special_tokens"])
            body = json.dumps({"choices": [{"text": text}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing to say."""

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setattr(sys, "argv", ["client.py", str(model_folder / "tone.wav"), str(tmp_path / "answer.wav")])
        with torch.inference_mode():
            exec(client(server.server_port, model_folder, exported), {})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert re.fullmatch(r"\[Speech\](\[Hu\d+\])+", asked[0]["prompt"])
    waveform, rate = soundfile.read(tmp_path / "answer.wav")
    assert rate == 16_000 and len(waveform) >= 640 and len(waveform) % 640 == 0
