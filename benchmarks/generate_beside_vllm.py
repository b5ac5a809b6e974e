"""Greedy answers of a language model of random weights, beside vLLM's CPU build and `generate` of `transformers`.

    python benchmarks/generate_beside_vllm.py --vllm-python /path/to/an/environment/with/vllm/bin/python

vLLM asks for a torch of its own, so it answers from a process of its own, which is stopped while the others compute.
All three take turns, with the same weights, prompts of 32 tokens, 64 new tokens and as many threads; medians.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NEW = 64


def serve(folder: str, dtype: str) -> None:
    """Answer each line of JSON, lists of prompts, by seconds and new tokens. Runs with the python of vLLM."""
    from vllm import LLM, SamplingParams

    model = LLM(folder, dtype=dtype, skip_tokenizer_init=True, max_model_len=256, max_num_seqs=32, seed=0)
    settings = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True, detokenize=False)
    print("ready", file=sys.stderr, flush=True)
    for line in sys.stdin:
        prompts = [{"prompt_token_ids": prompt} for prompt in json.loads(line)]
        start = time.perf_counter()
        answers = model.generate(prompts, settings, use_tqdm=False)
        seconds = time.perf_counter() - start
        tokens = [list(answer.outputs[0].token_ids) for answer in answers]
        print("found " + json.dumps({"seconds": seconds, "tokens": tokens}), flush=True)


class Vllm:
    """vLLM in a process that runs only while it is asked."""

    def __init__(self, python: Path, folder: Path, dtype: str, threads: int) -> None:
        """Start, and wait until the model is read and compiled."""
        settings = {
            "OMP_NUM_THREADS": str(threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in the same process, so that a signal stops all of it
            "VLLM_LOGGING_LEVEL": "WARNING",
        }
        self.process = subprocess.Popen(
            [python, __file__, "--serve", folder, dtype],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
            start_new_session=True,
        )
        self.ask([list(range(32))])

    def ask(self, prompts: list[list[int]]) -> tuple[float, list[list[int]]]:
        """Return seconds and new tokens."""
        assert self.process.stdin is not None and self.process.stdout is not None
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(json.dumps(prompts) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("found "):
                found = json.loads(line.removeprefix("found "))
                os.killpg(self.process.pid, signal.SIGSTOP)
                return found["seconds"], found["tokens"]
        raise SystemExit(f"vLLM ended with exit status {self.process.wait()}")

    def close(self) -> None:
        """End the process."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def vllm(options: argparse.Namespace, model: Any, dtype: str) -> Any:
    """Start vLLM with the weights of a model."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        engine = Vllm(options.vllm_python, Path(folder), dtype, options.threads)
        try:
            yield engine
        finally:
            engine.close()


def compare(options: argparse.Namespace) -> None:
    """Print tokens a second of all three."""
    import torch
    from inference import EXPRESSIVE, generation, language_model, plain_generation

    from spiritlm_pl.generation import GenerationSettings
    from spiritlm_pl.vocabulary import Vocabulary

    torch.set_num_threads(options.threads)
    vocabulary = Vocabulary.spirit_lm(**EXPRESSIVE)
    for dtype in (torch.float32, torch.bfloat16):
        model: Any = language_model(options, vocabulary).to(dtype).requires_grad_(False)
        with vllm(options, model, str(dtype).removeprefix("torch.")) as engine:
            for batch in options.batches:
                prompts = torch.randint(32_000, (batch, 32))
                settings = GenerationSettings(max_new_tokens=NEW, greedy=True, batch_size=batch)
                ours = generation(model, prompts.tolist(), vocabulary, "any", settings)
                times: dict[str, list[float]] = {"ours": [], "vLLM": [], "transformers": []}
                for turn in range(options.repeats + 1):
                    start = time.perf_counter()
                    found = ours()
                    ended = time.perf_counter()
                    seconds, tokens = engine.ask(prompts.tolist())
                    began = time.perf_counter()
                    plain_generation(model, prompts)
                    if turn:  # the first is for warming up
                        times["ours"].append(ended - start)
                        times["vLLM"].append(seconds)
                        times["transformers"].append(time.perf_counter() - began)
                speeds = {name: batch * NEW / statistics.median(found) for name, found in times.items()}
                equal = statistics.mean(float(a == b) for a, b in zip(found, tokens, strict=True))
                told = "   ".join(f"{name} {speed:7.1f}" for name, speed in speeds.items())
                print(
                    f"{str(dtype).removeprefix('torch.'):<9} batch {batch:<3} {told} tokens/s   beside vLLM "
                    f"{speeds['ours'] / speeds['vLLM']:.2f}, transformers {speeds['ours'] / speeds['transformers']:.2f}"
                    f"   {100 * equal:.0f} % of answers equal to vLLM's",
                    flush=True,
                )


def main() -> None:
    """Compare, or answer as vLLM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-python", type=Path, help="interpreter of an environment with vLLM's CPU build")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--lm-layers", type=int, default=12)
    parser.add_argument("--lm-width", type=int, default=768)
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
    elif options.vllm_python is None:
        parser.error("--vllm-python must name an interpreter with vLLM")
    else:
        compare(options)


if __name__ == "__main__":
    main()
