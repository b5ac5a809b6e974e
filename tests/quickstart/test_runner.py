"""Stages run once, in order, and are kept; a failure names the stage and its log."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from spiritlm_pl.cli.configs import find_config
from spiritlm_pl.cli.main import guarded
from spiritlm_pl.quickstart.changes import changes_line, check_own
from spiritlm_pl.quickstart.plan import Variant, fit_options, quickstart_stages
from spiritlm_pl.quickstart.recipe import recipe_of
from spiritlm_pl.quickstart.run import quickstart
from spiritlm_pl.quickstart.runner import Runner
from spiritlm_pl.quickstart.stage import STAMPS, Stage, content_of, stage_keys
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.devices import CORES
from spiritlm_pl.runtime.left_over import this_machine


def test_a_key_follows_commands_configs_and_parents(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("x: 1\n")
    stage = Stage(name="a", title="A", commands=(("fit", "--config", str(config)),), needs=("p",))
    first = stage.key({"p": "1"})
    assert stage.key({"p": "1"}) == first
    assert stage.key({"p": "2"}) != first
    config.write_text("x: 2\n")
    assert stage.key({"p": "1"}) != first


def test_a_key_follows_the_values_of_the_parts_that_a_config_names(tmp_path: Path) -> None:
    config, part, further, other = (tmp_path / name for name in ("a.yaml", "part.yaml", "further.yaml", "other.yaml"))
    config.write_text("model: {parts: [part.yaml]}\n")
    part.write_text("x: 1\nmore: further.yaml\nback: a.yaml\n")
    stage = Stage(name="a", title="A", commands=(("fit", "--config", str(config)),))
    further.write_text("y: 1\n")
    keys = [stage.key({})]
    other.write_text("z: 1\n")
    further.write_text("# A comment.\ny: 1\n")
    assert stage.key({}) == keys[0]
    for path, text in ((further, "y: 2\n"), (part, "x: 2\nmore: further.yaml\n")):
        path.write_text(text)
        keys.append(stage.key({}))
    assert len(set(keys)) == 3


def test_the_budget_scales_the_steps_of_the_last_overlay() -> None:
    overlays = ("hubert/quickstart", "hubert/quickstart_iteration2", "hubert/quickstart_expressive")
    assert fit_options(0.1, overlays)[0] == "--trainer.max_steps=120"
    assert fit_options(0.1, overlays[:1])[0] == "--trainer.max_steps=80"
    classifier = fit_options(0.1, ("style/quickstart_classifier",))  # is measured in the end, however short
    assert classifier == ("--trainer.max_steps=60", "--trainer.val_check_interval=60")
    assert fit_options(0.5, ("style/quickstart_classifier",)) == ("--trainer.max_steps=300",)
    assert fit_options(1.0, ("hubert/quickstart",)) == ()
    assert fit_options(0.1, ("quantizer/quickstart",)) == ()  # counts in epochs


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_for_processors_that_have_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "avx512_bf16": native}, raising=False)
    options = fit_options(1.0, ("vocoder/quickstart", "vocoder/quickstart_dialogue"))
    assert options == (() if native else ("--trainer.precision=32-true",))
    assert "--trainer.precision=32-true" not in fit_options(1.0, ("hubert/quickstart",))


def test_an_interrupt_leaves_one_line_that_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table does not show what the stages themselves say of the interrupt, which ends their logs."""
    monkeypatch.chdir(tmp_path)
    stages = [Stage(name=name, title=name, commands=()) for name in ("one", "two", "three")]
    runner = Runner(stages, cores=2)

    def start(*given: object) -> None:
        runner.state |= {"one": "done", "two": "running"}
        runner.started["two"] = 0.0
        stages[1].log.parent.mkdir(parents=True)
        stages[1].log.write_text("spiritlm: interrupted; run the same command again")
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_start_ready", start)
    shown = Console(file=StringIO(), force_terminal=True, width=100)
    assert guarded(lambda: runner.run(shown)) == 130
    told = capsys.readouterr()
    assert told.err.startswith("spiritlm: interrupted; 1 of 3 stages are finished and kept, ") and not told.out
    assert told.err.count("\n") == 1 and told.err.endswith("run the same command again\n")
    assert isinstance(shown.file, StringIO) and "stopped" in shown.file.getvalue()
    assert "interrupted" not in shown.file.getvalue()


@pytest.mark.parametrize("end", [KeyboardInterrupt, ChildProcessError])
def test_the_table_ends_its_line_in_a_file(
    end: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = Runner([Stage(name="one", title="one", commands=())], cores=2)

    def start(*given: object) -> None:
        raise end

    monkeypatch.setattr(runner, "_start_ready", start)
    shown = StringIO()
    with pytest.raises(end):
        runner.run(Console(file=shown, width=100))
    assert shown.getvalue().endswith("about 0.5 min \n")


def finish(stages: list[Stage], *, with_settings: bool = True, left_out: str = "") -> None:
    """Leave the stamps of these stages, as finished runs do."""
    STAMPS.mkdir(parents=True, exist_ok=True)
    keys = stage_keys(stages)
    for stage in stages:
        if stage.name == left_out:
            continue
        stamp: dict[str, Any] = {"key": keys[stage.name], "seconds": 1.0}
        recipe = recipe_of(stage.commands, stage.configs)
        stamp |= {"settings": dict(stage.settings), "recipe": recipe} if with_settings else {}
        (STAMPS / f"{stage.name}.json").write_text(json.dumps(stamp))


def told(variant: Variant, *settings: Any) -> str:
    stages = quickstart_stages(variant, *settings)
    return changes_line(variant, stages, stage_keys(stages))


def test_what_is_made_again_for_other_settings_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told("base", "apt", 1.0, 100) == ""  # nothing is there yet
    finish(quickstart_stages("base", "apt", 1.0, 100))
    line = told("base", "apt", 1.0, 150)
    assert line.startswith("--stories is 150 instead of 100: these stages are made again, and their results replaced: ")
    assert ": spoken stories; MFCC units (baseline); HuBERT, iteration 1; " in line and "\n" not in line
    assert "real speech" not in line
    budget = told("base", "apt", 0.5, 100)
    assert budget.startswith("--budget is 0.5 instead of 1.0: ") and "spoken stories" not in budget
    both = "--source is synthetic instead of apt, --stories is 150 instead of 100: "
    assert told("base", "synthetic", 1.0, 150).startswith(both)
    # Stages that were made with other settings, on which they do not depend, are not the reason.
    finish(quickstart_stages("base", "apt", 0.5, 150), left_out="prompts")
    assert told("base", "synthetic", 0.5, 150).startswith("--source is synthetic instead of apt: ")
    assert told("expressive", "apt", 0.5, 150) == ""  # shares what is there
    assert told("expressive", "apt", 0.5, 100).endswith(": spoken stories; MFCC units (baseline); HuBERT, iteration 1.")


def test_what_has_changed_in_configurations_and_commands_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the settings of the quickstart were at that time, which change values of commands themselves."""
    monkeypatch.chdir(tmp_path)
    stamp = STAMPS / "lm.json"
    for budget in (1.0, 0.5):
        finish(quickstart_stages("base", "apt", budget, 100))
        earlier = json.loads(stamp.read_text())
        trainer = earlier["recipe"]["configs"]["lm/base_quickstart"]["trainer"]
        trainer |= {"max_steps": 400, "accelerator": "gpu", "devices": 2, "precision": "32-true"}
        earlier["recipe"]["commands"][0].append("--seed_everything=3")
        stamp.write_text(json.dumps(earlier | {"key": "another"}))
        line = told("base", "apt", 1.0, 100)
        reasons, stages = line.split(": these stages are made again, and their results replaced: ")
        assert reasons.startswith("--budget is 1.0 instead of 0.5, " if budget < 1 else "`fit` has nothing instead of")
        assert reasons.endswith(
            '`fit` has nothing instead of --seed_everything=3, trainer.accelerator of lm/base_quickstart is "cpu" '
            'instead of "gpu", trainer.devices of lm/base_quickstart is 1 instead of 2, 2 more values are others'
        )
        assert "language model, interleaved" in stages and "\n" not in line


def test_stages_of_unknown_settings_or_of_a_source_that_is_gone_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finish(quickstart_stages("base", "apt", 1.0, 100), with_settings=False)  # of an earlier version
    assert told("base", "apt", 1.0, 150).startswith("Settings, configurations or results are others than before: ")
    (tmp_path / "debs").mkdir()
    finish(quickstart_stages("base", "debs", 1.0, 100))
    (tmp_path / "debs").rmdir()
    assert told("base", "apt", 1.0, 100).startswith("--source is apt instead of debs: these stages are made again")
    shutil.rmtree(STAMPS)
    assert told("base", "apt", 0.5, 100) == ""
    begun = Path("quickstart/runs/hubert_1/stage.key")
    begun.parent.mkdir(parents=True)
    begun.write_text("that of another budget")
    anew = "raining that was begun begins anew: HuBERT, iteration 1."
    assert told("base", "apt", 0.5, 100) == f"Settings, configurations or results are others than before: t{anew}"
    finish(quickstart_stages("base", "apt", 1.0, 100))
    for stamp in STAMPS.glob("*.json"):
        if stamp.stem != "lm":
            stamp.unlink()
    line = told("base", "apt", 0.5, 100)
    assert line.startswith("--budget is 0.5 instead of 1.0: these stages are made again, and their results replaced: ")
    assert line.endswith(f"language model, interleaved. T{anew}")


def made(*stages: Stage) -> None:
    """Leave what these stages make, and their stamps."""
    keys = stage_keys(stages)
    STAMPS.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        for path in map(Path, stage.makes):
            path.mkdir(parents=True, exist_ok=True)
            (path / "model.safetensors").touch()
            (path / CHECKSUMS).write_text(f"{sha256(stage.name.encode()).hexdigest()}  model.safetensors\n")
        content = {path: content_of(path) for path in (*stage.makes, *stage.reads)}
        (STAMPS / f"{stage.name}.json").write_text(
            json.dumps({"key": keys[stage.name], "seconds": 1.0, "content": content})
        )


def two_stages() -> tuple[Stage, Stage]:
    trained = Stage(
        name="lm", title="model", commands=(), makes=("quickstart/lm",), run_folders=("quickstart/runs/lm",)
    )
    return trained, Stage(name="measure", title="measure", commands=(), needs=("lm",), reads=trained.makes)


def test_a_result_that_another_command_has_replaced_is_told_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = two_stages()
    keys = stage_keys(stages)
    made(*stages)
    Path("quickstart/lm/metrics.json").write_text("{}")  # no part of the network
    Path("quickstart/lm/adapter").mkdir()
    Path("quickstart/lm/adapter", CHECKSUMS).write_text("a list of the user, which need not be one of ours")
    check_own(stages, keys)
    assert [*Runner([*stages], cores=1).state.values()] == ["kept", "kept"]
    Path("quickstart/lm", CHECKSUMS).write_text(f"{sha256(b'another network').hexdigest()}  model.safetensors\n")
    told = (
        r"^quickstart/lm must be what the quickstart has made there \(model\), but another command has replaced it "
        "since: move quickstart/lm and quickstart/runs/lm elsewhere, and the stage is made again$"
    )
    with pytest.raises(ValueError, match=told):
        check_own(stages, keys)
    Path("quickstart/lm", CHECKSUMS).write_text("damaged")
    with pytest.raises(ValueError, match=told):
        check_own(stages, keys)
    Path("quickstart/lm", CHECKSUMS).write_text(f"{sha256(b'another network').hexdigest()}  model.safetensors\n")
    check_own(stages, dict.fromkeys(keys, "that of another budget"))  # of which a line tells that all is replaced
    Path("quickstart/lm", "model.safetensors").unlink()
    check_own(stages, keys)
    assert [*Runner([*stages], cores=1).state.values()] == ["waiting", "waiting"]
    shutil.rmtree("quickstart/lm")
    check_own(stages, keys)
    assert [*Runner([*stages], cores=1).state.values()] == ["waiting", "waiting"]
    assert changes_line("base", stages, keys).startswith(
        "Nothing is at quickstart/lm any more: these stages are made again, "
    )
    made(stages[0])
    Path("quickstart/lm", CHECKSUMS).write_text(f"{sha256(b'trained anew').hexdigest()}  model.safetensors\n")
    assert changes_line("base", stages[1:], keys).startswith(
        "quickstart/lm is another than before: these stages are made again, and their results replaced: measure."
    )


def test_files_that_have_no_list_are_known_by_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that the user puts beside them is none of the quickstart."""
    monkeypatch.chdir(tmp_path)
    stage = Stage(name="report", title="report", commands=(), makes=("quickstart/reports", "quickstart/report.md"))
    Path("quickstart/reports/more").mkdir(parents=True)
    STAMPS.mkdir(parents=True)
    for path in ("quickstart/reports/more/a.json", "quickstart/report.md"):
        Path(path).write_text("1")
    content = {path: content_of(path) for path in stage.makes}
    (STAMPS / "report.json").write_text(json.dumps({"key": "", "seconds": 1.0, "content": content}))
    Path("quickstart/reports", CHECKSUMS).write_text("of the user")
    assert stage.changed() == stage.gone() == []
    Path("quickstart/report.md").write_text("2")
    Path("quickstart/reports/more/a.json").write_text("22")
    assert stage.changed() == [*stage.makes] and stage.gone() == []
    Path("quickstart/reports/more/a.json").unlink()
    assert stage.gone() == ["quickstart/reports"]


def test_a_training_that_was_finished_does_not_go_on_from_checkpoints_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage = two_stages()[0]
    key = stage_keys([stage])["lm"]
    last = Path("quickstart/runs/lm/checkpoints/last.ckpt")
    for finished in (False, True):
        stage._resumed(key)
        last.parent.mkdir(parents=True, exist_ok=True)
        last.touch()
        if finished:
            made(stage)
        stage._resumed(key)
        assert last.is_file() != finished and stage.stamp() is None


def test_all_that_is_exported_is_noted() -> None:
    """Every folder that a training of a plan exports to is among what its stage makes."""
    for variant in ("base", "expressive"):
        for stage in quickstart_stages(variant, "apt", 1.0, 100):
            for words in (words for words in stage.commands if words[0] == "fit"):
                configs = [OmegaConf.load(find_config(name)) for name in words[2::2]]
                found = [one for config in configs if (one := re.findall(r"dirpath: (\S+)", OmegaConf.to_yaml(config)))]
                assert found and set(found[-1]) <= set(stage.makes), stage.name
            assert stage.name.startswith(("f0", "samples")) or stage.makes


def test_one_quickstart_runs_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").mkdir()
    owner = {"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}
    Path(f"quickstart/{WRITER}.1.json").write_text(json.dumps(owner))
    with pytest.raises(ValueError, match="quickstart must be a folder that no other process writes to, but process"):
        quickstart(source="synthetic")


def test_a_folder_without_the_packages_is_refused_before_a_stage_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = quickstart_stages("base", "synthetic", 1.0, 100)[0]
    made(prompts)
    before = prompts.stamp()
    Path("debs").mkdir()
    with pytest.raises(OSError, match=r"^source must be a folder with asterisk.*\(.deb\), but debs has not all"):
        quickstart(source="debs", stories=100)
    assert before is not None and prompts.stamp() == before and not Path("quickstart/logs").exists()


@pytest.mark.slow
def test_a_stage_ends_with_a_killed_quickstart(tmp_path: Path) -> None:
    """The next one begins it anew, in the same folders."""
    worker = [sys.executable, Path(__file__).with_name("killed_worker.py")]
    log = tmp_path / "quickstart" / "logs" / "a.log"
    with subprocess.Popen(worker, cwd=tmp_path) as process:
        until = time.monotonic() + 60
        while not (log.is_file() and log.read_text().endswith("\n")) and time.monotonic() < until:
            time.sleep(0.05)
        process.kill()
    stage = Path("/proc", log.read_text().strip())
    while stage.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not stage.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_processes")
def test_finished_stages_are_kept_and_failures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = Stage(name="good", title="Good", commands=(("plan", "--gpus", "[1]"),))
    bad = Stage(name="bad", title="Bad", commands=(("no-such-command",),), needs=("good",))
    console = Console(quiet=True)
    Runner([good], cores=2).run(console)
    assert "Llama" in good.log.read_text()
    runner = Runner([good, bad], cores=2)
    assert runner.state == {"good": "kept", "bad": "waiting"}
    with pytest.raises(ChildProcessError, match="'bad'.*bad.log"):
        runner.run(console)
    assert runner.failed is bad
    assert Runner([good], cores=2).state["good"] == "kept"


def test_cores_are_a_limit_for_the_stages_and_for_what_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        """Ends the quickstart where its stages would begin."""

    def begin(stages: list[Stage], cores: int, look: object) -> Runner:
        raise Begun(f"{cores} and {os.environ.get(CORES)}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spiritlm_pl.quickstart.run.Runner", begin)
    with pytest.raises(Begun, match="1 and 1"):
        quickstart(source="synthetic", cores=1)
    assert CORES not in os.environ
