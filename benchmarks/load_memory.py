"""Memory to load and to import a language model of the published width, with random weights.

    python benchmarks/load_memory.py [--layers 2 8] [--folder /tmp/load_memory]

A checkpoint in the release's form (one `pytorch_model.bin` of float16) is written for each number of layers; the
published model has 32. Loading and importing run in processes of their own. Their peak is told twice: of all resident
pages, those mapped from the file included, which the system may drop at will, and of anonymous memory alone.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.interop.release.importing import import_lm
from spiritlm_pl.interop.release.language_model import read_lm

WIDTH, HEADS, FEED_FORWARD = 4096, 32, 11_008
GIB = 2**30


def write_tokenizer(folder: Path) -> int:
    """A SentencePiece model with the speech tokens as pieces; returns the number of text pieces."""
    control = ["[Text]", "[Speech]", *(f"[Hu{unit}]" for unit in range(501))]
    words = ["the cat sat on the mat and the dog looked at it", "one two three four five six seven"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    model.ParseFromString((folder / "tokenizer.model").read_bytes())
    text = len(model.pieces)
    for name in control:
        piece = model.pieces.add()
        piece.piece, piece.score, piece.type = name, 0.0, proto.ModelProto.SentencePiece.USER_DEFINED
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    return text


def write_checkpoint(folder: Path, layers: int) -> float:
    """Random weights; returns their GiB."""
    folder.mkdir(parents=True)
    rows = -(-(write_tokenizer(folder) + 503) // 256) * 256
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=WIDTH,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        dtype="float16",
        architectures=["LlamaForCausalLM"],
    )
    with torch.device("meta"):
        network = LlamaForCausalLM(config)
    weights = {name: torch.full(value.shape, 0.01, dtype=torch.float16) for name, value in network.state_dict().items()}
    torch.save(weights, folder / "pytorch_model.bin")
    config.save_pretrained(folder)
    return sum(value.numel() for value in weights.values()) * 2 / GIB


def watched(action: str, folder: Path, out: Path) -> dict[str, float]:
    """Run an action in this process, and tell its peaks."""
    process, peaks, stop = psutil.Process(), {"resident": 0.0, "anonymous": 0.0}, threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
            peaks["anonymous"] = max(peaks["anonymous"], int(values["RssAnon"]) / 2**20)
            peaks["resident"] = max(peaks["resident"], process.memory_info().rss / GIB)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    if action == "load":
        network = read_lm(folder)[0]
        assert all(not parameter.is_meta for parameter in network.parameters())
    else:
        import_lm(folder, out)
    peaks["seconds"] = time.perf_counter() - start
    stop.set()
    thread.join()
    return peaks


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/load_memory"))
    parser.add_argument("--action", choices=("load", "import"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    lm, out = options.folder / "lm", options.folder / "out"
    if options.action:
        print(json.dumps(watched(options.action, lm, out)))
        return
    print(f"{'layers':>6}{'weights, GiB':>14}{'action':>9}{'anonymous, GiB':>16}{'resident, GiB':>15}{'seconds':>9}")
    for layers in options.layers:
        shutil.rmtree(options.folder, ignore_errors=True)
        size = write_checkpoint(lm, layers)
        for action in ("load", "import"):
            command = [sys.executable, __file__, "--folder", str(options.folder), "--action", action]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            found = json.loads(told)
            print(
                f"{layers:>6}{size:>14.2f}{action:>9}{found['anonymous']:>16.2f}{found['resident']:>15.2f}"
                f"{found['seconds']:>9.1f}",
                flush=True,
            )
    shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
