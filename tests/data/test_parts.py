from pathlib import Path

import pytest

from spiritlm_pl.corpora.manifest import make_cut, save_corpus
from spiritlm_pl.data.parts import plan_corpus


def corpus(folder: Path, **ids: str) -> Path:
    """One cut a split."""
    cuts = {
        split: [make_cut(name, folder / "x.wav", sample_rate=16_000, num_samples=16_000, text="hi", speaker="me")]
        for split, name in ids.items()
    }
    save_corpus(folder, cuts, name=folder.name, source="test", licence="none")
    return folder


def test_equal_ids_are_found_before_the_work(tmp_path: Path) -> None:
    ann, bob = corpus(tmp_path / "ann", train="a", test="b"), corpus(tmp_path / "bob", train="c", validation="a")
    assert len(plan_corpus([ann]).cuts) == 2
    with pytest.raises(ValueError, match="all corpora and splits, but 'a' is in train of ann and in validation of bob"):
        plan_corpus([ann, bob])
    with pytest.raises(ValueError, match="'a' is in train of ann and in train of eve"):
        plan_corpus([ann, corpus(tmp_path / "eve", train="a")])
