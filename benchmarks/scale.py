"""Cost per utterance, and peak memory, of every stage before its first batch, for corpora of growing size.

    python benchmarks/scale.py --utterances 1000 10000 100000 --other ../spiritlm-pl-before

Utterances are made up: 2 to 15 s, 6 to 44 words of 2,500, 209 units each, all of one recording of noise. A thousand are
different; larger corpora repeat them under other ids. A stage runs in a process of its own, in which a corpus of 100
utterances comes first, so that imports do not count. It is run twice: the first time may write what later runs find
beside the corpus. Printed are CPU seconds and microseconds an utterance until the first batch, bytes an utterance by
which the peak memory grows, and the peak of the process. Another version of the package is run once where it writes
nothing that is found later. `--picture` draws all of it.
"""

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

FRAMES, UNITS, RATE = 275, 209, 16_000
DIFFERENT = 1000  # utterances, which larger corpora repeat under other ids
WARM = 100  # utterances of the corpus that comes first
BATCHES = 20  # that are made after the start, without counting their time
PLANNING = ("predict", "hubert", "vocoder")


def write_corpus(folder: Path, number: int) -> None:
    """Write manifests of made-up utterances, all of them parts of one recording."""
    from lhotse.utils import fastcopy

    from spiritlm_pl.corpora.audio import save_wav
    from spiritlm_pl.corpora.manifest import SPLITS, Word, cuts_path, make_cut, write_cuts

    random = np.random.default_rng(number)
    lexicon = ["".join(letters) for letters in product("bdfgklmnpt", "aeiou", "bdfgklmnpt", "aeiou")]
    noise = folder / "audio" / "noise.wav"
    whole = save_wav(noise, 0.1 * torch.randn(16 * RATE, generator=torch.Generator().manual_seed(0)))

    def cuts(split: str, count: int) -> Iterator[Any]:
        for index in range(count):
            seconds = int(random.integers(2 * RATE, 15 * RATE)) / RATE
            count = int(3 * seconds)
            times = np.linspace(0, seconds, count + 1).round(2).tolist()
            words = [Word(lexicon[random.integers(len(lexicon))], times[i], times[i + 1]) for i in range(count)]
            cut = make_cut(
                f"corpus-{split}-{index:08d}",
                noise,
                sample_rate=RATE,
                num_samples=whole,
                text=" ".join(word.text for word in words),
                speaker=f"speaker{index % 1000}",
                words=words,
            )
            supervision = fastcopy(cut.supervisions[0], duration=seconds)
            yield fastcopy(cut, duration=seconds, supervisions=[supervision])

    held_out = max(10, number // 1000)
    for split in SPLITS:
        count = number if split == "train" else held_out
        write_cuts(folder, split, cuts(split, min(count, DIFFERENT)))
        repeat(cuts_path(folder, split), split, count)
    info = {"name": folder.name, "source": "made up", "licence": "none"}
    (folder / "corpus.json").write_text(json.dumps(info), encoding="utf-8")


def repeat(path: Path, split: str, number: int) -> None:
    """Repeat the lines of a manifest under other ids until there are as many as wanted."""
    with gzip.open(path) as stream:
        lines = list(stream)
    with gzip.open(path, "wb", 1) as stream:
        for index in range(number):
            old, new = (f'"corpus-{split}-{place:08d}"'.encode() for place in (index % DIFFERENT, index))
            stream.write(lines[index % DIFFERENT].replace(old, new))


def write_units(folder: Path, number: int) -> None:
    """Write unit shards of the made-up utterances."""
    from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
    from spiritlm_pl.streams import SpeechLayout

    random = np.random.default_rng(number)
    layout = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0)
    different = [
        UnitUtterance(
            id="",
            corpus="corpus",
            units=(np.cumsum(random.integers(1, 501, UNITS)) % 501).astype(np.uint16),
            unit_starts=np.sort(random.choice(FRAMES, UNITS, replace=False)).astype(np.uint32),
            num_frames=FRAMES + 100,
        )
        for _ in range(DIFFERENT)
    ]
    for split, count in (("train", number), ("validation", max(10, number // 1000))):
        for first in range(0, count, DIFFERENT):
            ids = [f"corpus-{split}-{index:08d}" for index in range(first, min(count, first + DIFFERENT))]
            rows = [replace(said, id=name) for name, said in zip(ids, different, strict=False)]
            write_part(folder / split, first // DIFFERENT, rows, "made up")
        finish_folder(folder / split, ["made up"] * -(-count // DIFFERENT), layout=layout, provenance={})


def made(folder: Path, number: int) -> None:
    """Make a corpus and its units where they are missing."""
    if not (folder / "units").is_dir():
        write_corpus(folder / "corpus", number)
        write_units(folder / "units", number)


class Flat:
    """F0 extractor that finds 100 Hz everywhere: what is measured is what happens around it."""

    def __call__(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return F0 (B, F) and voicing (B, F)."""
        frames = waveforms.shape[1] // 80 + 1
        return torch.full((len(waveforms), frames), 100.0), torch.ones(len(waveforms), frames, dtype=torch.bool)


class Evenly:
    """Aligner that gives all words the same time without hearing them."""

    name, needs_audio, english_only = "evenly", False, False

    def align(self, cut_id: str, waveform: Any, words: list[str], language: str = "en") -> Any:
        """Return the times of the words."""
        from spiritlm_pl.alignment.contract import Aligned
        from spiritlm_pl.corpora.manifest import Word

        return Aligned([Word(word, 0.04 * i, 0.04 * (i + 1)) for i, word in enumerate(words)])


def some(batches: Any, number: int = BATCHES) -> Callable[[], None]:
    """Return a function that makes some batches."""

    def make() -> None:
        for _, _batch in zip(range(number), batches, strict=False):
            pass

    return make


def predict(folder: Path) -> Callable[[], None]:
    """Plan the tokenising of a corpus, as rank zero does before its first batch."""
    from spiritlm_pl.callbacks.write_units import WriteUnits
    from spiritlm_pl.datamodules.speech import WaveformDataModule
    from spiritlm_pl.tokenizers.features import MFCCConfig
    from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans
    from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer

    data = WaveformDataModule([str(folder / "corpus")])
    data.setup("predict")
    tokenizer = folder / "tokenizer"
    if not tokenizer.is_dir():
        extractor = MFCCConfig().build()
        quantizer = KMeans(KMeansConfig(num_units=12, feature_dim=39))
        MinibatchKMeans(quantizer).start(torch.randn(500, 39))
        PhoneticTokenizer(extractor, quantizer).save(tokenizer)
    trainer: Any = SimpleNamespace(
        datamodule=data,
        is_global_zero=True,
        limit_predict_batches=1.0,
        predict_loop=SimpleNamespace(),
        strategy=SimpleNamespace(broadcast=lambda found: found),
    )
    module: Any = SimpleNamespace(folder=str(tokenizer), tokenizer=None)
    WriteUnits(str(folder / "nothing")).setup(trainer, module, "predict")
    return some(data.predict_dataloader())


def hubert(folder: Path) -> Callable[[], None]:
    """Begin to train HuBERT on the units of an earlier one."""
    from spiritlm_pl.datamodules.speech import WaveformDataModule

    data = WaveformDataModule([str(folder / "corpus")], labels=[str(folder / "units")])
    data.setup("fit")
    loader = data.train_dataloader()
    assert len(loader)
    return some(loader)


def vocoder(folder: Path) -> Callable[[], None]:
    """Begin to train a vocoder."""
    from spiritlm_pl.datamodules.unit_waveforms import UnitWaveformDataModule

    data = UnitWaveformDataModule([str(folder / "corpus")], [str(folder / "units")])
    data.setup("fit")
    loader = data.train_dataloader()
    assert len(loader)
    return some(loader)


def extract_f0(folder: Path) -> Callable[[], None]:
    """Extract F0, and in the second run find that there is nothing to do."""
    from spiritlm_pl.f0.store import extract_corpus

    extract_corpus(folder / "corpus", "flat", "scale.Flat", num_jobs=1)
    return lambda: None


def pitch(folder: Path) -> Callable[[], None]:
    """Begin to train a pitch tokenizer on extracted F0."""
    from spiritlm_pl.datamodules.f0 import F0DataModule

    data = F0DataModule([str(folder / "corpus")], "flat")
    data.setup("fit")
    loader = data.train_dataloader()
    assert len(loader)
    return some(loader)


def align(folder: Path) -> Callable[[], None]:
    """Align all utterances."""
    from spiritlm_pl.alignment.run import align_corpus

    align_corpus(folder / "corpus", Evenly(), overwrite=True, num_jobs=1)
    return lambda: None


STAGES: dict[str, Callable[[Path], Callable[[], None]]] = {
    "predict": predict,
    "hubert": hubert,
    "vocoder": vocoder,
    "extract-f0": extract_f0,
    "pitch": pitch,
    "align": align,
}


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(stage: str, warm: Path, folder: Path) -> dict[str, float]:
    """Run a stage with a small corpus, and then with the one that is measured."""
    STAGES[stage](warm)()
    before, start = peak(), time.process_time()
    batches = STAGES[stage](folder)
    seconds = time.process_time() - start
    batches()
    return {"seconds": seconds, "bytes": peak() - before, "peak": peak()}


def in_process(tree: Path, *arguments: str) -> dict[str, float]:
    """Call this script in a new process with the package of a folder."""
    here = Path(__file__).resolve()
    paths = os.pathsep.join([str(tree), str(here.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "SPIRITLM_TRUST": "scale"}
    command = [sys.executable, str(here), *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory of each stage over the number of utterances."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    versions = sorted({row["version"] for row in rows})
    for axis, key, title in (
        (axes[0], "seconds", "CPU seconds until the first batch, second run"),
        (axes[1], "peak", "peak memory of the process, GiB"),
    ):
        for place, stage in enumerate(dict.fromkeys(row["stage"] for row in rows)):
            for version in versions:
                own = [row for row in rows if (row["stage"], row["version"], row["run"]) == (stage, version, 2)]
                scale = 1 << 30 if key == "peak" else 1
                axis.plot(
                    [row["utterances"] for row in own],
                    [row[key] / scale for row in own],
                    color=f"C{place}",
                    marker="o",
                    linestyle="-" if version == "here" else ":",
                    label=stage if version == "here" else f"{stage}, before",
                )
        axis.set(xscale="log", yscale="log" if key == "seconds" else "linear", xlabel="utterances", title=title)
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=7, ncols=len(versions))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every stage with every corpus, and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--planning-only-from", type=int, default=200_000, help="larger corpora: " + ", ".join(PLANNING)
    )
    parser.add_argument("--other", type=Path, help="folder of another version of the package")
    parser.add_argument("--other-up-to", type=int, default=100_000, help="largest corpus of the other version")
    parser.add_argument("--folder", type=Path, help="folder for the corpora, which are kept; else a temporary one")
    parser.add_argument("--picture", type=Path, help="file for a picture (PNG)")
    parser.add_argument("--measure", nargs=3, metavar=("STAGE", "WARM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        stage, warm, folder = options.measure
        print(json.dumps(measure(stage, Path(warm), Path(folder))))
        return
    versions = {"here": Path(__file__).resolve().parents[1]}
    versions |= {} if options.other is None else {"other": options.other.resolve()}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        print(
            f"{'stage':<12}{'version':<9}{'utterances':>10} run{'CPU s':>10}{'us each':>9}{'B each':>9}{'peak MiB':>10}"
        )
        for number in options.utterances:
            for name, tree in versions.items():
                if name == "other" and number > options.other_up_to:
                    continue
                first = (options.folder or Path(temporary)) / "made"
                folder = first.with_name(name)
                for count in (WARM, number):
                    made(first / str(count), count)
                    if not (folder / str(count)).is_dir():
                        shutil.copytree(first / str(count), folder / str(count), symlinks=True)
                for stage in options.stages:
                    if number >= options.planning_only_from and stage not in PLANNING:
                        continue
                    for run in (1, 2) if name == "here" or stage == "extract-f0" else (2,):
                        found = in_process(tree, "--measure", stage, str(folder / str(WARM)), str(folder / str(number)))
                        rows.append({"stage": stage, "version": name, "utterances": number, "run": run, **found})
                        each = [1e6 * found["seconds"] / number, found["bytes"] / number]
                        line = f"{stage:<12}{name:<9}{number:>10}{run:>4}{found['seconds']:>10.2f}"
                        print(f"{line}{each[0]:>9.1f}{each[1]:>9.0f}{found['peak'] / (1 << 20):>10.0f}", flush=True)
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
