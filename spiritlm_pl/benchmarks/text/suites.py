"""Benchmarks of written tasks that ship with the package."""

from spiritlm_pl.benchmarks.catalogue import info_of
from spiritlm_pl.benchmarks.text.benchmark import TaskBenchmark

MMLU = TaskBenchmark(info_of("mmlu"), task="mmlu", shots=5)
LM_EVAL = TaskBenchmark(info_of("lm_eval"))
