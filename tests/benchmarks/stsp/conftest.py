"""A folder like the unpacked archive, with noise for speech, small judges, and a model with a vocoder."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

JUDGES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_judges.py"))))
EMOTIONS = {"amused": "positive", "angry": "negative", "neutral": "neutral"}
WORDS = {"positive": "I love this {} so much", "negative": "Sorry this {} is lost", "neutral": "The {} has a door"}
THINGS = ("kite", "cat", "mat", "letter", "shoe", "cup", "lamp", "coat")


def jsonl(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(corpus, split, count, first):
    return [
        {
            "emotion": emotion,
            "sentiment": sentiment,
            "wav_path": f"{corpus}/ann/{emotion.capitalize()}/{split}_{turn}.wav",
            "split": split,
            "speaker": "ann",
            "id": first - 10 * number - turn,
            "asr": WORDS[sentiment].format(THINGS[turn % len(THINGS)]),
        }
        for turn in range(count)
        for number, (emotion, sentiment) in enumerate(EMOTIONS.items())
    ]


def make_archive(root: Path) -> Path:
    generator = torch.Generator().manual_seed(4)

    def noise(path):
        save_wav(root / "data" / path, 0.2 * torch.randn(8000, generator=generator).clamp(-4, 4))

    for name, corpus in (("emov/emov", "emov"), ("expresso/expresso_read", "expresso/read")):
        for split, count in (("train", 8), ("dev", 1), ("test", 3)):
            rows = rows_of(corpus, split, count, -7600 if corpus == "emov" else 500)
            jsonl(root / f"manifest/{name}.{split}.jsonl", rows)
            for row in rows:
                noise(row["wav_path"])
    train = rows_of("emov", "train", 3, 0)
    for direction in ("s2s", "s2t", "t2s", "t2t"):
        shots = []
        for number, row in enumerate(train):
            words = row["asr"].split()
            text = (" ".join(words[:2]), " ".join(words[2:]))
            speech = (f"few_shot/{number}_first.wav", f"few_shot/{number}_second.wav")
            for path in speech:
                noise(path)
            prompt, generation = (speech if side == "s" else text for side in (direction[0], direction[2]))
            shots.append({"prompt": prompt[0], "generation": generation[1], "sentiment": row["sentiment"]})
        jsonl(root / f"manifest/few_shot/{direction}.jsonl", shots)
    texts = list(JUDGES.halves(rows_of("emov", "train", 8, 0)))
    JUDGES.reading_judge(root / "model/text_classifier", texts)
    JUDGES.hearing_judge(root / "model/speech_classifier")
    return root


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """An archive that tests only read."""
    return make_archive(tmp_path_factory.mktemp("stsp") / "data/stsp_data")


@pytest.fixture
def own_archive(tmp_path):
    """An archive that a test may change."""
    return make_archive(tmp_path / "stsp_data")


@pytest.fixture(scope="session")
def judges():
    """Makers of small judges."""
    return JUDGES


@pytest.fixture(scope="session")
def speaking(model):
    """The model with a vocoder."""
    torch.manual_seed(6)
    config = InverseSTFTConfig(num_units=20, speakers=("ann",), embedding_dim=8, channels=16)
    vocoder = InverseSTFTVocoder(config).eval()
    return SpiritLM(model.model, model.text_tokenizer, model.vocabulary, model.speech_tokenizer, vocoder)
