"""Figures for `spiritlm plan`: CPU time and bytes of unit shards and blocks, for an utterance, a unit and a word.

    python benchmarks/plan_figures.py [--units 2400000] [--repeats 8]

Utterances of several lengths are made up, with and without words, written as unit shards and built into blocks, as many
units of each length, since large arrays take longer for a unit than small ones. What an
utterance, a unit and a word cost is fitted to all of them, in relative terms. Utterances of 11 seconds are measured as
well, and what the fitted figures say of them is compared with it. Times are CPU seconds, the best of the repeats.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from spiritlm_pl.data.build_blocks import build_blocks
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.runs import Run, Sorted, place_bounds, write_run
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer

BUILDING = ("block_utterance", "block_unit", "block_aligned", "block_aligned_unit", "block_word")
PART = 1_000
SHAPES = ((60, 0), (400, 0), (60, 10), (400, 10), (90, 60), (400, 60))  # units and words of an utterance
CHECKED = (209, 32)  # of an utterance of 11 s
CODES = 138  # of pitch, in 11 s
FRAME_RATE = 25.0
LAYOUT = SpeechLayout.spirit_lm(num_units=501, frame_rate=FRAME_RATE)


class MadeUp:
    """Utterances of words whose frequencies follow Zipf's law, and of random units."""

    def __init__(self) -> None:
        """Make up words."""
        self.rng = np.random.default_rng(0)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        self.lexicon = ["".join(self.rng.choice(letters, self.rng.integers(2, 9))) for _ in range(20_000)]
        chances = 1 / np.arange(1, len(self.lexicon) + 1)
        self.chances = chances / chances.sum()

    def utterance(self, name: str, units: int, words: int, codes: int) -> UnitUtterance:
        """Make up one utterance of about so many units, which last 1.3 frames on average, words and pitch codes."""
        scale = self.rng.uniform(0.7, 1.3)
        units, words = round(units * scale), round(words * scale)
        frames = int(units * 1.3)
        seconds = frames / FRAME_RATE + self.rng.integers(0, 640) / 16_000
        said = [self.lexicon[place] for place in self.rng.choice(len(self.lexicon), words, p=self.chances)]
        starts = np.sort(self.rng.choice(int(seconds * 50), words, replace=False)) / 50  # as an aligner of 50 Hz
        ends = starts + self.rng.integers(1, 20, words) / 50
        runs = (np.cumsum(self.rng.integers(1, 501, units)) % 501).astype(np.uint16)  # neighbours differ
        return UnitUtterance(
            id=name,
            duration=seconds,
            text=" ".join(said),
            words=tuple(TimedWord(*word) for word in zip(said, starts.tolist(), ends.tolist(), strict=True)),
            units=runs,
            unit_starts=np.sort(self.rng.choice(frames, units, replace=False)).astype(np.uint32),
            num_frames=frames,
            custom={"story": name},
            codes={"pitch": self.rng.integers(0, 64, round(codes * scale)).astype(np.uint16)} if codes else {},
        )

    def write(self, folder: Path, number: int, units: int, words: int, codes: int = 0) -> float:
        """Write unit shards; return the bytes of an utterance."""
        size = 0
        for first in range(0, number, PART):
            some = [self.utterance(f"u{first + place:08d}", units, words, codes) for place in range(PART)]
            size += write_part(folder / "train", first // PART, some, "made up").stat().st_size
        finish_folder(folder / "train", ["made up"] * -(-number // PART), layout=LAYOUT, provenance={})
        return size / number


def cpu_seconds(folder: Path, units: str) -> float:
    """Return the CPU time of building blocks."""
    start = time.process_time()
    build_blocks([str(folder / units)], str(folder / "text"), str(folder / "out"), splits=("train",))
    return time.process_time() - start


def slice_seconds(folder: Path, repeats: int) -> float:
    """Return the CPU time of reading a block's share of one sorted run."""
    counts, rng = np.full(4_000, 1_000, dtype=np.uint32), np.random.default_rng(0)
    nothing, one = np.zeros_like(counts), np.ones_like(counts)
    keys, tokens = rng.integers(0, 1 << 62, 4_000).astype(np.uint64), np.zeros(4_000_000, dtype=np.uint32)
    write_run(folder / "run", Sorted.of(Documents(tokens, counts, nothing, one, keys), nothing, 0))
    run, bounds, times = Run(folder / "run"), place_bounds(4_000), []
    for _ in range(repeats):
        start = time.process_time()
        for number in range(200):
            run.between(bounds[number], bounds[number + 1])
        times.append((time.process_time() - start) / 200)
    return min(times)


def fitted(rows: list[list[float]], costs: list[float]) -> list[float]:
    """Return the cost of each column by least squares of relative errors."""
    matrix = np.array(rows) / np.array(costs)[:, None]
    found = np.linalg.lstsq(matrix, np.ones(len(costs)), rcond=None)[0]
    return [max(0.0, float(value)) for value in found]


def costs_of(units: int, words: int) -> list[float]:
    """Return how often each of the figures in `BUILDING` counts for an utterance."""
    return [1, units, words > 0, units * (words > 0), words]


def main() -> None:
    """Measure, print the figures, and check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=2_400_000, help="number of units in each corpus")
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    made = MadeUp()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = [" ".join(made.rng.choice(made.lexicon, 20)) for _ in range(3000)]
        train_text_tokenizer(texts, 4000).save(folder / "text")
        made.write(folder / "one", PART, 10, 1)
        shapes = {"one": (10, 1)} | {f"{units}-{words}": (units, words) for units, words in (*SHAPES, CHECKED)}
        numbers = {name: -(-options.units // (units * PART)) * PART for name, (units, _) in shapes.items()}
        bytes_each = {
            name: made.write(folder / name, numbers[name], *shape) for name, shape in shapes.items() if name != "one"
        }
        with_pitch = made.write(folder / "pitch", 4 * PART, *CHECKED, codes=CODES)
        rounds = [{name: cpu_seconds(folder, name) for name in shapes} for _ in range(options.repeats)]
        best = {name: min(one[name] for one in rounds) for name in shapes}
        slices = slice_seconds(folder, options.repeats)
    sizes, times = {}, {}
    for name, size in bytes_each.items():
        seconds = (best[name] - best["one"]) / (numbers[name] - PART)
        sizes[shapes[name]], times[shapes[name]] = size, seconds
        print(f"{name:>7} units, words: {size:6.0f} bytes, {1e6 * seconds:6.1f} us an utterance")
    measured_size, measured_time = sizes.pop(CHECKED), times.pop(CHECKED)
    shard = fitted([[1, units, words] for units, words in sizes], [*sizes.values()])
    build = fitted([costs_of(*shape) for shape in times], [*times.values()])
    for name, value in zip(("shard_utterance", "shard_unit", "shard_word"), shard, strict=True):
        print(f"{name}: {value:.3g}")
    for name, value in zip(BUILDING, build, strict=True):
        print(f"{name}: {value:.3g}")
    print(f"shard_code: {(with_pitch - measured_size) / CODES:.3g}")
    print(f"block_slice: {slices:.3g}")
    units, words = CHECKED
    size = float(np.dot(shard, [1, units, words])) / measured_size
    seconds = float(np.dot(build, costs_of(*CHECKED))) / measured_time
    print(f"of {units} units and {words} words, planned / measured: bytes {size:.3f}, time {seconds:.3f}")


if __name__ == "__main__":
    main()
