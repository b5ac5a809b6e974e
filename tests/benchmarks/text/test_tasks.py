"""Tasks of lm-eval as they are read: other files, changes, missing data, and MMLU from a copy."""

import json
import math
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from spiritlm_pl.benchmarks.identity import asked_of
from spiritlm_pl.benchmarks.report import published
from spiritlm_pl.benchmarks.run import run_benchmark
from spiritlm_pl.benchmarks.text.benchmark import TaskBenchmark, task_names
from spiritlm_pl.benchmarks.text.scoring import TaskScorer
from spiritlm_pl.benchmarks.text.suites import LM_EVAL, MMLU

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other libraries

TASKS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_tasks.py"))))


def test_files_that_are_no_tasks_are_passed_over(tasks, tmp_path):
    for path in tasks.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "set.yaml").write_text("swuggy: data/slm21\nlm_eval: {folder: here, tasks: [a, b]}\n")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "empty.yaml").write_text("")
    assert len(TaskBenchmark(MMLU.info, "tiny_dogs", 0).read(tmp_path, {}).items) == 9


def test_a_task_without_accuracy_says_what_it_has(tasks, tmp_path):
    task = json.loads((tasks / "last.yaml").read_text()) | {"task": "other", "metric_list": [{"metric": "perplexity"}]}
    (tmp_path / "other.yaml").write_text(json.dumps(task))
    (tmp_path / "last.jsonl").write_bytes((tasks / "last.jsonl").read_bytes())
    with pytest.raises(ValueError, match="must have a metric that is a mean over documents, but other has none"):
        TaskBenchmark(MMLU.info, "other").read(tmp_path, {})
    task = json.loads((tasks / "cats.yaml").read_text()) | {"metric_list": [{"metric": "acc_norm"}]}
    (tasks / "normed.yaml").write_text(json.dumps(task | {"task": "normed"}))
    assert TaskBenchmark(MMLU.info, "normed").read(tasks, {}).notes == [
        "normed has no acc: see acc_norm by --counted-by"
    ]


def test_documents_are_judged_again_if_the_task_changes(model, tmp_path):
    """Metrics and functions that judge are part of what a line depends on; a copy elsewhere is the same task."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    TASKS.write_lines(folder / "data.jsonl", TASKS.questions(7, 5))
    task = TASKS.CHOICE | {"task": "tiny_judged", "dataset_kwargs": {"data_files": {"test": "data.jsonl"}}}
    task |= {"fewshot_split": None, "metric_list": [{"metric": "acc"}]}
    config = folder / "judged.yaml"
    config.write_text(json.dumps(task))
    benchmark, out = TaskBenchmark(LM_EVAL.info, "tiny_judged"), tmp_path / "out"

    def run():
        found = run_benchmark("judged", benchmark, folder, {}, model, "tiny", out)
        counts = {way: figures[0]["count"] for way, figures in found["figures"].items()}
        return counts, len((out / "judged/items.jsonl").read_text().splitlines())

    assert run() == run() == ({"acc": 5}, 5)
    before = [asked_of(item) for item in benchmark.read(folder, {}).items]
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert [asked_of(item) for item in benchmark.read(copy, {}).items] == before
    config.write_text(json.dumps(task | {"metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]}))
    assert run() == ({"acc": 5, "acc_norm": 5}, 10)
    (folder / "judging.py").write_text("RIGHT = 1.0\n\n\ndef judged(doc, results):\n    return {'acc': RIGHT}\n")
    written = json.dumps(task)[:-1].replace("{", "{\n", 1) + ",\n"
    config.write_text(written + '"process_results": !function judging.judged\n}\n')
    assert run() == ({"acc": 5}, 15)
    (folder / "judging.py").write_text((folder / "judging.py").read_text().replace("1.0", "0.0"))
    assert run() == ({"acc": 5}, 20)  # the function itself is as before


def test_missing_data_is_named(tmp_path):
    task = TASKS.CHOICE | {"task": "lost", "dataset_kwargs": {"data_files": {"test": "nowhere.jsonl"}}}
    (tmp_path / "lost.yaml").write_text(json.dumps(task))
    with pytest.raises(ValueError, match="data of the tasks lost must be in .* but cannot be read"):
        TaskBenchmark(MMLU.info, "lost").read(tmp_path, {})


def test_mmlu_is_read_from_a_copy_of_its_data(tmp_path, model):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet
    from lm_eval.tasks import TaskManager

    home = TaskManager.__init__.__globals__["__file__"]
    subjects = sorted(path.stem.removeprefix("mmlu_") for path in Path(home).parent.glob("mmlu/default/mmlu_*.yaml"))
    assert len(subjects) == 57
    copy = tmp_path / "cais" / "mmlu"
    configs = []
    for number, subject in enumerate(subjects):
        (copy / subject).mkdir(parents=True)
        for split, count in (("test", 2), ("dev", 5), ("validation", 1)):
            rows = [row | {"subject": subject} for row in TASKS.questions(number, count)]
            pyarrow.parquet.write_table(
                pyarrow.Table.from_pylist(rows), copy / subject / f"{split}-00000-of-00001.parquet"
            )
        files = [{"split": split, "path": f"{subject}/{split}-*"} for split in ("test", "dev", "validation")]
        configs.append({"config_name": subject, "data_files": files})
    (copy / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n")
    reading = MMLU.read(tmp_path, {})
    assert len(reading.items) == 114 and {item.num_shots for item in reading.items} == {5}
    prompt, answer = reading.items[0].requests[1]
    assert prompt.startswith("The following are multiple choice questions (with answers) about abstract algebra.\n\n")
    assert prompt.count("\nAnswer:") == 6 and prompt.endswith("\nAnswer:") and answer == " B"
    assert {item.group for item in reading.items} == {
        "mmlu_stem",
        "mmlu_other",
        "mmlu_humanities",
        "mmlu_social_sciences",
    }
    lines = TaskScorer(model).score([*reading.items[:2], *reading.items[-2:]])
    names = [figure.name for figure in MMLU.figures(lines)["acc"]]
    assert {"all", "mean_of_tasks", "task/mmlu_abstract_algebra"} < {*names} and list(MMLU.figures(lines)) == ["acc"]


def test_mmlu_stands_beside_what_is_published():
    rows = {row["model"]: row["figures"]["mmlu"] for row in published() if "mmlu" in row["figures"]}
    assert rows["Spirit LM Base 7B"] == 36.9 and rows["Spirit LM Expressive 7B"] == 33.3
    assert MMLU.info.published == "acc" and math.isclose(MMLU.info.chance, 25)
    assert task_names("a, b,a") == ["a", "b"] and LM_EVAL.parts("x", {"tasks": ["a"]})["x_a"][0].task == "a"
