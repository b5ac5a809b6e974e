"""Documents of tasks of lm-eval: what is asked of a model, and lm-eval's own judgement of the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import TypeAlias

Answers: TypeAlias = Sequence[tuple[float, bool]]  # log-likelihood of each request, and whether it is the greedy answer
Judge: TypeAlias = Callable[[Answers], Mapping[str, float]]  # values by metric


@dataclass(frozen=True)
class TaskItem:
    """One document of a task.

    Attributes:
        id: name of the task and number of the document.
        task: name of the task.
        group: name of the group of tasks that it belongs to, such as "mmlu_stem"; empty for none.
        requests: prompt and continuation of each request, in lm-eval's order.
        choices: texts of the choices; empty for a task without choices.
        gold: numbers of the right choices, or the right continuation of a task without choices.
        needs_greedy: whether the judgement asks which continuations are greedy answers.
        num_shots: number of solved examples in the prompt.
        metrics: names of the metrics that answers are judged by.
        config: hash of the task's configuration, see `tasks.config_of`.
        judge: lm-eval's judgement of the answers to the requests, which is no field: it follows from the others.
    """

    id: str
    task: str
    group: str
    requests: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    gold: tuple[int | str, ...]
    needs_greedy: bool
    num_shots: int
    metrics: tuple[str, ...]
    config: str
    judge: InitVar[Judge]

    written = True  # has text, see `benchmarks.modalities`

    def __post_init__(self, judge: Judge) -> None:
        """Keep the judgement."""
        object.__setattr__(self, "judged", judge)

    def values(self, answers: Answers) -> Mapping[str, float]:
        """Return the values of the metrics by lm-eval's own judgement."""
        judged: Judge = self.__dict__["judged"]
        return judged(answers)
