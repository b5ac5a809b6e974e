"""Throughput of the token path: interleave and pack, loader, first batch, memory of a worker.

    python benchmarks/interleave_pack.py                  # about 100 M tokens of made-up blocks in a
    temporary folder python benchmarks/interleave_pack.py --blocks FOLDER  # blocks of `spiritlm
    build-blocks`

Shapes as in the base recipe: rows of 4096 tokens, 4 rows a batch, spans of 10-30 and 5-15 words.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.collate import LossOn
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.interleave import Interleaving, visit
from spiritlm_pl.data.interleave_reference import visit_document
from spiritlm_pl.data.loading import Share, TrainingLoader
from spiritlm_pl.data.mixture import Mixture
from spiritlm_pl.data.packing import PackedBlock
from spiritlm_pl.data.stream import TokenStream
from spiritlm_pl.runtime.devices import num_cores
from spiritlm_pl.vocabulary import Vocabulary

ROW_LENGTH, BATCH_SIZE, BLOCK_TOKENS = 4096, 4, 4_194_304
VOCABULARY = Vocabulary()
STREAM_KINDS = ("text", "speech", "aligned")


def documents(kind: str, tokens: int, seed: int) -> list[Document]:
    """Utterances of 10-60 words (1-3 pieces and 3-9 units a word) or texts of 50-1000 pieces."""
    rng = np.random.default_rng(seed)
    found: list[Document] = []
    while tokens > 0:
        if kind == "aligned":
            count = int(rng.integers(10, 60))
            texts, units = rng.integers(1, 4, count), rng.integers(3, 10, count)
            words = [
                WordIds(rng.integers(0, 32_000, text).tolist(), rng.integers(32_002, 32_503, unit).tolist())
                for text, unit in zip(texts, units, strict=True)
            ]
        else:
            low, high = (0, 32_000) if kind == "text" else (32_002, 32_503)
            ids = rng.integers(low, high, int(rng.integers(50, 1000))).tolist()
            words = [WordIds(ids, []) if kind == "text" else WordIds([], ids)]
        found.append(Document(seed << 32 | len(found), words))
        tokens -= found[-1].num_tokens
    return found


def make_blocks(folder: Path, blocks: int) -> None:
    """Write made-up blocks of every stream; later blocks are copies of the first under other keys."""
    for kind in STREAM_KINDS:
        first = documents(kind, BLOCK_TOKENS, 1)
        entries = []
        for number in range(blocks):
            renamed = [Document(document.key + (number << 48), document.words) for document in first]
            entries.append(write_block(folder / "train" / kind, number, renamed, VOCABULARY))
        write_manifest(folder / "train" / kind, kind, VOCABULARY, entries, {})


def mixture(folder: Path) -> Mixture:
    """The three streams in equal shares."""
    streams = [TokenStream(folder / "train" / kind, ROW_LENGTH, 0, Interleaving(), kind) for kind in STREAM_KINDS]
    return Mixture(streams, [1.0, 1.0, 1.0])


def loader(folder: Path, workers: int) -> TrainingLoader:
    """The loader as a trainer would have it."""
    mixed = mixture(folder)
    return TrainingLoader(
        mixed,
        Share(batch_size=BATCH_SIZE),
        length=1_000_000,
        predicted=LossOn().table(mixed.vocabulary),
        num_workers=workers,
    )


def best(action: Callable[[], int], repeats: int = 5) -> float:
    """Largest tokens a second of a few runs."""
    speeds = []
    for _ in range(repeats):
        start = time.perf_counter()
        tokens = action()
        speeds.append(tokens / (time.perf_counter() - start))
    return max(speeds)


def kernel(folder: Path) -> dict[str, float]:
    """Interleave and pack whole aligned blocks on one core."""
    stream = TokenStream(folder / "train" / "aligned", ROW_LENGTH, 0, Interleaving())
    table = stream._documents(0)
    rows = int(stream.block_rows[0])
    epochs = iter(range(1_000))

    def whole() -> int:
        pieces = stream._pieces(table, 0, next(epochs), 0)
        block = PackedBlock(table.tokens, pieces, rows + 8, ROW_LENGTH, VOCABULARY)
        return int(block.rows(0, rows + 8).cu_seqlens[-1]) * block.num_tokens // ((rows + 8) * ROW_LENGTH)

    def plain() -> int:
        made = documents("aligned", 200_000, 5)
        start = time.perf_counter()
        count = sum(len(visit_document(document, 1, Interleaving(), VOCABULARY)) for document in made)
        return int(count / (time.perf_counter() - start))

    def lengths() -> int:
        pieces = visit(table, np.arange(len(table)), next(epochs), Interleaving(), VOCABULARY)
        return int(pieces.length.sum())

    return {"interleave_and_pack": best(whole), "interleave_only": best(lengths), "plain_python": float(plain())}


def loading(folder: Path, workers: int, seconds: float) -> dict[str, float]:
    """Tokens a second through the loader, seconds to the first batch, MiB of a worker's own memory."""
    start = time.perf_counter()
    batches = iter(loader(folder, workers))
    next(batches)
    first = time.perf_counter() - start
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += next(batches).tokens.numel()
    speed = count / (time.perf_counter() - start)
    own = [private_dirty(child.pid) / 1024 for child in psutil.Process().children()]
    return {"tokens_per_second": speed, "first_batch_seconds": first, "worker_own_MiB": max(own, default=0.0)}


def private_dirty(process: int) -> int:
    """KiB that belong to this process alone; mapped blocks belong to the page cache."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


def resume(folder: Path) -> dict[str, float]:
    """Seconds to the first batch after step 10 and after step 1,000,000."""
    times = {}
    for step in (10, 1_000_000):
        fresh = loader(folder, 0)
        fresh.load_state_dict({"rows": step * BATCH_SIZE, "step": step, "identity": {}})
        start = time.perf_counter()
        next(iter(fresh))
        times[f"resume_at_step_{step}"] = time.perf_counter() - start
    return times


def fork_workers() -> None:
    """Start loader workers as a trainer does on Linux; a spawned process would spawn its own."""
    multiprocessing.set_start_method("fork", force=True)


def alone(action: Callable[..., Any], *arguments: object) -> Any:
    """Run in a fresh process, so that one measurement's memory is not another's."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, fork_workers) as pool:
        return pool.submit(action, *arguments).result()


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=Path, help="blocks of spiritlm build-blocks; made up where not given")
    parser.add_argument("--num_blocks", type=int, default=8, help="made-up blocks of each stream")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each loader measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.blocks or Path(temporary)
        if arguments.blocks is None:
            alone(make_blocks, folder, arguments.num_blocks)
        figures = {
            "cores": num_cores(),
            "kernel_tokens_per_second": alone(kernel, folder),
            **{
                f"loader_{workers}_workers": alone(loading, folder, workers, arguments.seconds) for workers in (0, 1, 2)
            },
            **alone(resume, folder),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
