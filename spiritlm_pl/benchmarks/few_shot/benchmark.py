"""Benchmarks of answers after shots: those of `answers.py`, with a template and a context of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.answers import AnswerBenchmark
from spiritlm_pl.benchmarks.averages.compare import Comparison
from spiritlm_pl.benchmarks.contract import Line, RunSettings, Scorer
from spiritlm_pl.benchmarks.few_shot.compare import compare_draws
from spiritlm_pl.benchmarks.few_shot.judges import wrong_counts
from spiritlm_pl.benchmarks.few_shot.template import load_shot_template
from spiritlm_pl.benchmarks.items import AnswerLine, PromptItem
from spiritlm_pl.generation.sampling import context_length

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

OWN = ("context", "ends_at_change")


@dataclass(frozen=True, kw_only=True)
class FewShotBenchmark(AnswerBenchmark):
    """Benchmark of answers after shots.

    Args:
        task: name of the task, for its template.
        answer: field of the template that is asked for: text, audio or label.
    """

    task: str
    answer: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of all options: of the reader, of the judge, of sampling and of the prompts."""
        return tuple(dict.fromkeys((*super().options, *OWN)))

    def scorer(self, model: "SpiritLM", settings: RunSettings, options: Mapping[str, Any]) -> Scorer:
        """Return a function that answers prompts together and judges the answers.

        Raises:
            ValueError: if an option is wrong, or the model lacks a part that the benchmark needs.
        """
        context = options.get("context", self.context)
        if context is not None and (not isinstance(context, int) or isinstance(context, bool) or context < 1):
            raise ValueError(f"context must be a whole number from 1, but is {context!r} instead")
        change = options.get("ends_at_change", self.sampling.ends_at_change)
        if not isinstance(change, bool):
            raise ValueError(f"ends_at_change must be true or false, but is {change!r} instead")
        room = options.get("max_new_tokens", self.sampling.max_new_tokens)
        most = min((one for one in (context, context_length(model.model)) if one is not None), default=None)
        if most is not None and isinstance(room, int) and room >= most:
            raise ValueError(
                f"max_new_tokens must leave room for shots in the context of {most} tokens, but is {room} instead"
            )
        template = load_shot_template(self.task, self.answer, options.get("template"))
        stop = (template.after,) if template.after else ()
        sampling = replace(self.sampling, stop=stop, ends_at_change=change)
        own = AnswerBenchmark(self.info, self.reader, self.judge, sampling, self.figures_of, context)
        return own.scorer(model, settings, options)

    def as_wrong(self, item: PromptItem, ways: Sequence[str]) -> Line:
        """Return the line of an item that could not be asked, as if its answer had been empty."""
        texts = {"reference": item.reference, "answer": "", "transcript": "", "prediction": ""}
        line = AnswerLine(item.id, item.labels, wrong_counts(item, ways), texts)
        return asdict(line)

    def compared(self, first: Sequence[Line], second: Sequence[Line], way: str) -> Comparison:
        """Compare two models by the estimate that the figures are made with.

        Args:
            first: lines of the first model.
            second: lines of the second model.
            way: way of counting.

        Raises:
            ValueError: if the models share no item that counts in this way, or an item differs in its labels.
        """
        ours, theirs = ([AnswerLine.from_dict(line) for line in lines] for lines in (first, second))
        return compare_draws(ours, theirs, way)
