"""A miniature is written whole or not at all, and beside what the user has in the folder."""

from pathlib import Path

import pytest

from spiritlm_pl.benchmarks.make.miniature import _staged


def test_two_runs_and_hidden_folders_of_the_user_do_not_meet(tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = out / ".unfinished-items" / "mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(KeyboardInterrupt, match="nothing was written"), _staged(out, ["items"]) as first:
        (first / "items").mkdir()
        with _staged(out, ["items"]) as second:
            (second / "items").mkdir()
            (second / "items" / "of the second").touch()
        assert (first / "items").is_dir()
        raise KeyboardInterrupt
    assert mine.is_file() and (out / "items" / "of the second").is_file()
    assert sorted(path.name for path in out.iterdir()) == [".unfinished-items", "items"]
