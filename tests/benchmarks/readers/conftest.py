"""Miniatures of the layouts that people download, with noise for speech."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from spiritlm_pl.corpora.audio import save_wav

Noise = Callable[[Path], Path]
Row = dict[str, Any]
WORDS = ["filename", "id", "voice", "frequency", "word", "phones", "length", "correct"]
SENTENCES = ["filename", "id", "voice", "type", "subtype", "transcription", "correct"]


@pytest.fixture
def noise() -> Noise:
    """Writes a tenth of a second of noise, other noise for every file."""
    generator = torch.Generator().manual_seed(0)

    def write(path: Path) -> Path:
        save_wav(path, 0.1 * torch.randn(1600, generator=generator))
        return path

    return write


@pytest.fixture
def write_table() -> Callable[..., Path]:
    def write(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def word_rows() -> list[Row]:
    """Three words with their non-words: the first in two voices, the last without a frequency."""
    rows: list[Row] = []
    for number, (word, other, frequency, voices) in enumerate(
        [("brick", "blick", 12, "AB"), ("none", "nome", 0, "A"), ("dog", "gog", "", "A")]
    ):
        for voice in voices:
            for correct, text in ((1, word), (0, other)):
                rows.append(
                    {
                        "filename": f"{text}{voice}",
                        "id": number,
                        "voice": voice,
                        "frequency": frequency,
                        "word": text,
                        "phones": "a b",
                        "length": len(text),
                        "correct": correct,
                    }
                )
    return rows


def sentence_rows() -> list[Row]:
    """Four pairs in two voices, whose ids are unique within type and subtype only."""
    rows: list[Row] = []
    for kind, subtype in (("agreement", "noun"), ("agreement", "verb"), ("npi", "only"), ("npi", "ever")):
        for voice in "AB":
            for correct in (1, 0):
                rows.append(
                    {
                        "filename": f"{kind}-{subtype}-{voice}{correct}",
                        "id": 7,
                        "voice": voice,
                        "type": kind,
                        "subtype": subtype,
                        "transcription": f"the {subtype}, they {'see' if correct else 'sees'} it",
                        "correct": correct,
                    }
                )
    return rows


@pytest.fixture
def slm21(tmp_path: Path, noise: Noise, write_table: Callable[..., Path]) -> Path:
    """The zip's tree, two folders down."""
    root = tmp_path / "zr-data" / "sLM21-dataset"
    for task, rows, columns in (("lexical", word_rows(), WORDS), ("syntactic", sentence_rows(), SENTENCES)):
        for split in ("dev", "test"):
            write_table(root / task / split / "gold.csv", rows, columns)
            for row in rows:
                noise(root / task / split / f"{row['filename']}.wav")
    (root / "index.json").write_text("{}")
    return tmp_path


@pytest.fixture
def write_parquet(noise: Noise, tmp_path: Path) -> Callable[..., Path]:
    """Writes rows whose values True become audio as the hub keeps it."""

    def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = noise(tmp_path / "sound.wav").read_bytes()
        cells = [
            {
                name: {"bytes": sound + bytes([row]), "path": f"{name}.wav"} if value is True else value
                for name, value in one.items()
            }
            for row, one in enumerate(rows)
        ]
        pq.write_table(pa.Table.from_pylist(cells), path, row_group_size=3)
        return path

    return write
