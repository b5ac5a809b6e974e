"""The command's entry: overview, unknown commands, one-line errors, configurations by name."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.cli.configs import OLDER_CONFIGS, config_folder, find_config, resolve_configs, shipped_configs
from spiritlm_pl.cli.main import COMMANDS, find_command, guarded, run, told, usage, without_trust
from spiritlm_pl.registry import TRUST


def run_command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spiritlm_pl", *words], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_the_overview_names_every_command() -> None:
    for name, (_, what) in COMMANDS.items():
        assert f"  {name}" in usage() and what in usage()


def test_an_unknown_command_is_one_line_and_exit_2(tmp_path: Path) -> None:
    result = run_command("trian", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "'trian'" in result.stderr and "fit" in result.stderr


def test_an_unknown_config_names_near_ones(tmp_path: Path) -> None:
    result = run_command("fit", "--config", "lm/base_7", cwd=tmp_path)
    assert result.returncode == 2
    assert "lm/base_7b" in result.stderr and "Traceback" not in result.stderr


def test_a_part_of_configurations_is_named_as_the_value_of_its_option() -> None:
    zero3 = str(config_folder() / "parts/strategy/zero3.yaml")
    assert resolve_configs(["fit", "--trainer.strategy=parts/strategy/zero3"])[1:] == [f"--trainer.strategy={zero3}"]
    words = ["fit", "--trainer.strategy", "parts/strategy/zero3.yaml", "parts/strategy/zero3"]
    assert resolve_configs(words)[1:] == ["--trainer.strategy", zero3, "parts/strategy/zero3"]
    assert resolve_configs(["fit", "--data.units=parts/strategy/zero3"])[1:] == ["--data.units=parts/strategy/zero3"]
    rule = (
        r"^--trainer.strategy must be one of the shipped parts \(.*strategy/zero3, .*\), but is 'parts/strategy/zero'"
    )
    with pytest.raises(FileNotFoundError, match=rule):
        resolve_configs(["fit", "--trainer.strategy=parts/strategy/zero"])


def test_a_config_like_none_names_what_there_is_in_one_line() -> None:
    known = r"\(such as lm/base_quickstart; of hubert, lm, [a-z, ]*vocoder\)"
    with pytest.raises(FileNotFoundError, match=f"^--config must be a file or one of .* {known}, but is 'nix.yaml' in"):
        find_config("nix.yaml")


def test_configs_are_found_by_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = config_folder() / "lm" / "base_7b.yaml"
    for name in ("lm/base_7b", "lm/base_7b.yaml", "conf/lm/base_7b.yaml"):
        assert find_config(name) == expected
    (tmp_path / "mine.yaml").write_text("seed_everything: 1\n")
    assert find_config("mine.yaml") == Path("mine.yaml")
    assert resolve_configs(["fit", "--config=lm/base_7b", "--x", "lm/base_7b"]) == [
        "fit",
        f"--config={expected}",
        "--x",
        "lm/base_7b",
    ]


@pytest.mark.parametrize(("older", "present"), OLDER_CONFIGS.items())
def test_configs_are_found_by_their_older_names(
    older: str, present: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = find_config(present)
    assert not (config_folder() / f"{older}.yaml").exists()
    for name in (older, f"{older}.yaml", f"conf/{older}.yaml"):
        with pytest.warns(FutureWarning, match=f"configuration {older} is now {present}, and the folders"):
            assert resolve_configs(["fit", "--config", name]) == ["fit", "--config", str(expected)]
    monkeypatch.chdir(tmp_path)
    mine = Path(f"{older}.yaml")
    mine.parent.mkdir()
    mine.write_text("seed_everything: 1\n")
    assert find_config(str(mine)) == mine


@pytest.mark.parametrize(("content", "found"), [("", "nothing"), ("- a\n", "a list"), ("a\n", "a value")])
def test_a_config_without_settings_is_told(content: str, found: str, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(content)
    with pytest.raises(ValueError, match=f"--config must hold settings by their names, but .*mine.yaml holds {found}"):
        resolve_configs(["fit", "--config", str(config)])


def test_parts_are_not_offered_as_runnable() -> None:
    assert shipped_configs() and not any(name.startswith("parts") for name in shipped_configs())


def test_a_command_alone_runs_with_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, bool]] = []

    def stand_in(output: str = "quickstart", overwrite: bool = False) -> None:
        given.append((output, overwrite))

    monkeypatch.setattr("spiritlm_pl.cli.main._load", lambda where: stand_in)
    run(["quickstart"])
    run(["quickstart", "--overwrite"])
    assert given == [("quickstart", False), ("quickstart", True)]


def test_trust_is_of_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "")
    words = ["fit", "--trust", "a.b", "--config=x", "--trust=c,d.E"]
    assert without_trust(words) == ["fit", "--config=x"] and os.environ[TRUST] == "a.b,c,d.E"
    for wrong in (["serve", "--trust"], ["serve", "--trust="], ["serve", "--trust", "a b"]):
        with pytest.raises(ValueError, match="trust must be a class, module or package"):
            without_trust(wrong)


def test_of_all_types_that_were_tried_the_one_that_fits_is_told() -> None:
    tried = "Does not validate against any of the Union subtypes\nSubtypes: [A, B]\nErrors:\n  - "
    other = "A.__init__() got an unexpected keyword argument 'f0'"
    assert told(ValueError(f"{tried}{other}\n  - f0 must be one of yin\nGiven value: x")) == "f0 must be one of yin"
    assert told(ValueError(f"{tried}{other}\nGiven value: x")) == other
    assert told(ValueError("f0 must be\none of yin")) == "f0 must be one of yin"
    assert told(ValueError("these failed:\na\nb")) == "these failed:\na\nb"


class Missing(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        raise FileNotFoundError("block data/blocks/block-00000.safetensors is missing: build it again")


def test_an_error_of_a_worker_process_is_told_without_its_traceback() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        next(iter(DataLoader(Missing(), batch_size=None, sampler=[0], num_workers=1)))
    assert "Traceback" in str(caught.value)
    assert told(caught.value) == "block data/blocks/block-00000.safetensors is missing: build it again"


def test_all_lines_of_an_error_of_a_worker_process_are_told() -> None:
    head = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n"
    assert (
        told(ValueError(f"{head}ValueError: table must be X:\n  row 3 has no id\n"))
        == "table must be X:\n  row 3 has no id"
    )
    assert told(ValueError(f"{head}pyarrow.lib.ArrowInvalid: no table\n")) == "no table"


def test_user_errors_are_told_and_bugs_are_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    def user_error() -> None:
        raise ValueError("rate must be positive, but is -1 instead")

    def interrupt() -> None:
        raise KeyboardInterrupt

    def bug() -> None:
        raise KeyError("x")

    assert guarded(user_error) == 2
    assert capsys.readouterr().err == "spiritlm: error: rate must be positive, but is -1 instead\n"
    assert guarded(interrupt) == 130

    def parser_error() -> None:
        run(["fit", "--config", "lm/base_quickstart", "--data.init_args.foo=3"])

    capsys.readouterr()
    assert guarded(parser_error) == 2
    err = capsys.readouterr().err
    where = "--data.init_args.foo is not an option of spiritlm_pl.datamodules.interleaved.InterleavedDataModule"
    assert err.count("\n") == 1 and where in err
    with pytest.raises(KeyError):
        guarded(bug)


def test_values_that_a_message_repeats_do_not_break_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> None:
        raise ValueError("model must be\na folder, but is \r\x1b[2J\u2028é\ud800 字\u3000")

    assert guarded(failing) == 2
    expected = r"model must be a folder, but is \r\x1b[2J\u2028é\ud800 字" + "\u3000"
    assert capsys.readouterr().err == f"spiritlm: error: {expected}\n"


def test_commands_of_other_packages_never_hide_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {name: EntryPoint(name, "json:dumps", "spiritlm_pl.commands") for name in ("serve", "fit", "their_own")}
    monkeypatch.setattr("spiritlm_pl.cli.main.registered", lambda group: points)
    with pytest.warns(UserWarning, match="of other packages are not used where spiritlm has its own: fit, serve"):
        assert "their-own" in usage()
    assert find_command(["serve"])[0].__module__ == "spiritlm_pl.cli.serve"
    with pytest.warns(UserWarning, match="not used"):
        assert find_command(["their-own"])[0] is json.dumps

    def refuse(group: str) -> None:
        raise ValueError("names of commands must be unique, but 'x' is registered twice")

    monkeypatch.setattr("spiritlm_pl.cli.main.registered", refuse)
    with pytest.warns(UserWarning, match="must be unique"):
        assert "serve" in usage()
    assert find_command(["serve"])[0].__module__ == "spiritlm_pl.cli.serve"
