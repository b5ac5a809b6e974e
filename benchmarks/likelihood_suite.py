"""Time of a likelihood benchmark beside one hypothesis at a time through `SpiritLM.score`, and how far both differ.

    spiritlm prepare benchmark storycloze stories --count 1000 --layout cross
    python benchmarks/likelihood_suite.py quickstart/model stories/tStoryCloze

The pairs are beginnings of stories with two endings, spoken, as recordings: first with the recordings to be tokenized,
then with their tokens kept by the first run. Memory is the largest of the process after a tenth of the pairs and after
all of them.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.contract import RunSettings
from spiritlm_pl.benchmarks.run import CHUNK
from spiritlm_pl.benchmarks.suites import TSTORYCLOZE
from spiritlm_pl.generation import SpiritLM


def memory() -> float:
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(benchmark: ChoiceBenchmark, model: SpiritLM, items: list, store: Path) -> tuple[float, list, float]:
    """Return seconds a pair, lines, and the memory after a tenth of them."""
    scorer = benchmark.scorer(model, RunSettings(speech_tokens=store), {})
    start, lines, early = time.perf_counter(), [], 0.0
    for first in range(0, len(items), CHUNK):
        lines += scorer(items[first : first + CHUNK])
        early = early or (memory() if len(lines) >= len(items) / 10 else 0.0)
    return (time.perf_counter() - start) / len(items), lines, early


def alone(model: SpiritLM, items: Iterable) -> tuple[float, torch.Tensor]:
    """Return seconds a pair, and the scores of both hypotheses, one at a time."""
    start = time.perf_counter()
    found = [
        [model.score(item.context, [hypothesis])[0].total for hypothesis in (item.right, item.wrong)] for item in items
    ]
    return (time.perf_counter() - start) / len(found), torch.tensor(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--alone", type=int, default=100, help="pairs that are also scored one hypothesis at a time")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    model = SpiritLM.load(f"{options.model}/lm", f"{options.model}/speech_tokenizer", device=options.device)
    items = list(TSTORYCLOZE.read(Path(options.data), {}).items)[: options.pairs]
    alone(model, items[:4])  # warm-up
    single, expected = alone(model, items[: options.alone])
    with tempfile.TemporaryDirectory() as folder:
        for title in ("recordings", "kept tokens"):
            together, lines, early = run(TSTORYCLOZE, model, items, Path(folder))
            found = torch.tensor([line["scores"]["sum"] for line in lines[: len(expected)]])
            print(
                f"{title}: {len(items)} pairs, {1000 * together:.2f} ms a pair; {single / together:.1f} times as fast"
            )
            print(f"  largest difference {(found - expected).abs().max():.2g} nats, of about {found.abs().mean():.0f}")
            print(f"  memory {early:.0f} MiB after a tenth of the pairs, {memory():.0f} MiB after all")
    print(f"one hypothesis at a time, {len(expected)} pairs: {1000 * single:.2f} ms a pair")


if __name__ == "__main__":
    main()
