"""Tasks of lm-eval: figures equal to its own command's, to the last digit, an oracle and a guess."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spiritlm_pl.benchmarks.text.benchmark import TaskBenchmark
from spiritlm_pl.benchmarks.text.scoring import TaskScorer
from spiritlm_pl.benchmarks.text.suites import MMLU
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.interop.export import export_lm

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other libraries

TASKS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_tasks.py"))))


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
    assert reading.notes == ["tiny_last is told without what is no mean over documents: perplexity"]


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
    TASKS.write_lines(tmp_path / "many.jsonl", TASKS.questions(7, 400))
    task = TASKS.CHOICE | {
        "task": "many",
        "dataset_kwargs": {"data_files": {"test": "many.jsonl"}},
        "fewshot_split": None,
    }
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
    request = scorer.encode(" ".join(TASKS.WORDS * 5), " the mat")
    assert len(request.prompt) + len(request.continuation) - 1 == 40 and request.num_cut > 0
    assert request.prompt[0] == model.vocabulary.text_marker
    with pytest.raises(ValueError, match="must have room in the model's 40 tokens"):
        scorer.encode("the", " " + " ".join(TASKS.WORDS * 8))
    with pytest.raises(ValueError, match="must add tokens to its prompt, but '' does not"):
        scorer.encode("the cat", "")
    benchmark, _, lines = ours(short, tasks, "tiny_cats", 3)
    assert benchmark.figures(lines)["acc"][1].name == "prompts_cut"
