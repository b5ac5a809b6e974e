"""Score files for the official toolkit; `check_official.py` runs it on them."""

from pathlib import Path

import pytest
import yaml

from spiritlm_pl.benchmarks.items import ChoiceLine
from spiritlm_pl.benchmarks.official import write_submission


def line(name: str, right: float, wrong: float) -> ChoiceLine:
    return ChoiceLine(name, (f"{name}r", f"{name}w"), {"id": name, "voice": "A"}, {"mean": (right, wrong)}, (1, 1))


def test_score_files(tmp_path: Path) -> None:
    lines = {"lexical/dev": [line("a", -1 / 3, -2.0)], "syntactic/test": [line("b", 1e-20, 0.1)]}
    write_submission(tmp_path, lines, "mean", {"system_description": "Müller's"}, {"authors": "A, B"})
    assert (tmp_path / "lexical" / "dev.txt").read_text() == "ar -0.3333333333333333\naw -2.0\n"
    assert (tmp_path / "syntactic" / "test.txt").read_text() == "br 1e-20\nbw 0.1\n"
    meta = yaml.safe_load((tmp_path / "meta.yaml").read_text(encoding="utf-8"))
    assert meta["benchmark_name"] == "sLM21" and meta["publication"]["authors"] == "A, B"
    assert meta["model_info"]["system_description"] == "Müller's" and meta["model_info"]["train_set"] == "not told"
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["quiet"] is False


def test_what_the_toolkit_could_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parts must be among lexical/dev, .* but are lexical/train"):
        write_submission(tmp_path, {"lexical/train": []}, "mean")
    with pytest.raises(ValueError, match=r"scores must be finite, but that of aw \(lexical/dev\) is -inf"):
        write_submission(tmp_path, {"lexical/dev": [line("a", 1.0, float("-inf"))]}, "mean")
    with pytest.raises(ValueError, match="a file must have one score, but ar .* has 1.0 and 2.0"):
        write_submission(tmp_path, {"lexical/dev": [line("a", 1.0, 0.0), line("a", 2.0, 0.0)]}, "mean")
    with pytest.raises(ValueError, match="fields of model_info must be .* but are name"):
        write_submission(tmp_path, {}, "mean", {"name": "x"})
    assert not list(tmp_path.iterdir())
