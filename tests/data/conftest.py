"""Tiny training blocks of random tokens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import Manifest, write_block, write_manifest
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.streams import UNIT, SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, num_tasks=2, multiple_of=1)


def random_documents(kind: str, number: int, seed: int) -> list[Document]:
    """Documents whose words are numbered by their tokens as far as ids reach."""
    rng = np.random.default_rng(seed)

    def text() -> list[int]:
        return rng.integers(0, VOCABULARY.num_text, rng.integers(1, 4)).tolist()

    def speech() -> list[int]:
        return rng.integers(*VOCABULARY.bounds(UNIT), rng.integers(0, 7)).tolist()

    documents = []
    for index in range(number):
        words = [
            WordIds(text() if kind != "speech" else [], speech() if kind != "text" else [])
            for _ in range(rng.integers(1, 40))
        ]
        if kind != "aligned":
            words = [
                WordIds(
                    sum((list(w.text) for w in words), []),
                    [*sum((list(w.speech) for w in words), [])]
                    or ([VOCABULARY.bounds(UNIT)[0]] if kind == "speech" else []),
                )
            ]
        documents.append(Document(1_000_000 * seed + index, words))
    return documents


@pytest.fixture
def make_blocks(tmp_path: Path) -> Callable[..., tuple[Path, list[list[Document]], Manifest]]:
    """Write a folder of blocks, and give its documents block by block."""

    def make(kind: str, blocks: int = 3, documents: int = 40, seed: int = 0, **delimiters: int):
        vocabulary = replace(VOCABULARY, **delimiters)
        folder = tmp_path / "-".join(map(str, (kind, seed, *delimiters)))
        written = [random_documents(kind, documents, seed + number) for number in range(blocks)]
        entries = [write_block(folder, number, part, vocabulary) for number, part in enumerate(written)]
        return folder, written, write_manifest(folder, kind, vocabulary, entries, {})

    return make


SENTENCES = ["the cat sat on the mat", "a dog ran by the mat", "the dog and the cat sat", "a cat ran"]


def utterance(name: str, text: str, words: list[tuple[str, float, float]], runs: list[int]) -> UnitUtterance:
    return UnitUtterance(
        id=name,
        text=text,
        duration=1.5,
        words=tuple(TimedWord(*word) for word in words),
        units=np.arange(len(runs), dtype=np.uint16) % 7,
        unit_starts=np.array(runs, dtype=np.uint32),
        num_frames=runs[-1] + 1 if runs else 0,
    )


def write_units(folder: Path, split: str, utterances: list[UnitUtterance], num_units: int = 7) -> Path:
    write_part(folder / split, 0, utterances, "test")
    finish_folder(
        folder / split, ["test"], layout=SpeechLayout.spirit_lm(num_units=num_units, frame_rate=25.0), provenance={}
    )
    return folder


@pytest.fixture
def units(tmp_path: Path) -> Path:
    for split, part in (("train", SENTENCES[:3]), ("validation", SENTENCES[3:])):
        found = []
        for number, text in enumerate(part):
            timed = [(word, 0.2 + 0.4 * place, 0.5 + 0.4 * place) for place, word in enumerate(text.split())]
            found.append(utterance(f"{split}-{number}", text, timed, list(range(0, 10 * len(timed), 3))))
        found.append(utterance(f"{split}-loose", "not aligned", [], [0, 4, 9]))
        found.append(utterance(f"{split}-mute", "", [], []))
        write_units(tmp_path / "units", split, found)
    return tmp_path / "units"


def blocks_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
