"""Prompt ids and greedy answers of an export by transformers 4."""

import json
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
answers, ids = [], [tokenizer.encode(prompt) for prompt in asked["prompts"]]
for prompt in asked["prompts"]:
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=asked["limit"], do_sample=False)
    answers.append(output[0, inputs["input_ids"].shape[1] :].tolist())
Path(sys.argv[3]).write_text(json.dumps({"ids": ids, "answers": answers}))
