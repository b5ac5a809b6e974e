"""CPU time and memory of building blocks, with another version of this package beside it in turn, on the same inputs.

    python benchmarks/build_blocks.py --utterances 20000 --other ../spiritlm-pl-before
    python benchmarks/build_blocks.py --utterances 200000 --processes 1 2

Utterances are made up: 11 s, 32 words of 20,000, 209 units each. Every build runs in a process of its own, after one of
1,000 utterances that imports what is needed; its CPU time and its peak are printed, and the ratio of the versions.
`--processes` builds with each of these numbers of processes in turn, and prints seconds by the clock and their ratio.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer

PART = 1_000
SECONDS, WORDS, UNITS, FRAMES = 11.0, 32, 209, 275
LAYOUT = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0)
BUILD = """
import json, resource, sys, time
from spiritlm_pl.data.build_blocks import build_blocks
warm, units, tokenizer, out, jobs = sys.argv[1:]
build_blocks([warm], tokenizer, out + "_warm", splits=("train",))
start, began = time.process_time(), time.perf_counter()
build_blocks([units], tokenizer, out, splits=("train",), **({"num_jobs": int(jobs)} if int(jobs) else {}))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = {"cpu_seconds": time.process_time() - start, "seconds": time.perf_counter() - began}
print(json.dumps(seconds | {"peak_mib": peak // 1024}))
"""


def write_units(folder: Path, number: int, lexicon: list[str], generator: np.random.Generator) -> None:
    """Write unit shards of made-up utterances."""
    chances = 1 / np.arange(1, len(lexicon) + 1)
    chances /= chances.sum()
    for first in range(0, number, PART):
        utterances = [_utterance(f"u{first + place:08d}", lexicon, chances, generator) for place in range(PART)]
        write_part(folder / "train", first // PART, utterances, "made up")
    finish_folder(folder / "train", ["made up"] * -(-number // PART), layout=LAYOUT, provenance={})


def _utterance(name: str, lexicon: list[str], chances: np.ndarray, generator: np.random.Generator) -> UnitUtterance:
    words = [lexicon[place] for place in generator.choice(len(lexicon), WORDS, p=chances)]
    times = np.sort(generator.uniform(0, SECONDS, WORDS)).tolist()
    units = (np.cumsum(generator.integers(1, 501, UNITS)) % 501).astype(np.uint16)  # neighbours differ
    return UnitUtterance(
        id=name,
        duration=SECONDS,
        text=" ".join(words),
        words=tuple(TimedWord(word, time, time + 0.2) for word, time in zip(words, times, strict=True)),
        units=units,
        unit_starts=np.sort(generator.choice(FRAMES, UNITS, replace=False)).astype(np.uint32),
        num_frames=FRAMES,
    )


def build(tree: Path, *arguments: Path, jobs: int = 0) -> dict[str, float]:
    """Build blocks in a new process with the package of a folder, and in `jobs` processes unless this is 0."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BUILD, *map(str, arguments), str(jobs)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_processes(options: argparse.Namespace, folder: Path) -> None:
    """Build in each number of processes in turn, and print seconds by the clock."""
    tree = Path(__file__).resolve().parents[1]
    best: dict[int, float] = {}
    for turn in range(options.repeats):
        for jobs in options.processes:
            out = folder / f"out_{turn}_{jobs}"
            found = build(tree, folder / "warm", folder / "units", folder / "text", out, jobs=jobs)
            best[jobs] = min(best.get(jobs, float("inf")), found["seconds"])
            print(f"{jobs} processes{found['seconds']:8.2f} s", flush=True)
    for jobs, seconds in best.items():
        print(f"{jobs} processes: {best[options.processes[0]] / seconds:.2f} times the first")


def main() -> None:
    """Build with each version in turn, and print a line for each build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=20_000)
    parser.add_argument("--other", type=Path, help="folder of another version of the package")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--processes", type=int, nargs="+", help="numbers of processes to compare")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    lexicon = ["".join(generator.choice(letters, generator.integers(2, 9))) for _ in range(20_000)]
    versions = {"here": Path(__file__).resolve().parents[1]}
    versions |= {} if options.other is None else {"other": options.other.resolve()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_units(folder / "warm", PART, lexicon, generator)
        write_units(folder / "units", options.utterances, lexicon, generator)
        train_text_tokenizer([" ".join(generator.choice(lexicon, 20)) for _ in range(3000)], 4000).save(folder / "text")
        best: dict[str, float] = {}
        if options.processes:
            compare_processes(options, folder)
            return
        for _ in range(options.repeats):
            for name, tree in versions.items():
                found = build(tree, folder / "warm", folder / "units", folder / "text", folder / "out")
                best[name] = min(best.get(name, float("inf")), found["cpu_seconds"])
                each = 1e6 * found["cpu_seconds"] / options.utterances
                print(f"{name:<6}{found['cpu_seconds']:8.2f} CPU s{each:8.1f} us an utterance{found['peak_mib']:6} MiB")
        if "other" in best:
            print(f"ratio {best['other'] / best['here']:.1f}")


if __name__ == "__main__":
    main()
