"""Throughput of text to training blocks: reading, encoding, and the whole of `build-blocks`, on one made-up text.

    python benchmarks/text_blocks.py                 # 10 MB of text, as lines and as JSON lines, plain and packed
    python benchmarks/text_blocks.py --megabytes 100 --layouts byte_level

The text consists of made-up words whose frequencies follow Zipf's law, in documents of 20 to 2,000 words with line
breaks. Tokenizers have the layouts of Llama 3 (byte level), Llama 2 (pieces with spaces) and of `train-text-tokenizer`.
"""

import argparse
import gzip
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.readers import batches_of
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import TextSource, open_source
from spiritlm_pl.data.build_blocks import build_blocks
from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.text_documents import encoded_texts
from spiritlm_pl.runtime.devices import num_cores
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
LAYOUTS = ("byte_level", "spaces", "sentencepiece")
VOCABULARY = 16_000


def made_up(megabytes: float) -> list[str]:
    """Make documents of words of 1 to 4 syllables."""
    rng = np.random.default_rng(0)
    syllables = [
        first + vowel + last for first in "bcdfgklmnprstvw" for vowel in "aeiou" for last in ("", "n", "r", "s")
    ]
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(60_000)])
    chances = 1 / np.arange(10, len(words) + 10)
    documents, size = [], 0
    while size < megabytes * 1e6:
        chosen = rng.choice(words, int(rng.integers(20, 2_000)), p=chances / chances.sum())
        lines = np.array_split(chosen, max(1, len(chosen) // 60))
        documents.append("\n".join(" ".join(line).capitalize() + "." for line in lines))
        size += len(documents[-1])
    return documents


def write_tokenizer(folder: Path, layout: str, some: list[str], vocabulary: int = VOCABULARY) -> None:
    """Train a tokenizer of one layout on some documents."""
    if layout == "sentencepiece":
        train_text_tokenizer((line for text in some for line in text.split("\n")), vocabulary // 2).save(folder)
        return
    if layout == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), bytes_of])
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(some, trainer)
        tokenizer.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
        tokenizer.train_from_iterator((f"▁{word}" for text in some for word in text.split()), trainer)
        values = json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}
        values["added_tokens"] = values["added_tokens"][:3]  # the bytes are pieces of text
        tokenizer = Tokenizer.from_str(json.dumps(values))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
        joined = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        tokenizer.decoder = decoders.Sequence([joined, decoders.Strip(" ", 1, 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)


def write_files(folder: Path, documents: list[str]) -> list[Path]:
    """Write the documents in several formats."""
    lines = folder / "lines.txt"
    lines.write_text("\n".join(text.replace("\n", " ") for text in documents), encoding="utf-8")
    objects = "".join(json.dumps({"text": text}) + "\n" for text in documents).encode()
    plain, packed, zstd, table = (folder / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet"))
    plain.write_bytes(objects)
    packed.write_bytes(gzip.compress(objects))
    with pa.CompressedOutputStream(str(zstd), "zstd") as stream:
        stream.write(objects)
    pq.write_table(pa.table({"text": documents}), table, compression="zstd", row_group_size=1_000)
    return [lines, plain, packed, zstd, table]


def write_units(folder: Path) -> Path:
    """Write unit shards of one utterance, which a build must have."""
    units, starts = np.arange(6, dtype=np.uint16), np.arange(0, 18, 3, dtype=np.uint32)
    said = UnitUtterance(id="u", text="", duration=1.0, words=(), units=units, unit_starts=starts, num_frames=18)
    write_part(folder / "train", 0, [said], "made up")
    layout = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0)
    finish_folder(folder / "train", ["made up"], layout=layout, provenance={})
    return folder


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the shortest CPU time of a few runs, in seconds, which other processes disturb less."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def count_texts(source: TextSource) -> int:
    """Read all texts of a source; return their number."""
    return sum(1 for _ in source.all_texts(Skipped()))


def figures(folder: Path, megabytes: float, layouts: list[str], repeats: int) -> Iterator[dict[str, object]]:
    """Measure every format and layout; times are CPU seconds of all threads."""
    documents = made_up(megabytes)
    files, units = write_files(folder, documents), write_units(folder / "units")
    size = sum(map(len, documents)) / 1e6
    for path in files:
        source = open_source([str(path)], TextOptions())
        took = seconds(partial(count_texts, source), repeats)
        yield {"what": f"read {path.name}", "MB_per_second": round(size / took, 1)}
    for layout in layouts:
        write_tokenizer(folder / layout, layout, documents[:400])
        tokenizer = TextTokenizer.load(folder / layout)
        source = open_source([str(files[0])], TextOptions())

        def encode(tokenizer: TextTokenizer = tokenizer, source: TextSource = source) -> int:
            batches = (batch for piece in source.pieces() for batch in batches_of(piece, source.options, Skipped()))
            encoded = encoded_texts(batches, "lines.txt", FlatEncoder(tokenizer), 0.01, Skipped())
            return sum(len(batch.tokens) for batch in encoded)

        tokens = encode()

        def build(layout: str = layout) -> None:
            build_blocks([str(units)], str(folder / layout), str(folder / "blocks"), [str(files[0])])

        for what, action in (("read and encode", encode), ("build-blocks", build)):
            took = seconds(action, repeats)
            speed = {"MB_per_second": round(size / took, 2), "us_per_token": round(took / tokens * 1e6, 3)}
            yield {"what": f"{what}, {layout}", **speed}


def main() -> None:
    """Measure, and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs is given")
    arguments = parser.parse_args()
    print(json.dumps({"TOKENIZERS_PARALLELISM": os.environ.get("TOKENIZERS_PARALLELISM"), "cores": num_cores()}))
    with tempfile.TemporaryDirectory() as temporary:
        for row in figures(Path(temporary), arguments.megabytes, list(arguments.layouts), arguments.repeats):
            print(json.dumps(row), flush=True)
    print(json.dumps({"peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
