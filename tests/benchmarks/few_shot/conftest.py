"""Small trees in the layouts of LibriSpeech, Fluent Speech Commands, SLURP, and a table."""

import json
from pathlib import Path

import pytest
import soundfile
import torch

SENTENCES = ("THE CAT SAT", "A DOG RAN", "THE MAT", "A CAT RAN OFF", "THE DOG SAT ON THE MAT", "OFF A MAT")
LABELS = ("activate lights none", "activate lights kitchen", "stop music none")


def save_noise(path: Path, number: int, seconds: float = 0.5) -> Path:
    """A recording that no other number has."""
    noise = 0.1 * torch.randn(int(16_000 * seconds), generator=torch.Generator().manual_seed(number))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise.numpy(), 16_000)
    return path


@pytest.fixture
def librispeech(tmp_path):
    """Two test splits of 3 utterances each, and a training split of 6."""
    root = tmp_path / "LibriSpeech"
    number = 0
    for split, count in (("test-clean", 3), ("test-other", 3), ("train-clean-100", 6)):
        chapter = root / split / "19" / "198"
        lines = []
        for index in range(count):
            number += 1
            name = f"19-198-{number:04d}"
            save_noise(chapter / f"{name}.flac", number, 0.4 + 0.05 * index)
            lines.append(f"{name} {SENTENCES[index]}\n")
        (chapter / "19-198.trans.txt").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def fluent(tmp_path):
    """6 test commands and 9 of training, of three intents."""
    root = tmp_path / "fluent_speech_commands_dataset"
    (root / "data").mkdir(parents=True)
    for split, count in (("train", 9), ("test", 6)):
        rows = [",path,speakerId,transcription,action,object,location"]
        for index in range(count):
            path = f"wavs/speakers/s1/{split}{index}.wav"
            save_noise(root / path, index + 100 * (split == "test"))
            rows.append(f"{index},{path},s1,some words,{','.join(LABELS[index % 3].split())}")
        (root / "data" / f"{split}_data.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def slurp(tmp_path):
    """2 test commands and 3 of training, each recorded near and far."""
    (tmp_path / "dataset/slurp").mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        rows = []
        for index in range(count):
            files = [f"audio-{split}{index}.flac", f"audio-{split}{index}-headset.flac"]
            for place, name in enumerate(files):
                save_noise(tmp_path / "slurp_real" / name, 10 * index + place)
            recordings = [{"file": name} for name in files]
            rows.append(
                {"slurp_id": index, "sentence": "wake me", "intent": f"alarm_{index}", "recordings": recordings}
            )
        (tmp_path / f"dataset/slurp/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def table(tmp_path):
    """4 test recordings and 4 of training, with label and text."""
    rows = ["path\tsplit\tlabel\ttext"]
    for index in range(8):
        save_noise(tmp_path / f"{index}.wav", index)
        rows.append(f"{index}.wav\t{'test' if index % 2 else 'train'}\tlabel {index // 4}\tthe cat {index}")
    (tmp_path / "data.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path
