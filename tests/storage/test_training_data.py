"""Blocks and units in object storage give what those on a disk give, also in workers, and errors in one line."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.cli.main import guarded, run
from spiritlm_pl.data.blocks import open_block, read_manifest, write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.interleave import Interleaving
from spiritlm_pl.data.stream import TokenStream
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.storage.places import place
from spiritlm_pl.storage.settings import StorageSettings
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=1)


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 1)):
        for kind in ("text", "aligned"):
            folder = tmp_path / "blocks" / split / kind
            entries = []
            for number in range(count):
                documents = [
                    Document(
                        1000 * number + index,
                        [
                            WordIds(rng.integers(0, 100, 2).tolist(), rng.integers(102, 132, 5).tolist())
                            if kind == "aligned"
                            else WordIds(rng.integers(0, 100, 40).tolist(), [])
                            for _ in range(10 if kind == "aligned" else 1)
                        ],
                    )
                    for index in range(20)
                ]
                entries.append(write_block(folder, number, documents, VOCABULARY))
            write_manifest(folder, kind, VOCABULARY, entries, {})
    return tmp_path / "blocks"


def training(folder: str, workers: int, **options) -> InterleavedDataModule:
    streams = {kind: StreamConfig(folder=folder) for kind in ("text", "aligned")}
    data = InterleavedDataModule(
        streams,
        row_length=64,
        batch_size=2,
        num_workers=workers,
        interleaving=Interleaving(text_span=(4, 10), speech_span=(3, 6)),
        **options,
    )
    data.setup("fit")
    return data


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_disk(s3, blocks: Path, tmp_path: Path, workers: int) -> None:
    sizes = [path.stat().st_size for path in blocks.rglob("*.safetensors")]
    url = s3.upload(blocks, "blocks")
    data = training(url, workers, storage=StorageSettings(ahead=1))
    assert data.val_streams == ["text", "aligned"]
    here, there = training(str(blocks), 0).train_dataloader(), data.train_dataloader()
    assert len(here) > 8
    for one, other in zip(here, there, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
    first, second = (next(iter(one.val_dataloader()[1])) for one in (training(str(blocks), 0), data))
    assert first.tokens.tolist() == second.tokens.tolist()
    assert here.identity["streams.text"]["manifest"] == there.identity["streams.text"]["manifest"]
    for number in range(6):
        assert s3.gets(f"train/text/block-{number:05d}.safetensors") == 1
    assert len(sizes) >= len(list((tmp_path / "cache").glob("??/*"))) >= 13


def test_a_mapped_block_stays_in_the_cache(s3, blocks: Path, tmp_path: Path) -> None:
    url = s3.upload(blocks, "blocks")
    manifest = read_manifest(f"{url}/train/text")
    room = StorageSettings(gigabytes=2.5 * manifest.blocks[0].bytes / 1e9)
    folder = place(f"{url}/train/text", room)
    tokens = open_block(folder, manifest.blocks[0]).tokens  # of the block, one array is left
    expected = np.array(tokens)
    cached = tmp_path / "cache" / manifest.blocks[0].sha256[:2] / manifest.blocks[0].sha256
    for entry in manifest.blocks[1:]:
        open_block(folder, entry)
    assert cached.exists() and np.array_equal(tokens, expected)
    del tokens
    for entry in manifest.blocks[1:]:
        open_block(folder, entry)
    assert not cached.exists()


def test_blocks_are_fetched_ahead_into_the_next_epoch(s3, blocks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3.upload(blocks, "blocks")
    stream = TokenStream(place(f"{url}/train/text", StorageSettings(ahead=2)), 64, 0, Interleaving())
    wanted: list[list[str]] = []
    assert not isinstance(stream.folder, Path)
    monkeypatch.setattr(
        stream.folder.store, "want", lambda files, reader: wanted.append([one.url[-17:-12] for one in files])
    )
    opened: list[str] = []
    names = [entry.file[6:11] for entry in stream.manifest.blocks]
    for epoch in range(2):
        stream.rows(epoch * stream.rows_per_epoch, (epoch + 1) * stream.rows_per_epoch)
        opened += [names[number] for number in stream._epoch(epoch)[1 - 1]]
    assert wanted == [opened[turn + 1 : turn + 3] for turn in range(len(opened) - 2)] + wanted[-2:]
    assert wanted[-1] == [names[number] for number in stream._epoch(2)[0][:2]]


def test_units_are_those_of_the_disk(s3, units: Path) -> None:
    here, there = UnitCorpus(units), UnitCorpus(s3.upload(units, "units"))
    assert there.ids() == here.ids() and len(there) == 15
    assert [u.text for u in there] == [u.text for u in here]
    assert there[7].units.tolist() == here[7].units.tolist()
    for part in range(5):
        assert s3.gets(f"part-{part:05d}.parquet") == 1


@pytest.mark.slow
def test_blocks_are_built_from_units_of_a_bucket(s3, units: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(("the cat sat on the mat\na cat ran\n" * 30), encoding="utf-8")
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--text", f"[{texts}]"])
    url = s3.upload(units, "units")
    for name, source in (("here", str(units)), ("there", url)):
        run(["build-blocks", f"[{source}]", str(tmp_path / "tokenizer"), str(tmp_path / name), "--num-jobs", "1"])
    here, there = (
        json.loads((tmp_path / name / "train/speech/manifest.json").read_text()) for name in ("here", "there")
    )
    assert here["blocks"] == there["blocks"]
    assert list(there["sources"]["units"]) == [f"{url}/train"]
    assert [*here["sources"]["units"].values()] == [*there["sources"]["units"].values()]


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        sys.exit(guarded(lambda: run(arguments)))
    assert ended.value.code not in (0, None)
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed.strip().splitlines()[-1]


def test_commands_say_what_is_wrong_in_one_line(
    s3, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = s3.upload(units, "units")
    build = ["build-blocks", f"[{url}]", "tokenizer", "s3://b/x"]
    assert "OUT must be a local folder, but is s3://b/x instead" in failing(build, capsys)
    learn = ["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units"]
    assert f"{s3.url}/none/train/manifest.json is not there" in failing([*learn, f"[{s3.url}/none]"], capsys)
    s3.faults(forbidden=99)
    assert f"{url}/train/manifest.json must be readable, but the store" in failing([*learn, f"[{url}]"], capsys)


def test_damaged_and_missing_blocks_are_named(s3, blocks: Path) -> None:
    damaged = blocks / "train/text/block-00003.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    (blocks / "train/text/block-00004.safetensors").unlink()
    url = s3.upload(blocks, "blocks")
    manifest = read_manifest(f"{url}/train/text")
    with pytest.raises(ValueError, match=rf"{url}/train/text/block-00003\.safetensors must have SHA-256"):
        open_block(f"{url}/train/text", manifest.blocks[3])
    with pytest.raises(FileNotFoundError, match=rf"{url}/train/text/block-00004\.safetensors must exist"):
        open_block(f"{url}/train/text", manifest.blocks[4])
    other = replace(manifest.blocks[0], bytes=manifest.blocks[0].bytes + 1)
    with pytest.raises(ValueError, match=r"block-00000\.safetensors must have \d+ bytes, but has \d+ instead"):
        open_block(f"{url}/train/text", other)
    with pytest.raises(FileNotFoundError, match=rf"but {url}/validation/speech has none"):
        read_manifest(f"{url}/validation/speech")
