from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.prepare.published import emov_db
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts
from spiritlm_pl.corpora.sources.emov_db import read_emov_db

TONE = 0.5 * torch.sin(torch.arange(8_000) * 0.1)
PROMPTS = "".join(
    f'( arctic_a{n:04d} "Sentence {n}, etc." )\n( arctic_b{n:04d} "Another one." )\n' for n in range(1, 7)
)


@pytest.fixture
def corpus_dir(tmp_path: Path) -> Path:
    root = tmp_path / "emov"
    for folder, name in (
        ("bea_Amused", "amused_1-15"),
        ("josh_Sleepy", "sleepiness_1-28"),
        ("sam/Angry", "anger_1-28"),
    ):
        for number in range(1, 7):
            save_wav(root / folder / f"{name}_{number:04d}.wav", TONE)
    (root / "cmuarctic.data").write_text(PROMPTS)
    return root


def test_both_layouts_and_splits_by_sentence(corpus_dir: Path, tmp_path: Path) -> None:
    emov_db(str(corpus_dir), str(tmp_path / "out"), validation_fraction=0.2, test_fraction=0.2, num_jobs=1)
    cuts = {split: list(load_cuts(tmp_path / "out", split)) for split in SPLITS}
    assert {split: len(members) for split, members in cuts.items()} == {"train": 12, "validation": 3, "test": 3}
    numbers = {split: {cut.id[-4:] for cut in members} for split, members in cuts.items()}
    assert not numbers["train"] & (numbers["validation"] | numbers["test"]) and len(numbers["test"]) == 1
    found = {(c.supervisions[0].speaker, c.supervisions[0].custom["style"]) for c in cuts["test"]}
    assert found == {("bea", "amused"), ("josh", "sleepy"), ("sam", "angry")}
    assert {cut.supervisions[0].text for cut in cuts["test"]} < {
        f"sentence {n} et cetera" for n in ("one", "two", "three", "four", "five", "six")
    }


def test_what_tells_too_little_is_listed(corpus_dir: Path, tmp_path: Path) -> None:
    save_wav(corpus_dir / "bea_Amused" / "amused_1-15_0666.wav", TONE)
    save_wav(corpus_dir / "bea_Amused" / "amused.wav", TONE)
    save_wav(corpus_dir / "outtakes" / "neutral_1-28_0001.wav", TONE)
    (corpus_dir / "sam" / "Angry" / "anger_1-28_0001.wav").write_bytes(b"")
    emov_db(str(corpus_dir), str(tmp_path / "out"), num_jobs=1)
    reasons = (tmp_path / "out" / "skipped.jsonl").read_text()
    assert reasons.count("\n") == 4
    for reason in (
        "there is no sentence arctic_a0666",
        "name must end in the number of a sentence",
        "but is 'outtakes' instead",
        "zero bytes",
    ):
        assert reason in reasons


def test_sentences_are_needed(corpus_dir: Path, tmp_path: Path) -> None:
    (corpus_dir / "cmuarctic.data").rename(tmp_path / "elsewhere.data")
    with pytest.raises(FileNotFoundError, match=r"prompts must be cmuarctic.data .*is not there"):
        read_emov_db(corpus_dir)
    utterances, skipped = read_emov_db(corpus_dir, tmp_path / "elsewhere.data")
    assert len(utterances) == 18 and not skipped
    (tmp_path / "elsewhere.data").write_text("Sentence 1\n")
    with pytest.raises(ValueError, match="prompts must have lines"):
        read_emov_db(corpus_dir, tmp_path / "elsewhere.data")
    (corpus_dir / "cmuarctic.data").write_text('( arctic_a9999 "Nobody said this." )\n')
    with pytest.raises(ValueError, match="all 18 were skipped .*there is no sentence arctic_a0001"):
        emov_db(str(corpus_dir), str(tmp_path / "out"))
