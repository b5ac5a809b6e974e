"""Prompt ids and greedy answers of an export by llama.cpp: its converter, then its library in cyllama."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cyllama import LLM
from cyllama.api import GenerationConfig
from cyllama.llama.llama_cpp import llama_batch_get_one

folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
(converter,) = Path(sys.prefix).glob("sources/*/vendor/llama.cpp/convert_hf_to_gguf.py")


def answer(model: LLM, prompt: list[int]) -> list[int]:
    """Continue a prompt by the likeliest tokens, up to the end token."""
    settings = GenerationConfig(temperature=0.0, max_tokens=asked["limit"], n_gpu_layers=0)
    model.reset_context()
    context, sampler = model._ensure_context(len(prompt), settings), model._ensure_sampler(settings)
    context.decode(llama_batch_get_one(prompt, 0))
    found: list[int] = []
    while len(found) < asked["limit"]:
        token = sampler.sample(context, -1)
        if model.vocab.is_eog(token):
            break
        context.decode(llama_batch_get_one([token], len(prompt) + len(found)))
        found.append(token)
    return found


with TemporaryDirectory() as temporary:
    written = f"{temporary}/model.gguf"
    command = [sys.executable, converter, folder, "--outtype", "f32", "--outfile", written]
    subprocess.run(command, check=True)
    model = LLM(written, n_gpu_layers=0)
    ids = [list(model.vocab.tokenize(prompt, add_special=True, parse_special=True)) for prompt in asked["prompts"]]
    answers = [answer(model, prompt) for prompt in ids]
Path(sys.argv[3]).write_text(json.dumps({"ids": ids, "answers": answers}))
