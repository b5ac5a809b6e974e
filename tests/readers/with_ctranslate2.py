"""Prompt ids and greedy answers of an export by CTranslate2."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ctranslate2 import Generator
from ctranslate2.converters import TransformersConverter
from transformers import AutoTokenizer

folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = [tokenizer.encode(prompt) for prompt in asked["prompts"]]
with TemporaryDirectory() as temporary:
    generator = Generator(TransformersConverter(folder).convert(temporary, force=True), compute_type="float32")
    prompts = [tokenizer.convert_ids_to_tokens(prompt) for prompt in ids]
    found = [
        generator.generate_batch([prompt], max_length=asked["limit"], include_prompt_in_result=False)[0]
        for prompt in prompts
    ]
Path(sys.argv[3]).write_text(json.dumps({"ids": ids, "answers": [result.sequences_ids[0] for result in found]}))
