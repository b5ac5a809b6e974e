"""CPU time and memory of building blocks, with another version of this package beside it in turn, on the same inputs.

    python benchmarks/build_blocks.py --utterances 20000 --text texts.txt --other ../spiritlm-pl-before
    python benchmarks/build_blocks.py --utterances 200000 --processes 1 2

Utterances are made up: 11 s, 32 words of 20,000, 209 units each. Texts are lines of files, or made up as well, and read
with tokenizers of 32,000 pieces in the layouts of `benchmarks/text_blocks.py`, which are trained on them. Every build
runs in a process of its own, after one of 1,000 utterances and few texts that imports what is needed; its CPU time and
its peak are printed, and the ratio of the versions. `--processes` builds with each of these numbers of processes in
turn, and prints seconds by the clock and their ratio. Beside it stands what the machine itself gives: as many builds of
one process each at the same time, which share nothing but cores, memory and disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from text_blocks import LAYOUTS, made_up, write_tokenizer
from text_blocks import write_units as write_one_unit

from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer

PART = 1_000
SECONDS, WORDS, UNITS, FRAMES = 11.0, 32, 209, 275
VOCABULARY, LEARNT_CHARACTERS = 32_000, 8_000_000  # of tokenizers, and of the texts that they are trained on
LAYOUT = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0)
PEAK = """
import resource, sys
from pathlib import Path

def peak_kib():
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    # The second choice, since it is at least that of the process which started this one. On macOS it is in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
"""
BUILD = """
import json, time
from spiritlm_pl.data.build_blocks import build_blocks
warm, units, tokenizer, out, jobs, *text = sys.argv[1:]
options = {"splits": ("train",), **({"num_jobs": int(jobs)} if int(jobs) else {})}
build_blocks([warm], tokenizer, out + "_warm", text[:1], **options)
start, began = time.process_time(), time.perf_counter()
made = build_blocks([units], tokenizer, out, text[1:], **options)
seconds = {"cpu_seconds": time.process_time() - start, "seconds": time.perf_counter() - began}
peak = peak_kib()
tokens = sum(stream["text_tokens"] + stream["speech_tokens"] for stream in made.values())
print(json.dumps(seconds | {"peak_mib": peak // 1024, "tokens": tokens}))
"""


def write_units(folder: Path, number: int, lexicon: list[str], generator: np.random.Generator) -> None:
    """Write unit shards of made-up utterances."""
    chances = 1 / np.arange(1, len(lexicon) + 1)
    chances /= chances.sum()
    for first in range(0, number, PART):
        drawn = generator.choice(lexicon, (PART, WORDS), p=chances).tolist()
        utterances = [_utterance(f"u{first + place:08d}", words, generator) for place, words in enumerate(drawn)]
        write_part(folder / "train", first // PART, utterances, "made up")
    finish_folder(folder / "train", ["made up"] * -(-number // PART), layout=LAYOUT, provenance={})


def _utterance(name: str, words: list[str], generator: np.random.Generator) -> UnitUtterance:
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


@dataclass(frozen=True)
class Case:
    """Inputs of a build.

    Attributes:
        name: what is built.
        units: folder of unit shards.
        tokenizer: folder of the text tokenizer.
        texts: a short file of texts for the build before the one that is measured, and the texts; perhaps neither.
        utterances: number of utterances; None to count tokens.
    """

    name: str
    units: Path
    tokenizer: Path
    texts: tuple[Path, ...] = ()
    utterances: int | None = None


def build(tree: Path, case: Case, folder: Path, jobs: int = 0, number: int = 0) -> dict[str, float]:
    """Build blocks in a new process with the package of a folder, and in `jobs` processes unless this is 0.

    Builds that run at the same time must have different numbers.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    arguments = [folder / "warm", case.units, case.tokenizer, folder / f"out{number}", jobs, *case.texts]
    command = [sys.executable, "-c", PEAK + BUILD, *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_processes(case: Case, folder: Path, numbers: list[int], repeats: int) -> None:
    """Build in each number of processes in turn, then as often at once, and print seconds by the clock."""
    tree = Path(__file__).resolve().parents[1]
    seconds: dict[tuple[int, int], list[float]] = {}  # by the number of builds at once, and of processes of each
    ways = [way for jobs in numbers for way in ([(1, jobs)] if jobs == 1 else [(1, jobs), (jobs, 1)])]
    for _ in range(repeats):
        for way in ways:
            builds, jobs = way
            with ThreadPoolExecutor(builds) as threads:
                found = list(threads.map(partial(build, tree, case, folder, jobs), range(builds)))
            seconds.setdefault(way, []).append(max(one["seconds"] for one in found))
            print(f"{case.name}: {_named(way)}{seconds[way][-1]:8.2f} s", flush=True)
    first, *rest = ((way, median(taken)) for way, taken in seconds.items())
    for way, taken in rest:
        print(f"{case.name}: {_named(way)}: {way[0] * first[1] / taken:.2f} times the first (medians)", flush=True)


def _named(way: tuple[int, int]) -> str:
    builds, jobs = way
    return f"{jobs} processes" if builds == 1 else f"{builds} builds at once"


def compare_versions(case: Case, folder: Path, versions: dict[str, Path], repeats: int) -> None:
    """Build with each version in turn, and print a line for each build, and the ratio."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, tree in versions.items():
            found = build(tree, case, folder)
            spent = found["cpu_seconds"]
            best[name] = min(best.get(name, float("inf")), spent)
            each = f"{1e6 * spent / found['tokens']:8.3f} us a token"
            if case.utterances is not None:
                each += f"{1e6 * spent / case.utterances:8.1f} us an utterance"
            print(f"{case.name}: {name:<6}{spent:8.2f} CPU s{each}{found['peak_mib']:6.0f} MiB", flush=True)
    if "other" in best:
        print(f"{case.name}: ratio {best['other'] / best['here']:.1f}", flush=True)


def text_cases(files: list[Path], megabytes: float, layouts: list[str], folder: Path) -> Iterator[Case]:
    """Yield builds of texts with tokenizers of some layouts, which are trained on them.

    Args:
        files: files of texts, one a line, as all versions read them; none to make up texts.
        megabytes: size of texts that are made up.
        layouts: layouts of tokenizers.
        folder: folder for what is made.
    """
    if not files:
        files = [folder / "made_up.txt"]
        files[0].write_text("\n".join(text.replace("\n", " ") for text in made_up(megabytes)), encoding="utf-8")
    lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
    (folder / "few.txt").write_text("\n".join(lines[:100]), encoding="utf-8")
    learnt = lines[:: -(-sum(map(len, lines)) // LEARNT_CHARACTERS)]
    for layout in layouts:
        write_tokenizer(folder / layout, layout, learnt, VOCABULARY)
        texts = (folder / "few.txt", *files)
        yield Case(f"text, {layout}", write_one_unit(folder / "one"), folder / layout, texts)


def main() -> None:
    """Build with each version, or in each number of processes, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=20_000, help="number of utterances; 0 for texts alone")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="files of texts, one a line")
    parser.add_argument(
        "--megabytes", type=float, default=40.0, help="size of the texts that are made up without --text"
    )
    parser.add_argument(
        "--layouts", nargs="*", choices=LAYOUTS, default=LAYOUTS, help="of text tokenizers; none: no text"
    )
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
        cases: list[Case] = []
        write_units(folder / "warm", PART, lexicon, generator)
        if options.utterances:
            write_units(folder / "units", options.utterances, lexicon, generator)
            texts = [" ".join(generator.choice(lexicon, 20)) for _ in range(3000)]
            train_text_tokenizer(texts, 4000).save(folder / "text")
            cases.append(Case("units", folder / "units", folder / "text", utterances=options.utterances))
        cases += text_cases([one.resolve() for one in options.text], options.megabytes, options.layouts, folder)
        for case in cases:
            if options.processes:
                compare_processes(case, folder, options.processes, options.repeats)
            else:
                compare_versions(case, folder, versions, options.repeats)


if __name__ == "__main__":
    main()
