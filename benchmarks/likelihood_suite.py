"""Time of a likelihood benchmark beside one hypothesis at a time through `SpiritLM.score`, and how far both differ.

    spiritlm prepare benchmark storycloze stories --count 700 --layout cross
    OMP_NUM_THREADS=1 python benchmarks/likelihood_suite.py quickstart/model stories/tStoryCloze

The pairs are beginnings of stories with two endings, as recordings or, with `--text`, as texts. Recordings are scored
twice: first they are tokenized, then their tokens are those that the first run kept; alone they are always tokenized.
After each chunk of pairs some of them are scored alone, so that whatever else the machine does slows down both. On a
busy machine the time of the processor says more. Memory is the largest of the process after a tenth of the pairs and
after all of them.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.contract import RunSettings
from spiritlm_pl.benchmarks.run import CHUNK
from spiritlm_pl.benchmarks.suites import TSTORYCLOZE, TSTORYCLOZE_TEXT
from spiritlm_pl.generation import SpiritLM


def memory() -> float:
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def now() -> Tensor:
    """Return the time of the clock and of the processor (2,), in seconds."""
    return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


@dataclass
class Measured:
    """Times and scores of a benchmark and of pairs alone.

    Attributes:
        together: seconds a pair in the benchmark, by the clock and of the processor.
        alone: seconds a pair that is scored one hypothesis at a time, in the same order.
        scores: sums of both hypotheses (N, 2) of the N pairs that are scored in both ways, by the benchmark.
        expected: the same, one hypothesis at a time.
        tokens: numbers of tokens of the hypotheses (N, 2).
        early: memory after a tenth of the pairs, in MiB.
    """

    together: Tensor
    alone: Tensor
    scores: Tensor
    expected: Tensor
    tokens: Tensor
    early: float


def alone(model: SpiritLM, items: list) -> list[list[float]]:
    """Return the scores of both hypotheses of each pair, one at a time."""
    return [
        [model.score(item.context, [hypothesis])[0].total for hypothesis in (item.right, item.wrong)] for item in items
    ]


def measure(benchmark: ChoiceBenchmark, model: SpiritLM, items: list, store: Path | None, share: float) -> Measured:
    """Score all pairs together, and a share of them alone."""
    scorer = benchmark.scorer(model, RunSettings(speech_tokens=store), {})
    lines, expected = [], []
    seconds, single, done, early = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 0, 0.0
    for first in range(0, len(items), CHUNK):
        chunk = items[first : first + CHUNK]
        start = now()
        found = scorer(chunk)
        middle = now()
        some = max(1, round(share * len(chunk)))
        expected += alone(model, chunk[:some])
        single += now() - middle
        seconds += middle - start
        done += len(chunk)
        lines += found[:some]
        early = early or (memory() if done >= len(items) / 10 else 0.0)
    scores = torch.tensor([line["scores"]["sum"] for line in lines], dtype=torch.float64)
    tokens = torch.tensor([line["num_tokens"] for line in lines])
    sums = torch.tensor(expected, dtype=torch.float64)
    return Measured(seconds / done, single / len(lines), scores, sums, tokens, early)


def tell(title: str, found: Measured, num_pairs: int) -> None:
    """Print what was measured."""
    apart = (found.scores - found.expected).abs()
    print(f"{title}: {num_pairs} pairs together, {len(apart)} of them one hypothesis at a time as well")
    for place, name in enumerate(("clock", "processor")):
        one, all_ = 1000 * float(found.alone[place]), 1000 * float(found.together[place])
        print(f"  {name}: {one:.2f} ms a pair alone, {all_:.2f} ms together: {one / all_:.2f} times as fast")
    print(f"  largest difference {apart.max():.2g} nats, of about {found.expected.abs().mean():.0f}")
    print(f"  largest difference per token {(apart / found.tokens).max():.2g} nats")
    print(f"  largest difference relative to the score {(apart / found.expected.abs()).max():.2g}")
    print(f"  memory {found.early:.0f} MiB after a tenth of the pairs, {memory():.0f} MiB after all", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--share", type=float, default=1.0, help="share of the pairs that are also scored alone")
    parser.add_argument("--text", action="store_true", help="texts of the stories instead of recordings")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    model = SpiritLM.load(f"{options.model}/lm", f"{options.model}/speech_tokenizer", device=options.device)
    benchmark = TSTORYCLOZE_TEXT if options.text else TSTORYCLOZE
    items = list(benchmark.read(Path(options.data), {}).items)[: options.pairs]
    alone(model, items[:4])  # warm-up
    if options.text:
        tell("texts", measure(benchmark, model, items, None, options.share), len(items))
        return
    with tempfile.TemporaryDirectory() as folder:
        for title in ("recordings", "kept tokens"):
            tell(title, measure(benchmark, model, items, Path(folder), options.share), len(items))


if __name__ == "__main__":
    main()
