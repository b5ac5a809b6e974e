"""Benchmarks of written tasks that ship with the package."""

from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.benchmarks.text.benchmark import TaskBenchmark

NEEDS = "language model; lm-eval (extra lm-eval)"

MMLU = TaskBenchmark(
    Info(
        title="MMLU, 5 shots",
        measures="written questions with four choices in 57 subjects",
        licence="MIT",
        source="huggingface.co/datasets/cais/mmlu, which lm-eval fetches if the folder has no copy of it",
        needs=NEEDS,
        size="14,042 questions",
        sets=("few_shot", "paper"),
        published="acc",
        chance=25.0,
    ),
    task="mmlu",
    shots=5,
)
LM_EVAL = TaskBenchmark(
    Info(
        title="Tasks of lm-eval",
        measures="any of its tasks that compares log-likelihoods of texts, named by the option tasks",
        licence="see each task",
        source="github.com/EleutherAI/lm-evaluation-harness; a folder with task files of one's own",
        needs=NEEDS,
        size="see each task",
        published="acc",
        chance=None,
    )
)
