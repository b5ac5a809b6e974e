"""Tasks of lm-eval: figures equal to its own command's, to the last digit, and what is refused."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.benchmarks.identity import asked_of
from spiritlm_pl.benchmarks.report import published
from spiritlm_pl.benchmarks.results import read_lines
from spiritlm_pl.benchmarks.run import run_benchmark
from spiritlm_pl.benchmarks.text.benchmark import TaskBenchmark, task_names
from spiritlm_pl.benchmarks.text.scoring import TaskScorer
from spiritlm_pl.benchmarks.text.suites import LM_EVAL, MMLU
from spiritlm_pl.cli.main import main
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.folder import save_lm

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other libraries
WORDS = ["the", "cat", "sat", "on", "mat", "a", "dog", "ran", "off"]


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def network(tiny_lm):
    """Weights that prefer some words, so that answers differ."""
    torch.manual_seed(11)
    config = LlamaConfig.from_dict(tiny_lm[0].config.to_dict() | {"max_position_embeddings": 256})
    found = LlamaForCausalLM(config).eval()
    for weights in found.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    return found


@pytest.fixture(scope="module")
def model(network, tiny_lm):
    return SpiritLM(network, *tiny_lm[1:])


@pytest.fixture(scope="module")
def folder(network, tiny_lm, tmp_path_factory):
    made = tmp_path_factory.mktemp("model")
    save_lm(made / "lm", network, tiny_lm[2], tiny_lm[1])
    return made


def sentences(seed, count, length):
    generator = torch.Generator().manual_seed(seed)
    return [
        " ".join(WORDS[int(one)] for one in torch.randint(len(WORDS), (length,), generator=generator))
        for _ in range(count)
    ]


def questions(seed, count, choices=4):
    generator = torch.Generator().manual_seed(seed)
    asked = sentences(seed, count, 5)
    return [
        {
            "question": question,
            "choices": [sentences(seed + 31 * (number * 7 + which), 1, 1 + which)[0] for which in range(choices)],
            "answer": int(torch.randint(choices, (), generator=generator)),
        }
        for number, question in enumerate(asked)
    ]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


CHOICE = {
    "dataset_path": "json",
    "test_split": "test",
    "fewshot_split": "train",
    "output_type": "multiple_choice",
    "doc_to_text": "question {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    made = tmp_path_factory.mktemp("tasks")
    for number, (name, count) in enumerate((("cats", 23), ("dogs", 9))):
        write_lines(made / f"{name}.jsonl", questions(number, count))
        write_lines(made / f"{name}_shots.jsonl", questions(50 + number, 8))
        files = {"test": f"{name}.jsonl", "train": f"{name}_shots.jsonl"}
        task = CHOICE | {"task": f"tiny_{name}", "dataset_kwargs": {"data_files": files}}
        (made / f"{name}.yaml").write_text(json.dumps(task))  # JSON is YAML
    group = {
        "group": "tiny",
        "task": ["tiny_cats", "tiny_dogs"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    (made / "tiny.yaml").write_text(json.dumps(group))
    write_lines(made / "last.jsonl", [{"text": f"{line} mat"} for line in sentences(3, 12, 6)])
    last = {
        "task": "tiny_last",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "last.jsonl"}},
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.split()[:-1]|join(' ')}} ",
        "doc_to_target": "mat",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
    }
    (made / "last.yaml").write_text(json.dumps(last))
    written = CHOICE | {"task": "tiny_written", "output_type": "generate_until", "doc_to_choice": None}
    (made / "written.yaml").write_text(
        json.dumps(written | {"metric_list": [{"metric": "exact_match"}], "dataset_kwargs": {"data_files": files}})
    )
    return made


def by_lm_eval(folder, tasks, name, shots, monkeypatch, limit=None):
    """Return what lm-eval's own interface gives on an exported folder."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(tasks)
    return lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder), "dtype": "float32"},
        tasks=[name],
        num_fewshot=shots,
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        device="cpu",
        system_instruction="[Text]",
        bootstrap_iters=0,
    )


@pytest.fixture(scope="module")
def exported(folder):
    return export_lm(folder / "lm", folder / "exported")


def ours(model, tasks, name, shots, batch_tokens=4096):
    benchmark = TaskBenchmark(MMLU.info, name, shots)
    reading = benchmark.read(tasks, {})
    return benchmark, reading, TaskScorer(model, batch_tokens).score(reading.items)


@pytest.mark.parametrize("shots", [0, 3])
def test_figures_are_those_of_lm_eval(model, exported, tasks, shots, monkeypatch):
    benchmark, reading, lines = ours(model, tasks, "tiny", shots)
    wanted = by_lm_eval(exported, tasks, "tiny", shots, monkeypatch)
    figures = {way: {one.name: one.value for one in found} for way, found in benchmark.figures(lines).items()}
    for task in ("tiny_cats", "tiny_dogs"):
        for way in ("acc", "acc_norm"):
            assert figures[way][f"task/{task}"] == pytest.approx(
                100 * wanted["results"][task][f"{way},none"], abs=1e-12
            )
        for sample in wanted["samples"][task]:
            line = next(one for one in lines if one["id"] == f"{task}/{sample['doc_id']}")
            own = [float(answer[0]) for answer in sample["filtered_resps"]]
            assert line["log_likelihoods"] == pytest.approx(own, abs=1e-4)
            assert (line["counts"]["acc"][0], line["counts"]["acc_norm"][0]) == (sample["acc"], sample["acc_norm"])
            assert line["gold"] == [sample["target"]] and line["num_cut"] == 0
            item = next(one for one in reading.items if one.id == line["id"])
            assert [f"[Text]{prompt}" for prompt, _ in item.requests] == [one[0] for one in sample["arguments"]]
    assert figures["acc"]["all"] == pytest.approx(100 * wanted["groups"]["tiny"]["acc,none"], abs=1e-12)
    assert figures["acc"]["group/tiny"] == figures["acc"]["all"] != figures["acc"]["mean_of_tasks"]
    assert {line["num_shots"] for line in lines} == {shots} and len(lines) == 32


def test_continuations_are_judged_as_lm_eval_does(model, exported, tasks, monkeypatch):
    _, reading, lines = ours(model, tasks, "tiny_last", 0)
    wanted = by_lm_eval(exported, tasks, "tiny_last", 0, monkeypatch)
    samples = sorted(wanted["samples"]["tiny_last"], key=lambda sample: sample["doc_id"])
    for line, sample in zip(lines, samples, strict=True):
        ((own, greedy),) = sample["filtered_resps"]
        assert line["log_likelihoods"] == pytest.approx([float(own)], abs=1e-4) and line["greedy"] == [bool(greedy)]
    assert reading.notes == ["perplexity of tiny_last is left out, as it is no mean over documents"]


def test_a_figure_can_be_computed_again_from_the_lines(model, tasks):
    benchmark, _, lines = ours(model, tasks, "tiny_cats", 2, batch_tokens=60)
    stored = json.loads(json.dumps(lines))
    again = benchmark.figures(stored)
    best = [max(range(4), key=line["log_likelihoods"].__getitem__) for line in stored]
    assert (
        again["acc"][0].value == 100 * sum([one] == line["gold"] for one, line in zip(best, stored, strict=True)) / 23
    )
    lengths = [[len(choice) for choice in line["choices"]] for line in stored]
    normed = [
        max(range(4), key=lambda one, line=line, own=own: line["log_likelihoods"][one] / own[one])
        for line, own in zip(stored, lengths, strict=True)
    ]
    right = sum([one] == line["gold"] for one, line in zip(normed, stored, strict=True))
    assert again["acc_norm"][0].value == 100 * right / 23
    assert [one.name for one in again["acc"]] == ["all"]


class Knows:
    """Scorer that gives the right choice, or a drawn one, the highest log-likelihood."""

    def __init__(self, generator=None):
        self.generator = generator

    def lines(self, items):
        from spiritlm_pl.benchmarks.text.scoring import Request, line_of

        found = []
        for item in items:
            chosen = item.gold[0]
            if self.generator is not None:
                chosen = int(torch.randint(4, (), generator=self.generator))
            sums = [-1.0 if place == chosen else -50.0 for place in range(4)]
            found.append(line_of(item, [Request((1,), (2,), 0)] * 4, sums, [False] * 4))
        return found


def test_an_oracle_has_all_right_and_a_guess_one_in_four(tmp_path):
    write_lines(tmp_path / "many.jsonl", questions(7, 400))
    task = CHOICE | {"task": "many", "dataset_kwargs": {"data_files": {"test": "many.jsonl"}}, "fewshot_split": None}
    (tmp_path / "many.yaml").write_text(json.dumps(task))
    benchmark = TaskBenchmark(MMLU.info, "many", 0)
    items = benchmark.read(tmp_path, {}).items
    assert benchmark.figures(Knows().lines(items))["acc"][0].value == 100
    guess = benchmark.figures(Knows(torch.Generator().manual_seed(1)).lines(items))["acc"][0]
    assert guess.low < MMLU.info.chance < guess.high


def test_long_prompts_lose_their_beginning_and_keep_text(model, tasks):
    short = SpiritLM(
        type(model.model)(
            type(model.model.config).from_dict(model.model.config.to_dict() | {"max_position_embeddings": 40})
        ).eval(),
        model.text_tokenizer,
        model.vocabulary,
    )
    scorer = TaskScorer(short)
    request = scorer.encode(" ".join(WORDS * 5), " the mat")
    assert len(request.prompt) + len(request.continuation) - 1 == 40 and request.num_cut > 0
    assert request.prompt[0] == model.vocabulary.text_marker
    with pytest.raises(ValueError, match="must have room in the model's 40 tokens"):
        scorer.encode("the", " " + " ".join(WORDS * 8))
    with pytest.raises(ValueError, match="must add tokens to its prompt, but '' does not"):
        scorer.encode("the cat", "")
    benchmark, _, lines = ours(short, tasks, "tiny_cats", 3)
    assert benchmark.figures(lines)["acc"][1].name == "prompts_cut"


@pytest.fixture
def run(capsys, folder, tmp_path, monkeypatch):
    def command(name, data, *options, code=0):
        words = ["benchmark", "run", name, data, tmp_path / "out", "--model", folder, *options]
        monkeypatch.setattr(sys, "argv", ["spiritlm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert end.value.code == code, found.err
        return found.err

    return command


def test_each_task_of_the_command_has_a_summary(run, tasks, tmp_path):
    run("lm_eval", tasks, "--options", "{tasks: [tiny_cats, tiny_dogs], shots: 1}", "--limit", 7)
    for task in ("tiny_cats", "tiny_dogs"):
        summary = json.loads((tmp_path / "out" / f"lm_eval_{task}" / "summary.json").read_text())
        assert summary["num_scored"] == 7 and summary["options"] == {"shots": 1} and summary["published"] == "acc"
        assert len(read_lines(tmp_path / "out" / f"lm_eval_{task}")) == 7
    (tmp_path / "set.yaml").write_text(f"lm_eval: {{folder: {tasks}, tasks: 'tiny_dogs', shots: 1}}\n")
    run("all", tmp_path / "set.yaml")
    assert (tmp_path / "out" / "lm_eval_tiny_dogs").is_dir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "tasks must name tasks of lm-eval, such as --options"),
        (("--options", "{tasks: 3}"), "tasks must name tasks of lm-eval"),
        (("--options", "{tasks: tiny_dogs, shot: 3}"), "options must be among tasks, shots, but are shot"),
        (("--options", "{tasks: tiny_dogs, shots: many}"), "shots must be a number from 0 on, but is 'many'"),
        (("--options", "{tasks: tiny_written}"), "tiny_written is of generate_until: run lm_eval on the folder"),
    ],
)
def test_wrong_options_are_named(run, tasks, options, message):
    assert message in run("lm_eval", tasks, *options, code=2)


def test_a_missing_lm_eval_is_named_with_its_extra(run, tasks, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert 'pip install "spiritlm-pl[lm-eval]"' in run("lm_eval", tasks, "--options", "{tasks: tiny_cats}", code=2)
    (tmp_path / "set.yaml").write_text(f"lm_eval: {{folder: {tasks}, tasks: [tiny_cats, tiny_dogs]}}\n")
    assert run("all", tmp_path / "set.yaml", code=2).count('pip install "spiritlm-pl[lm-eval]"') == 2


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
    write_lines(folder / "data.jsonl", questions(7, 5))
    task = CHOICE | {"task": "tiny_judged", "dataset_kwargs": {"data_files": {"test": "data.jsonl"}}}
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
    task = CHOICE | {"task": "lost", "dataset_kwargs": {"data_files": {"test": "nowhere.jsonl"}}}
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
            rows = [row | {"subject": subject} for row in questions(number, count)]
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
