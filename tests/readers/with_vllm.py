"""Prompt ids and greedy answers of an export by vLLM on a processor."""

import json
import sys
from pathlib import Path

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    model = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=128)
    settings = SamplingParams(temperature=0, max_tokens=asked["limit"])
    found = model.generate(asked["prompts"], settings, use_tqdm=False)
    ids = [list(request.prompt_token_ids) for request in found]
    Path(sys.argv[3]).write_text(
        json.dumps({"ids": ids, "answers": [list(request.outputs[0].token_ids) for request in found]})
    )
