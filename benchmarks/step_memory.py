"""Peak memory and processor seconds of a training step of a 135 M model, beside another version of the package.

    python benchmarks/step_memory.py --other FOLDER_OF_ANOTHER_CHECKOUT

The model is a Llama of SmolLM2's sizes under bfloat16 autocast with AdamW, on one thread; its rows hold documents of
`--document` tokens on average. Each version runs in processes of its own, in turns. The peak is the largest resident
size of the process after two steps, of which the libraries and the float32 weights are told apart.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

SIZES = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "max_position_embeddings": 2048,
}


def measure(options: argparse.Namespace) -> tuple[float, float, float]:
    """MiB with the weights alone, MiB at the peak, and seconds of the second step."""
    import lm_throughput

    from spiritlm_pl.lm.build import LanguageModelConfig, build_network, token_losses
    from spiritlm_pl.lm.optimizer import OptimizerSettings, build_adamw
    from spiritlm_pl.vocabulary import Vocabulary

    torch.set_num_threads(1)
    vocabulary = lm_throughput.VOCABULARY = Vocabulary.spirit_lm(num_text=49_152, num_units=500)
    rows = lm_throughput.Rows(options.rows, options.tokens // options.rows, options.document, 2)
    network = build_network(LanguageModelConfig(config=SIZES), vocabulary)
    optimizer = build_adamw(network, OptimizerSettings())
    before, seconds = peak(), 0.0
    for batch in rows.batches:
        start = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = token_losses(network, batch)[0] / batch.tokens.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.process_time() - start
    return before, peak(), seconds


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Run both versions in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="checkout of another version; none measures this one alone")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    for name, default in (("tokens", 4096), ("rows", 2), ("document", 400), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.measure:
        print(*measure(options))
        return
    here = Path(__file__).resolve().parent.parent
    versions = {"this": here} | ({} if options.other is None else {"other": options.other.resolve()})
    found: dict[str, list[list[float]]] = {name: [] for name in versions}
    for _ in range(options.repeats):
        for name, folder in versions.items():
            command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--measure"]
            told = subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(folder)}, stdout=-1).stdout
            found[name].append([float(value) for value in told.split()[-3:]])
    for name, runs in found.items():
        before, most, seconds = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{name:<8}{before:>8,.0f} MiB before, {most:>8,.0f} MiB at the peak, {seconds:>6.1f} s a step")


if __name__ == "__main__":
    main()
