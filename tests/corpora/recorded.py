"""Recordings and texts that corpora are made of, for tests of what becomes of their audio."""

import json
from pathlib import Path
from typing import Any

import torch

from spiritlm_pl.cli.prepare.conversations import conversations
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts

NOISE = 0.1 * torch.randn(22_050, generator=torch.Generator().manual_seed(0))


def audio_of(corpus: Path) -> set[Path]:
    """Audio files in a corpus folder, in which each must belong to a cut."""
    found = {path for path in corpus.rglob("*.wav")}
    used = {Path(cut.recording.sources[0].source) for split in SPLITS for cut in load_cuts(corpus, split)}
    assert found == {path for path in used if path.is_relative_to(corpus)}
    return found


def texts(path: Path) -> Path:
    path.write_text(" ".join(f"Here is a {one}." for one in ("cat", "dog", "pig", "cow")), encoding="utf-8")
    return path


def recordings(place: Path, sample_rate: int = 22_050) -> Path:
    """Four recordings with transcripts, of which one is short; stored at 16 kHz they are converted."""
    for name, length in (("a", 1.0), ("b", 1.0), ("c", 1.0), ("short", 0.5)):
        save_wav(place / f"{name}.wav", NOISE[: round(22_050 * length)], sample_rate)
        (place / f"{name}.txt").write_text(f"here is {name}")
    return place


def rows(path: Path) -> Path:
    shown = [{"messages": [{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}, ANSWER]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in shown))
    return path


def interrupt() -> None:
    raise KeyboardInterrupt


def emov(place: Path) -> Path:
    """Three recordings of EmoV-DB, with their sentences."""
    for number in range(1, 4):
        save_wav(place / "bea_Amused" / f"amused_1-28_{number:04d}.wav", NOISE, 22_050)
    (place / "cmuarctic.data").write_text("".join(f'( arctic_a{n:04d} "Here is {n}." )\n' for n in range(1, 4)))
    return place


ANSWER = {"role": "assistant", "content": "yes"}


def chat(file: str, out: str, **options: Any) -> None:
    conversations([file], out, **options)
