"""Seconds and CPU seconds from the shell until a command has done the first of its work, beside another version.

    python benchmarks/starting.py [--other TREE] [--repeats 5] [--model FOLDER] [--only text build-blocks]

`text` and `speech` are `spiritlm generate --stream` until it shows its first word, or its first second of speech. `fit`
ends after the first step of the quickstart's language model, and the others after a few stories. Without `--model`, the
model has the sizes of the quickstart's and random weights. Versions take turns; medians and ratios are shown.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from spiritlm_pl.cli.main import run
from spiritlm_pl.corpora.synthetic.stories import write_stories
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.runtime.model_description import LM, SPEECH_TOKENIZER, VOCODER
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.tokenizers.hubert import HubertFeatures, HubertFeaturesConfig
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizer, MLPQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

TREE = Path(__file__).resolve().parents[1]
PARTS = TREE / "conf" / "parts" / "model"
UNITS = 200
FIRST = "one morning the fox reached the river"
# Name -> the command's words, and the stream on which it shows what counts; None where its end counts.
COMMANDS: dict[str, tuple[str, str | None]] = {
    "help": ("--help", None),
    "generate-help": ("generate --help", None),
    "text": (f"generate --text '{FIRST}' --output text --stream", "stdout"),
    "speech": (f"generate --text '{FIRST}' --output speech --stream", "stderr"),
    "train-text-tokenizer": ("train-text-tokenizer new_tokenizer --units [units]", None),
    "build-blocks": ("build-blocks [units] text_tokenizer new_blocks --multiple-of 64 --num-jobs 1", None),
    "stories": ("prepare stories new_stories --count 20", None),
    "choice": ("evaluate choice quickstart/model/lm units choice.json --kind sentences --split train", None),
    "fit": (
        "fit --config lm/base_quickstart --trainer.max_steps 1 --trainer.callbacks null --trainer.logger false "
        "--trainer.enable_checkpointing false --trainer.limit_val_batches 0 --trainer.val_check_interval 1",
        None,
    ),
}


def make_units(folder: Path, stories: int) -> None:
    """Write unit shards of stories whose units are random."""
    generator = np.random.default_rng(0)
    utterances = []
    for number, found in enumerate(write_stories(stories)):
        words = found.text.split()
        frames = 8 * len(words)
        utterances.append(
            UnitUtterance(
                id=f"story{number}",
                duration=frames / 25,
                text=found.text,
                words=tuple(TimedWord(word, 0.32 * place, 0.32 * place + 0.3) for place, word in enumerate(words)),
                units=(np.cumsum(generator.integers(1, UNITS, frames)) % UNITS).astype(np.uint16),
                unit_starts=np.arange(frames, dtype=np.uint32),
                num_frames=frames,
            )
        )
    for split in ("train", "validation", "test"):
        layout = SpeechLayout.spirit_lm(num_units=UNITS, frame_rate=25.0)
        write_part(folder / split, 0, utterances, "stories")
        finish_folder(folder / split, ["stories"], layout=layout, provenance={})


def part(name: str) -> dict[str, Any]:
    """The settings of a network in a configuration of the quickstart."""
    found: dict[str, Any] = yaml.safe_load((PARTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def make_model(folder: Path, tokenizer: Path) -> None:
    """Write the three parts of a model, untrained."""
    torch.manual_seed(0)
    text = TextTokenizer.load(str(tokenizer))
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=UNITS, multiple_of=64)
    settings = part("lm_tiny")["init_args"]["network"]["config"]
    config = AutoConfig.for_model(**settings, vocab_size=vocabulary.num_rows, bos_token_id=None, eos_token_id=None)
    save_lm(folder / LM, AutoModelForCausalLM.from_config(config), vocabulary, text)
    features = HubertFeatures(HubertFeaturesConfig(**part("hubert_tiny"), layer=4))
    quantizer = MLPQuantizer(MLPQuantizerConfig(num_units=UNITS, feature_dim=128, hidden=(256, 256)))
    PhoneticTokenizer(features, quantizer).save(folder / SPEECH_TOKENIZER)
    spoken = part("vocoder_inverse_stft")["init_args"]["network"]["init_args"]["config"]
    save_network(folder / VOCODER, InverseSTFTVocoder(InverseSTFTConfig(**spoken)), "vocoder")


def measure(tree: Path, command: str, shows: str | None, folder: Path) -> tuple[float, float]:
    """Run a command; returns its seconds until it shows something or ends, and the CPU seconds that it took by then."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start would compile the package anew
    for name in ("new_tokenizer", "new_blocks", "new_stories"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with (folder / "log").open("w+b") as log:
        streams: dict[str, Any] = {"stdout": log, "stderr": log}
        if shows is not None:
            streams[shows] = subprocess.PIPE
        start = time.perf_counter()
        shell = f"exec {sys.executable} -m spiritlm_pl {command}"
        process = subprocess.Popen(shell, shell=True, cwd=folder, env=environment, **streams)
        watched = process.stdout or process.stderr
        told = b""
        while watched is not None and (b"[speech" not in told if shows == "stderr" else not told):
            new = os.read(watched.fileno(), 4096)
            if not new:
                break
            told += new
        if told:
            process.kill()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode not in (0, -signal.SIGKILL) or (shows is not None and not told):
            log.seek(0)
            raise SystemExit(f"{command}: {(told + log.read()).decode()[-2000:]}")
        if watched is not None:
            watched.close()
    return seconds, used.ru_utime + used.ru_stime


def main() -> None:
    """Make what the commands need, and time them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="root of another version of this package")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", type=Path, help="model folder; one with random weights if left out")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=[*COMMANDS])
    options = parser.parse_args()
    trees = {"this": TREE} | ({} if options.other is None else {"other": options.other.resolve()})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_units(folder / "units", stories=40)
        os.chdir(folder)
        run(["train-text-tokenizer", "quickstart/text_tokenizer", "--units", "[units]"])
        (folder / "text_tokenizer").symlink_to("quickstart/text_tokenizer")
        run(
            ["build-blocks", "[units]", "text_tokenizer", "quickstart/blocks", "--multiple-of", "64", "--num-jobs", "1"]
        )
        if options.model is None:
            make_model(folder / "quickstart" / "model", folder / "text_tokenizer")
        else:
            (folder / "quickstart" / "model").symlink_to(options.model.resolve())
        print(f"{'':<22}" + "".join(f"{f'{tree}, s':>10}{f'{tree}, CPU s':>14}" for tree in trees) + f"{'ratios':>16}")
        for command in options.only:
            found: dict[str, list[tuple[float, float]]] = {tree: [] for tree in trees}
            for repeat in range(options.repeats + 1):
                for tree, root in trees.items():
                    measured = measure(root, *COMMANDS[command], folder)
                    if repeat:  # the first reads files that the system does not hold in memory yet
                        found[tree].append(measured)
            medians = {
                tree: [statistics.median(column) for column in zip(*rows, strict=True)] for tree, rows in found.items()
            }
            line = "".join(f"{seconds:>10.2f}{cpu:>14.2f}" for seconds, cpu in medians.values())
            pairs = zip(medians["this"], medians.get("other", []), strict=False)  # none without another version
            ratios = [this / other for this, other in pairs]
            print(f"{command:<22}{line}" + "".join(f"{ratio:>8.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
