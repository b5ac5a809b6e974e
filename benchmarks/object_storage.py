"""Time that training waits for blocks in a bucket, beside the same blocks on a disk; needs the packages for the tests.

Blocks of random text are served by moto's S3 server on this machine; each answer takes `--latency` seconds, as over a
network. Rows are read one batch after the other, with a pause for the training step, so that blocks can be fetched
ahead: with the cache empty, with the cache full, and from the disk. The server shares the processors, so that
throughput is a lower bound.

    python benchmarks/object_storage.py --blocks 12 --step 0.2
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.interleave import Interleaving
from spiritlm_pl.data.stream import TokenStream
from spiritlm_pl.storage.places import place
from spiritlm_pl.storage.settings import StorageSettings
from spiritlm_pl.vocabulary import Vocabulary

SERVER = Path(__file__).parent.parent / "tests" / "storage" / "fault_server.py"
TOKENS_OF_A_DOCUMENT, ROW = 1024, 4096


def write(folder: Path, blocks: int, tokens: int) -> int:
    """Write blocks of random text; return their size in bytes."""
    vocabulary = Vocabulary.spirit_lm(num_text=32_000, num_units=501)
    rng, entries, documents = np.random.default_rng(0), [], tokens // TOKENS_OF_A_DOCUMENT
    for number in range(blocks):
        ones = np.ones(documents, dtype=np.int64)
        table = Documents(
            tokens=rng.integers(0, 32_000, documents * TOKENS_OF_A_DOCUMENT).astype(np.uint16),
            text_counts=(ones * TOKENS_OF_A_DOCUMENT).astype(np.uint32),
            speech_counts=(ones * 0).astype(np.uint32),
            word_counts=ones.astype(np.uint32),
            keys=rng.integers(0, 1 << 60, documents).astype(np.uint64),
        )
        entries.append(write_block(folder, number, table, vocabulary))
    write_manifest(folder, "text", vocabulary, entries, {})
    return sum(entry.bytes for entry in entries)


def read(stream: TokenStream, rows: int, pause: float) -> tuple[float, float]:
    """Return the seconds that one pass waits for batches in all, and the longest of them after the first."""
    waits = []
    for first in range(0, stream.rows_per_epoch - rows, rows):
        began = time.perf_counter()
        stream.rows(first, first + rows)
        waits.append(time.perf_counter() - began)
        time.sleep(pause)
    return sum(waits), max(waits[1:])


def main() -> None:
    """Print a line for each way of reading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=4_194_304, help="in a block")
    parser.add_argument("--rows", type=int, default=256, help="in a batch")
    parser.add_argument("--step", type=float, default=0.2, help="seconds that a training step takes")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before the server answers")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(
            [sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as server,
    ):
        folder = Path(name) / "blocks"
        size = write(folder, options.blocks, options.tokens)
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        os.environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        os.environ |= {"AWS_DEFAULT_REGION": "us-east-1"}
        headers = {"Content-Type": "application/octet-stream"}
        for path in ["", *(f"/blocks/{file.name}" for file in folder.iterdir())]:
            data = (folder / Path(path).name).read_bytes() if path else b""
            urlopen(Request(f"{endpoint}/bucket{path}", data=data, method="PUT", headers=headers)).close()
        urlopen(f"{endpoint}/-/faults", data=f'{{"seconds": {options.latency}}}'.encode()).close()

        def stream(where: str | Path, cache: str = "cache", ahead: int = 2) -> TokenStream:
            settings = StorageSettings(cache=str(Path(name) / cache), ahead=ahead)
            found = TokenStream(place(where, settings), ROW, 0, Interleaving())
            assert found.rows_per_epoch  # tries the first and the last block
            return found

        print(f"{options.blocks} blocks of {size / options.blocks / 1e6:.1f} MB, batches of {options.rows} rows")
        for label, one, pause in (
            ("disk, without a pause", stream(folder), 0.0),
            ("bucket, empty cache, without a pause", stream("s3://bucket/blocks", "one", 0), 0.0),
            ("bucket, full cache, without a pause", stream("s3://bucket/blocks", "one", 0), 0.0),
            (f"disk, steps of {options.step} s", stream(folder), options.step),
            (
                f"bucket, empty cache, 0 ahead, steps of {options.step} s",
                stream("s3://bucket/blocks", "two", 0),
                options.step,
            ),
            (
                f"bucket, empty cache, 2 ahead, steps of {options.step} s",
                stream("s3://bucket/blocks", "three"),
                options.step,
            ),
        ):
            waited, longest = read(one, options.rows, pause)
            print(
                f"{label:<52} {waited:7.2f} s waited, longest {longest:6.3f} s, {size / waited / 1e6:7.1f} MB/s",
                flush=True,
            )
        server.communicate()


if __name__ == "__main__":
    main()
