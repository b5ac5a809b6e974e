"""Builds that are interrupted, fail, or find what another build has left."""

import os
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.main import run
from spiritlm_pl.data import build_blocks as build_module
from spiritlm_pl.data.build_blocks import build_blocks
from spiritlm_pl.runtime.array_files import save_arrays

from .conftest import blocks_of


def test_a_failed_build_leaves_the_last_one(units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    arguments = [str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "blocks")
    build_blocks(*arguments)
    folder = tmp_path / "blocks"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    written: list[object] = []

    def full_at_the_fourth(*given: object, **named: object) -> None:
        written.append(given)
        if len(written) == 4:  # of the validation split
            raise OSError(28, "No space left on device")
        save_arrays(*given, **named)

    monkeypatch.setattr("spiritlm_pl.data.blocks.save_arrays", full_at_the_fourth)
    with pytest.raises(OSError, match="No space left"):
        build_blocks(*arguments, seed=1)
    assert {path: path.read_bytes() for path in before} == before
    monkeypatch.undo()
    build_blocks(*arguments, seed=1)  # goes on with what was sorted
    assert not list(folder.glob(".*"))
    build_blocks(*arguments[:2], str(tmp_path / "whole"), seed=1)
    assert blocks_of(folder) == blocks_of(tmp_path / "whole")


def test_what_was_sorted_for_another_build_is_not_used(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    arguments = [str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "blocks")

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    for seed, told in ((1, True), (2, False)):
        monkeypatch.setattr("spiritlm_pl.data.build_blocks.write_manifest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_blocks(*arguments, seed=1)
        monkeypatch.undo()
        capsys.readouterr()
        build_blocks(*arguments, seed=seed)
        assert ("going on where an earlier run was interrupted" in capsys.readouterr().err) == told
        build_blocks(*arguments[:2], str(tmp_path / f"whole{seed}"), seed=seed)
        assert blocks_of(tmp_path / "blocks") == blocks_of(tmp_path / f"whole{seed}")


@pytest.mark.parametrize("damaged", ["*.safetensors", "task-*.json"])
def test_what_is_damaged_of_an_interrupted_build_is_made_again(
    damaged: str, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    arguments = [str(units)], str(tmp_path / "tokenizer")
    build_blocks(*arguments, str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr("spiritlm_pl.data.build_blocks.GroupWriter.__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_blocks(*arguments, str(tmp_path / "blocks"))
    path = next((tmp_path / "blocks/.new/records").glob(damaged))
    path.write_bytes(path.read_bytes()[:-2] + b"\1")
    build_blocks(*arguments, str(tmp_path / "blocks"))
    assert "is damaged: it is made again" in capsys.readouterr().err
    assert blocks_of(tmp_path / "blocks") == blocks_of(tmp_path / "whole")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_text_that_changes_while_it_is_read_is_refused(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    path = tmp_path / "a.txt"
    path.write_text("the cat sat\n" * 9)
    groups = build_module.plan_build

    def changed(*inputs: Any, **others: Any) -> Any:
        found = groups(*inputs, **others)
        path.write_text("the dog ran\n" * 9)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(build_module, "plan_build", changed)
    with pytest.raises(ValueError, match=r"a.txt has changed meanwhile"):
        build_blocks([str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "out"), [str(path)])


def test_a_build_that_was_killed_while_it_was_put_in_place_is_built_again(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    arguments = [str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "blocks")
    build_blocks(*arguments)
    rename, times = Path.rename, []

    def killed_at_the_third(path: Path, target: Path) -> Path:
        times.append(path)
        if len(times) == 3:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_blocks(*arguments, seed=1)
    monkeypatch.undo()
    build_blocks(*arguments, seed=1)
    build_blocks(*arguments[:2], str(tmp_path / "whole"), seed=1)
    assert blocks_of(tmp_path / "blocks") == blocks_of(tmp_path / "whole")
