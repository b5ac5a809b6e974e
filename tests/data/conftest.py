"""Tiny training blocks of random tokens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import Manifest, write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.streams import UNIT
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
