"""Every run can be run: commands, configurations, needs; keys change with what a run depends on, and else not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from spiritlm_pl.cli import configs
from spiritlm_pl.cli.configs import find_config
from spiritlm_pl.cli.main import COMMANDS, TRAINER_SUBCOMMANDS, find_command
from spiritlm_pl.cli.overwriting import overwriting
from spiritlm_pl.cli.parser import command_parser, parsed
from spiritlm_pl.reproduce import plan
from spiritlm_pl.reproduce.findings import CHANCE, findings_file
from spiritlm_pl.reproduce.plan import Settings, Task, all_tasks, needed_tokenizers, plan_file

SETTINGS = Settings(100, 1.0, dict.fromkeys(plan_file()["tokenizers"], "abc"))
CONDITIONS = tuple(plan_file()["conditions"])


def tasks(settings: Settings = SETTINGS, conditions: tuple[str, ...] = CONDITIONS, seeds: int = 2) -> dict[str, Task]:
    return {task.name: task for task in all_tasks(settings, conditions, seeds)}


def keys(found: dict[str, Task]) -> dict[str, list[str]]:
    return {name: [step.key for step in task.steps] for name, task in found.items()}


def test_each_task_stands_after_what_it_needs_and_each_run_is_there_once() -> None:
    done: set[str] = set()
    for name, task in tasks().items():
        assert set(task.needs) <= done and name not in done
        done.add(name)
    assert {f"{name}-{seed}" for name in CONDITIONS for seed in (0, 1)} <= done


def test_all_commands_take_their_arguments() -> None:
    for task in tasks(seeds=1).values():
        for step in task.steps:
            assert "$" not in " ".join(step.command)
            assert step.command[0] in COMMANDS or step.command[0] in TRAINER_SUBCOMMANDS
            if step.command[0] in COMMANDS:
                target, program, rest = find_command([*step.command, *overwriting(step.command)])
                parser = command_parser(target, program)
                parsed(parser, parser, rest)


def test_findings_name_what_there_is() -> None:
    for finding in findings_file()["findings"].values():
        assert set(finding["conditions"]) <= set(CONDITIONS)
        assert set(finding["shown"]) <= set(findings_file()["measures"])
        for said in finding["statements"]:
            assert {said["better"], said["worse"]} <= {*finding["conditions"], CHANCE}
            assert said["measure"] in findings_file()["measures"]


def test_every_condition_serves_a_finding() -> None:
    used = {name for finding in findings_file()["findings"].values() for name in finding["conditions"]}
    assert used == set(CONDITIONS)


def test_a_warm_start_follows_the_text_model_of_its_seed() -> None:
    found = tasks(conditions=("warm",))
    assert set(found) >= {"warm-0", "text-0", "warm-1", "text-1"}
    assert "text-1" in found["warm-1"].needs and any(
        "runs/text-1/export" in w for w in found["warm-1"].steps[0].command
    )


def test_a_budget_changes_the_steps_of_training_and_its_key() -> None:
    whole, part = (tasks(replace(SETTINGS, budget=budget)) for budget in (1.0, 0.1))
    steps = plan_file()["steps"]
    assert f"--trainer.max_steps={steps}" in whole["none-0"].steps[0].command
    assert f"--trainer.max_steps={round(0.1 * steps)}" in part["none-0"].steps[0].command
    assert keys(whole)["none-0"] != keys(part)["none-0"] and keys(whole)["blocks"] == keys(part)["blocks"]


def test_keys_follow_stories_and_tokenizers() -> None:
    some = ("interleaved", "warm", "mfcc")
    before = keys(tasks(conditions=some))
    others = keys(tasks(replace(SETTINGS, stories=200), some))
    assert not [name for name in before if before[name] == others[name]]
    units = keys(tasks(replace(SETTINGS, tokenizers=dict.fromkeys(SETTINGS.tokenizers, "def")), some))
    assert [name for name in before if before[name] == units[name]] == ["stories", "text_tokenizer"]


def test_a_further_step_or_condition_leaves_the_keys_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(tasks(conditions=("interleaved", "none")))
    changed = yaml.safe_load(yaml.safe_dump(plan_file(), sort_keys=False))
    changed["steps_of"]["lm"]["steps"]["more"] = {"command": "evaluate codes '[${units}]' codes.json"}
    monkeypatch.setattr(plan, "plan_file", lambda: changed)
    after = keys(tasks(conditions=("interleaved", "none")))
    assert all(after[name][: len(found)] == found for name, found in before.items())
    assert len(after["none-0"]) == len(before["none-0"]) + 1


def test_a_comment_in_a_configuration_changes_no_key_and_a_value_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(tasks(conditions=("none",)))
    config = tmp_path / "lm.yaml"
    config.write_text("# more\n" + find_config("lm/reproduce").read_text())
    monkeypatch.setattr(configs, "find_config", lambda name: config if name == "lm/reproduce" else find_config(name))
    assert keys(tasks(conditions=("none",))) == before
    config.write_text(config.read_text().replace("lr: 2.0e-3", "lr: 1.0e-3"))
    after = keys(tasks(conditions=("none",)))
    assert after["none-0"] != before["none-0"] and after["blocks"] == before["blocks"]


def test_a_key_follows_the_parts_that_a_configuration_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(tasks(conditions=("rate_25", "none"), seeds=1))
    shutil.copytree(configs.config_folder(), tmp_path / "conf")
    monkeypatch.setattr(configs, "config_folder", lambda: tmp_path / "conf")
    assert keys(tasks(conditions=("rate_25", "none"), seeds=1)) == before
    part = tmp_path / "conf/parts/model/hubert_tiny.yaml"
    part.write_text(part.read_text().replace("num_layers: 4", "num_layers: 3"))
    after = keys(tasks(conditions=("rate_25", "none"), seeds=1))
    assert after["none-0"] == before["none-0"] and after["units_25hz"] != before["units_25hz"]


def test_tokenizers_are_those_that_the_runs_need() -> None:
    assert needed_tokenizers(["none"]) == ["hubert"]


def test_recordings_are_measured_on_sentences_of_their_own_and_stories_on_near_endings() -> None:
    found = tasks(conditions=("interleaved", "natural", "natural_none"), seeds=1)
    for name in ("natural-0", "natural_none-0"):
        train, choice, words = (" ".join(step.command) for step in found[name].steps)
        assert "units/natural/prompts" in choice and "--kind=sentences" in choice and "--rivals" not in choice
        assert "units/natural/prompts" in words and train.count("text_tokenizer_natural") == 1
    assert "--rivals=near" in found["interleaved-0"].steps[1].command
    modes = [" ".join(found[name].steps[0].command).count("mode=none") for name in ("natural-0", "natural_none-0")]
    assert modes == [0, 1]
