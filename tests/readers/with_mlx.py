"""Prompt ids and greedy answers of an export by mlx-lm on a processor."""

import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step

mx.set_default_device(mx.cpu)
folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
model, tokenizer = load(folder)
ids = [tokenizer.encode(prompt) for prompt in asked["prompts"]]
answers = [
    [int(token) for token, _ in generate_step(mx.array(prompt), model, max_tokens=asked["limit"])] for prompt in ids
]
Path(sys.argv[3]).write_text(json.dumps({"ids": ids, "answers": answers}))
