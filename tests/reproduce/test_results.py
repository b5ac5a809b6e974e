"""Results are kept step by step, merged between folders, and told in a report."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from spiritlm_pl.reproduce.findings import findings_file
from spiritlm_pl.reproduce.folder import copy_tokenizer, has_tokenizer, shared_settings
from spiritlm_pl.reproduce.merge import merge
from spiritlm_pl.reproduce.plan import Settings, Task, all_tasks, plan_file
from spiritlm_pl.reproduce.report import PICTURES, build_report, markdown, read_runs, short_rows, write_report
from spiritlm_pl.reproduce.results import add_step, done_steps, is_complete, read_result, result_path
from spiritlm_pl.reproduce.run import reproduce
from spiritlm_pl.reproduce.work import Workers
from spiritlm_pl.runtime.claims import take

SETTINGS = Settings(100, 1.0, dict.fromkeys(plan_file()["tokenizers"], "abc"))
DIRECTIONS = ("text_to_text", "speech_to_speech", "speech_to_text", "text_to_speech")


def run_of(condition: str, seed: int = 0) -> Task:
    return next(task for task in all_tasks(SETTINGS, [condition], 5) if task.name == f"{condition}-{seed}")


def write_figures(
    folder: Path, task: Task, points: list[float], losses: dict[str, float] | None = None, size: int = 1
) -> None:
    """Write what the commands of a run leave, and add all its steps."""
    place = folder / "runs" / task.name
    (place / "export").mkdir(parents=True, exist_ok=True)
    (place / "export/metrics.json").write_text(json.dumps({"train/loss": 3.0} | (losses or {"val/text/loss": 1.5})))
    save_file(
        {"model.layers.0.a": torch.zeros(2 * size, 3), "model.embed": torch.zeros(9)},
        place / "export/model.safetensors",
    )
    scores = {name: {"points": points, "right": [], "wrong": []} for name in DIRECTIONS}
    (place / "scores.json").write_text(json.dumps({"ids": [f"story {n}" for n in range(len(points))]} | scores))
    layers = [{"layer": n, "same": {"value": 0.5 * points[0]}, "other": {"value": 0.1}} for n in range(3)]
    (place / "words.json").write_text(json.dumps({"model": layers}))
    for step in task.steps:
        add_step(folder, task, step, 30.0, step.command)


def test_a_result_grows_by_steps_and_tells_where_it_comes_from(tmp_path: Path) -> None:
    task = run_of("none")
    write_figures(tmp_path, task, [1.0, 0.0])
    result = read_result(tmp_path, task.name)
    assert is_complete(result, task) and (result["condition"], result["seed"]) == ("none", 0)
    train = result["steps"]["train"]
    assert train["figures"]["metrics"] == {"val/text/loss": 1.5}
    assert train["figures"]["size"] == {"weights": 6}
    assert train["machine"]["host"] and train["code"] and train["seconds"] == 30.0
    assert train["command"] == list(task.steps[0].command)
    add_step(tmp_path, task, task.steps[0], 1.0, ())  # trained anew: what was measured is of no use
    assert list(done_steps(read_result(tmp_path, task.name), task.steps)) == ["train"]


def test_results_of_other_settings_do_not_count(tmp_path: Path) -> None:
    write_figures(tmp_path, run_of("none"), [1.0])
    others = all_tasks(Settings(100, 0.5, SETTINGS.tokenizers), ["none"], 1)
    assert not is_complete(read_result(tmp_path, "none-0"), others[-1])
    assert read_runs(tmp_path, others) == {}


def test_a_broken_result_is_named(tmp_path: Path) -> None:
    result_path(tmp_path, "none-0").parent.mkdir(parents=True)
    result_path(tmp_path, "none-0").write_text("{}")
    with pytest.raises(ValueError, match="none-0.json"):
        read_result(tmp_path, "none-0")


def write_settings(folder: Path, stories: int = 100, budget: float = 1.0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps({"stories": stories, "budget": budget}))


def points_of(folder: Path, name: str) -> list[float]:
    found: list[float] = read_result(folder, name)["steps"]["choice"]["figures"]["points"]["speech_to_text"]
    return found


def test_folders_are_merged(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    tasks = [run_of("none", seed) for seed in range(2)]
    write_figures(here, tasks[0], [1.0])
    for task in tasks:
        write_figures(there, task, [0.0])
    assert merge(here, [there], tasks) == 1 and merge(here, [there], tasks) == 0
    assert points_of(here, "none-0") == [1.0]  # what was here stays
    assert read_result(here, "none-1") == read_result(there, "none-1") | {"merged_from": str(there)}
    assert not list((here / "claims").glob("*.json"))
    with pytest.raises(ValueError, match="merge must name folders"):
        merge(here, [tmp_path / "nowhere"], tasks)


def test_a_valid_result_is_merged_whole_over_one_that_does_not_count(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    task = run_of("none")
    old = all_tasks(Settings(100, 0.5, SETTINGS.tokenizers), ["none"], 1)[-1]
    write_figures(here, old, [1.0])
    write_figures(there, task, [0.0])
    assert merge(here, [there], [task]) == 1
    assert is_complete(read_result(here, "none-0"), task) and points_of(here, "none-0") == [0.0]
    add_step(here, task, task.steps[0], 60.0, ())  # a training of this folder, and nothing measured
    assert merge(here, [there], [task]) == 1
    assert read_result(here, "none-0")["steps"]["train"]["seconds"] == 30.0  # theirs, as all that was measured


def test_a_run_that_a_process_works_on_is_not_replaced(tmp_path: Path) -> None:
    write_figures(tmp_path / "there", run_of("none"), [0.0])
    claim = take(tmp_path / "here/claims", "none-0")
    assert claim is not None
    assert merge(tmp_path / "here", [tmp_path / "there"], [run_of("none")]) == 0
    claim.release()
    assert merge(tmp_path / "here", [tmp_path / "there"], [run_of("none")]) == 1


def test_folders_of_other_settings_are_not_merged(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for others, wrong in (((100, 0.5), "budget of .*, 1, but .* has 0.5"), ((300, 1.0), "stories of .*, 100")):
        task = all_tasks(Settings(*others, SETTINGS.tokenizers), ["none"], 1)[-1]
        write_figures(there, task, [0.0])
        write_settings(here)
        write_settings(there, *others)
        with pytest.raises(ValueError, match=wrong):
            merge(here, [there], [run_of("none")])
        write_settings(there)  # settings alone do not make results of the same kind
        with pytest.raises(ValueError, match="all runs of .*there have others"):
            merge(here, [there], [run_of("none")])
    assert not read_result(here, "none-0")


def test_what_is_merged_is_no_ground_for_other_runs(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    tasks = all_tasks(SETTINGS, ["warm"], 1)  # which goes on from text-0
    text = next(task for task in tasks if task.name == "text-0")
    write_figures(there, text, [0.0])
    (here / text.makes).mkdir(parents=True)  # of a training that was killed, or of an older plan
    assert merge(here, [there], tasks) == 1 and is_complete(read_result(here, "text-0"), text)
    assert "text-0" in Workers(here, tasks, 1, Console(quiet=True)).wanted
    write_figures(here, text, [0.0])  # trained here
    assert "text-0" not in Workers(here, tasks, 1, Console(quiet=True)).wanted


def test_the_report_tells_nothing_of_results_that_do_not_count(tmp_path: Path) -> None:
    old = all_tasks(Settings(100, 0.5, SETTINGS.tokenizers), ["none"], 1)
    write_figures(tmp_path, old[-1], [1.0])
    report = build_report(tmp_path, all_tasks(SETTINGS, ["none"], 1), SETTINGS, [1])
    assert report["core_hours"] == 0 and report["machines"] == [] and report["code"] == []
    assert build_report(tmp_path, old, SETTINGS, [1])["core_hours"] > 0


def test_the_report_tells_verdicts_intervals_and_the_paper(tmp_path: Path) -> None:
    runs = [run_of(name, seed) for name in ("interleaved", "none", "asr_tts") for seed in range(5)]
    for task in runs:
        good = task.condition == "interleaved"
        points = [1.0] * 19 + [float(task.seed != 0)] if good else [0.0] * 15 + [1.0] * 5
        write_figures(tmp_path, task, points)
    report = build_report(tmp_path, runs, SETTINGS, [1, 7])
    first = report["findings"]["1"]
    assert first["verdict"] == "seen" and report["findings"]["7"]["verdict"] == "seen"
    said = first["statements"][0]
    assert said["published"] == (88.6, 71.9) and said["difference"]["seeds"] == 5 and said["difference"]["items"] == 20
    assert first["statements"][-1]["verdict"] == "too few runs" and first["minutes"]["none"] == 1.5
    text = markdown(report)
    assert "| 1. " in text and "**seen**" in text and "+16.7 (88.6 and 71.9)" in text
    written = write_report(tmp_path, report)
    assert {path.name for path in written} == {"report.md", "report.json", "report.png", "report_layers.png"}
    assert all(path.stat().st_size > 500 for path in written)
    told = (tmp_path / "report.md").read_text()
    assert [name for name in PICTURES if f"![{name}]({name})" in told] == ["report.png", "report_layers.png"]


def test_all_rows_of_a_table_have_as_many_cells(tmp_path: Path) -> None:
    conditions = findings_file()["findings"][8]["conditions"]
    for number, condition in enumerate(conditions):
        for seed in range(2):
            task = run_of(condition, seed)
            losses = {"val/text/loss": 3.0 - 0.1 * number, "val/speech/loss": 4.0 - 0.1 * number}
            write_figures(
                tmp_path, task, [1.0, 0.0], losses | {"perf/tokens": 1000.0 * (1 + number % 3)}, 1 + number // 3
            )
    numbers = sorted(findings_file()["findings"])
    every = [name for one in numbers for name in findings_file()["findings"][one]["conditions"]]
    for condition in {*every} - {*conditions}:
        if "kind" not in plan_file()["conditions"][condition]:  # a language model
            write_figures(tmp_path, run_of(condition), [1.0, 0.0])
    report = build_report(tmp_path, all_tasks(SETTINGS, every, 2), SETTINGS, numbers)
    assert set(report["findings"]["8"]["scaling"]["exponents"]) == {"text", "speech"}
    text = markdown(report)
    assert "| 4. Lengths of spans | **figures only** | 1 |" in text  # where no statement decides, all count
    short = {number: short_rows(one) for number, one in report["findings"].items()}
    assert [verdict for _, _, verdict in short["4"]] == ["figures only"] * 2
    assert [text for text, _, _ in short["8"]][:2] == [
        *("loss of text falls with size as N^-", "loss of text falls with tokens as D^-")
    ]
    assert all(short.values()) and len(short["1"]) == 4
    tables: list[list[str]] = [[]]
    for line in text.splitlines():
        tables[-1].append(line) if line.startswith("|") else tables.append([])
    counts = [{line.count("|") for line in table} for table in tables if table]
    assert len(counts) > len(numbers) and all(len(count) == 1 for count in counts)


@pytest.mark.parametrize(("budget", "said"), [(0.5, True), (1.0, False), (2.0, False)])
def test_a_report_on_runs_shorter_than_planned_says_so(tmp_path: Path, budget: float, said: bool) -> None:
    settings = replace(SETTINGS, budget=budget)
    report = build_report(tmp_path, all_tasks(settings, ["none"], 1), settings, [1])
    assert markdown(report).startswith(f"Runs are shorter than planned (budget {budget:g})") == said


def test_a_report_without_results_has_no_picture(tmp_path: Path) -> None:
    report = build_report(tmp_path, all_tasks(SETTINGS, ["none"], 1), SETTINGS, [1])
    assert report["findings"]["1"]["verdict"] == "too few runs"
    assert {path.name for path in write_report(tmp_path, report)} == {"report.md", "report.json"}
    assert "![" not in (tmp_path / "report.md").read_text()
    assert short_rows({"title": "Lengths", "statements": [], "verdict": "figures only"})[0][1] == "–"


def test_findings_that_were_not_run_are_named_in_one_line(tmp_path: Path) -> None:
    for condition in ("interleaved", "none"):
        write_figures(tmp_path, run_of(condition), [1.0, 0.0])
    numbers = sorted(findings_file()["findings"])
    every = [name for one in numbers for name in findings_file()["findings"][one]["conditions"]]
    text = markdown(build_report(tmp_path, all_tasks(SETTINGS, every, 1), SETTINGS, numbers))
    told = next(line for line in text.splitlines() if line.startswith("Not run, and so not shown: 2. A start from"))
    assert "4. Lengths of spans; 5. " in told and told.endswith("(--only '[2, 4, 5, 6, 8, 9]' runs them).")
    assert [line.split(".")[0] for line in text.splitlines() if line.startswith("### ")] == ["### 1", "### 3", "### 7"]
    assert text.count("Lengths of spans") == 1
    text = markdown(build_report(tmp_path, all_tasks(SETTINGS, ["none"], 1), SETTINGS, [4]))
    assert "Not run, and so not shown: 4. Lengths of spans" in text and "|" not in text


def test_a_report_on_fewer_findings_and_seeds_tells_all_that_the_folder_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    reproduce(str(out), str(quickstart(tmp_path / "quickstart", b"1")), stories=100, report_only=True)
    settings = shared_settings(out, plan_file()["tokenizers"], None, None, (0, 0.0))
    names = [name for number in (2, 7) for name in findings_file()["findings"][number]["conditions"]]
    tasks = all_tasks(settings, names, 5)
    for task in tasks:
        if task.condition:
            write_figures(out, task, [1.0, 0.0])
    reproduce(str(out), report_only=True)
    whole = json.loads((out / "report.json").read_text())
    for only, seeds in (([2], 5), ([2, 8], 3), ([8], 1)):
        capsys.readouterr()
        reproduce(str(out), only=only, seeds=seeds, report_only=True)
        found, told = json.loads((out / "report.json").read_text()), (out / "report.md").read_text()
        assert found["core_hours"] == whole["core_hours"] > 0
        for number in ("2", "7"):  # with all seeds, whatever was asked for
            assert found["findings"][number] == whole["findings"][number] | {"asked": int(number) in only}
            assert found["findings"][number]["statements"][0]["difference"]["seeds"] == 5
        assert "Not asked for this time, and told from results that are there: 1, " in told
        assert "Not asked for this time" in capsys.readouterr().out
        assert ("Not run, and so not shown: 8. " in told) == (8 in only) and "5. What the units are" not in told


def quickstart(folder: Path, weights: bytes) -> Path:
    for place in plan_file()["tokenizers"].values():
        (folder / place / "network").mkdir(parents=True)
        (folder / place / "network/model.safetensors").write_bytes(weights)
    return folder


def test_tokenizers_and_settings_stay_those_of_the_folder(tmp_path: Path) -> None:
    out, names = tmp_path / "out", list(plan_file()["tokenizers"])
    first_quickstart, second = quickstart(tmp_path / "a", b"1"), quickstart(tmp_path / "b", b"2")
    assert has_tokenizer(first_quickstart, names[0]) and not has_tokenizer(tmp_path / "empty", names[0])
    for name in names * 2:
        copy_tokenizer(out, first_quickstart, name)
        with pytest.raises(ValueError, match="quickstart must be the one"):
            copy_tokenizer(out, second, name)
    first = shared_settings(out, names, 300, None, (2000, 1.0))
    assert (first.stories, first.budget) == (300, 1.0) and set(first.tokenizers) == set(names)
    assert shared_settings(out, names, None, None, (2000, 1.0)) == first
    with pytest.raises(ValueError, match="stories must be that of"):
        shared_settings(out, names, 400, None, (2000, 1.0))
    wrong = (
        '{"stories": "300", "budget": 1.0}',
        '{"stories": 300, "budget": -1.0}',
        '{"stories": 300, "budget": 1e308}',
    )
    for text in ("[]", "{}", *wrong, "{"):
        (out / "settings.json").write_text(text)
        with pytest.raises(ValueError, match="settings.json must"):
            shared_settings(out, names, None, None, (2000, 1.0))


def test_two_processes_may_copy_a_tokenizer_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(plan_file()["tokenizers"]))
    first, second = quickstart(tmp_path / "a", b"1"), quickstart(tmp_path / "b", b"2")
    replace = Path.replace

    def slower(source: Path, target: Path) -> Path:
        """Let another process be faster."""
        shutil.copytree(first / plan_file()["tokenizers"][name], target)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", slower)
    copy_tokenizer(tmp_path / "out", first, name)
    assert [path.name for path in (tmp_path / "out/tokenizers").iterdir()] == [name]
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ValueError, match="quickstart must be the one"):
        copy_tokenizer(tmp_path / "out", second, name)


def test_findings_without_their_tokenizer_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "plain/model/speech_tokenizer"
    plain.mkdir(parents=True)
    (plain / "model.safetensors").write_bytes(b"1")
    reproduce(str(tmp_path / "out"), str(tmp_path / "plain"), report_only=True)
    told = " ".join(capsys.readouterr().out.split())
    assert "Finding 5 is left out" in told and "Finding 6 is left out" in told and "Finding 1 is" not in told
    assert "Not run, and so not shown: 1. " in (tmp_path / "out/report.md").read_text() and "Not run" in told
    reproduce(str(tmp_path / "out"), report_only=True)
    assert f"in {tmp_path / 'out/tokenizers'}." in "".join(capsys.readouterr().out.splitlines())
    with pytest.raises(ValueError, match="hubert_2"):
        reproduce(str(tmp_path / "out"), only=[6], report_only=True)
    with pytest.raises(ValueError, match="only must be numbers"):
        reproduce(str(tmp_path / "out"), only=[99])
    with pytest.raises(ValueError, match="seeds must be at least 1"):
        reproduce(str(tmp_path / "out"), seeds=0)
    with pytest.raises(ValueError, match="model/speech_tokenizer"):
        reproduce(str(tmp_path / "new"))
    with pytest.raises(ValueError, match="out must be a folder .* with settings.json, but .*new is not there"):
        reproduce(str(tmp_path / "new"), report_only=True)


def test_findings_whose_program_is_not_installed_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []

    def run(workers: Workers) -> set[str]:
        """Do nothing."""
        begun[:] = workers.wanted
        return set()

    monkeypatch.setattr(Workers, "run", run)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    source, out = quickstart(tmp_path / "quickstart", b"1"), tmp_path / "out"
    reproduce(str(out), str(source), seeds=1)
    told = " ".join(capsys.readouterr().out.split())
    assert "5 tasks are left out: apt-get is not installed, without which there are no runs of finding 9." in told
    assert "none-0" in begun and not {"prompts", "natural-0", "natural_none-0"} & set(begun)
    with pytest.raises(ValueError, match="only must be findings that can be run here, but apt-get is not installed"):
        reproduce(str(out), seeds=1, only=[1, 9])
    found = {
        task.name: task for task in all_tasks(shared_settings(out, ["hubert"], None, None, (0, 0.0)), ["natural"], 1)
    }
    prompts = found["prompts"]
    (out / prompts.makes).mkdir(parents=True)  # by another machine, which has the program
    for step in prompts.steps:
        add_step(out, prompts, step, 1.0, step.command)
    reproduce(str(out), seeds=1, only=[9])
    assert "natural-0" in begun and "prompts" not in begun


def test_a_report_tells_of_results_that_do_not_count_and_leaves_no_earlier_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce(str(tmp_path / "out"), str(quickstart(tmp_path / "quickstart", b"1")), only=[1], report_only=True)
    assert "not counted" not in capsys.readouterr().out
    path = result_path(tmp_path / "out", "none-0")
    path.parent.mkdir()
    path.write_text(json.dumps({"name": "none-0", "steps": {"train": {"key": "of an earlier version", "figures": {}}}}))
    (tmp_path / "out/report.png").write_bytes(b"of an earlier report")
    reproduce(str(tmp_path / "out"), only=[1], report_only=True)
    told = " ".join(capsys.readouterr().out.split())
    line = "Results of other commands or configurations than this version's, not counted: 1, of findings 1, "
    assert line in told and line in (tmp_path / "out/report.md").read_text()
    assert "report.png" not in told and not (tmp_path / "out/report.png").exists()
