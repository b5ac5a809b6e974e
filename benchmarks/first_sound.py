"""Seconds until the first sound of a spoken answer, and of the silence between its pieces, beside another version.

    python benchmarks/first_sound.py [--other TREE] [--repeats 3] [--sizes published quickstart]

`published` has HiFi-GAN of the published size, Base, and a language model of `--lm-layers` layers of width
`--lm-width`; `quickstart` has the quickstart's sizes. Weights are random, units last as long as in speech. Versions
take turns, each in a process with one thread; seconds are those of its processor. `first` is after the prompt, the
median of `--answers` answers once one was given before; `tokens` are generated until then; `silent` is between the
pieces if each is heard as soon as it is made; `speed` is that of the whole answer beside real time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, Text
from spiritlm_pl.generation.waveform_stream import CHUNK_FRAMES
from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.vocoder import Vocoder

TREE = Path(__file__).resolve().parents[1]
WORDS = "the cat sat on the mat and looked at the dog"
SIZES = ("published", "quickstart")
OPTIONS = ("answers", "new_tokens", "lm_layers", "lm_width", "dtype")
FIGURES = ("first", "tokens", "silent", "speed")


def parts(size: str, options: argparse.Namespace) -> tuple[LlamaConfig, Vocoder, Vocabulary, TextTokenizer]:
    """Shapes of a language model, and the vocoder, vocabulary and text tokenizer beside it."""
    words = train_text_tokenizer([WORDS])
    torch.manual_seed(0)
    if size == "quickstart":
        vocoder: Vocoder = InverseSTFTVocoder(InverseSTFTConfig(num_units=200))
        vocabulary = Vocabulary.spirit_lm(num_text=words.vocab_size, num_units=200)
        width, layers, heads = 192, 4, 4
    else:
        vocoder = HiFiGANVocoder(HiFiGANConfig())
        vocabulary = Vocabulary.spirit_lm(num_text=words.vocab_size)
        width, layers, heads = options.lm_width, options.lm_layers, options.lm_width // 64
    torch.nn.init.constant_(vocoder.duration_predictor.proj.bias, 1.1)  # two frames a unit or a little more
    config = LlamaConfig(
        vocab_size=vocabulary.num_rows,
        hidden_size=width,
        intermediate_size=8 * width // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=4096,
    )
    return config, vocoder.eval(), vocabulary, words


def answer(model: SpiritLM, seed: int, new_tokens: int) -> dict[str, float]:
    """Figures of one answer."""
    settings = GenerationSettings(max_new_tokens=new_tokens, seed=seed)
    counted, told = [0], list[tuple[float, float, int]]()

    def stopped() -> bool:  # asked before every token
        counted[0] += 1
        return False

    start = time.process_time()
    for new in model.stream([Text(WORDS)], "speech", settings, CHUNK_FRAMES, stopped=stopped):
        if hasattr(new, "piece") and isinstance(new.piece, Speech):
            lasts = len(new.piece.waveform) / new.piece.sample_rate
            told.append((time.process_time() - start, lasts, counted[0]))
    silent, free = 0.0, told[0][0]
    for there, lasts, _ in told:
        silent += max(0.0, there - free)
        free = max(free, there) + lasts
    spoken = sum(lasts for _, lasts, _ in told)
    return {"first": told[0][0], "tokens": told[0][2], "silent": silent, "speed": spoken / told[-1][0]}


@torch.no_grad()
def measure(options: argparse.Namespace) -> None:
    """Print the figures of this version, in JSON."""
    torch.set_num_threads(1)
    found = {}
    for size in options.sizes:
        config, vocoder, vocabulary, words = parts(size, options)
        prepare(vocoder, "cpu")
        network = LlamaForCausalLM(config).eval().requires_grad_(False).to(getattr(torch, options.dtype))
        model = SpiritLM(network, words, vocabulary, None, vocoder)
        with suppress(ImportError):  # earlier versions lack it
            from spiritlm_pl.generation.packing import promise_fixed

            promise_fixed(network)
        answer(model, 0, 5)  # which packs the weights
        answers = [answer(model, seed, options.new_tokens) for seed in range(options.answers)]
        found[size] = {name: [each[name] for each in answers] for name in FIGURES}
    print(json.dumps(found))


def run(tree: Path, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Measure a version in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--here", "--sizes", *options.sizes]
    command += [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in OPTIONS]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, dict[str, list[float]]] = json.loads(told.splitlines()[-1])
    return found


def main() -> None:
    """Measure the versions in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="root of another version of this repository")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=150)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--lm-layers", type=int, default=12)
    parser.add_argument("--lm-width", type=int, default=768)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options)
        return
    trees = {"here": TREE} | ({} if options.other is None else {"other": options.other.resolve()})
    runs: dict[str, list[Any]] = {name: [] for name in trees}
    for _ in range(options.repeats):
        for name, tree in trees.items():
            runs[name].append(run(tree, options))
    for size in options.sizes:
        firsts = {}
        for name, found in runs.items():
            values = {figure: [value for each in found for value in each[size][figure]] for figure in FIGURES}
            firsts[name] = statistics.median(values["first"])
            told = "   ".join(f"{figure} {statistics.median(values[figure]):6.2f}" for figure in FIGURES)
            print(f"{size:<11}{name:<6}{told}   largest first {max(values['first']):.2f}")
        if "other" in firsts:
            print(f"{size:<11}ratio {firsts['other'] / firsts['here']:.2f}")


if __name__ == "__main__":
    main()
