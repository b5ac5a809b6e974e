"""Benchmarks for which a model answers prompts with text or speech, and a judge measures the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spiritlm_pl.benchmarks.averages.ratios import ratios
from spiritlm_pl.benchmarks.contract import Info, Line, RunSettings, Scorer, check_options
from spiritlm_pl.benchmarks.items import AnswerLine, Figure, PromptItem, Reading
from spiritlm_pl.benchmarks.speech_store import SpeechStore
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.files import plain_name, short_name
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.types import Answer, OutputModality, Piece, Speech, Text

if TYPE_CHECKING:
    from spiritlm_pl.generation.prompt import Prompt
    from spiritlm_pl.generation.spirit_lm import SpiritLM

SAMPLING = ("temperature", "top_p", "top_k", "greedy", "max_new_tokens")  # options of every benchmark of this kind


@dataclass(frozen=True)
class Judged:
    """What a judge has found of an answer.

    Attributes:
        counts: for each way of counting, what counts and out of how much (see `AnswerLine`).
        texts: texts to keep, by name, such as a transcript or a predicted label.
    """

    counts: dict[str, tuple[float, float]]
    texts: dict[str, str]


Judge: TypeAlias = Callable[[Sequence[PromptItem], Sequence[Answer]], Sequence[Judged | Exception]]


@dataclass(frozen=True)
class AnswerBenchmark:
    """Benchmark of answered prompts.

    Args:
        info: facts about the benchmark.
        reader: function that reads a folder to `PromptItem`s; its keyword arguments are options.
        judge: function that makes the judge of a model's answers; its keyword arguments are options, too. It raises a
            ValueError if the model or an option does not allow to judge.
        sampling: options of sampling, of which those in `SAMPLING` can be given as options.
        figures_of: function from lines to figures by way of counting.
        context: largest number of tokens of a prompt with its shots and its answer; None for the model's context.
    """

    info: Info
    reader: Callable[..., Reading]
    judge: Callable[..., Judge]
    sampling: GenerationSettings
    figures_of: Callable[[Sequence[AnswerLine]], dict[str, list[Figure]]] = ratios
    context: int | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """Names of all options: of the reader, of the judge and of sampling."""
        return (*_keywords(self.reader), *_keywords(self.judge), *SAMPLING)

    def read(self, folder: Path, options: Mapping[str, Any]) -> Reading:
        """Read the prompts of a folder.

        Raises:
            ValueError: if an option is not known, or the folder has no layout that is known.
        """
        check_options(options, self.options)
        return self.reader(folder, **{name: options[name] for name in _keywords(self.reader) if name in options})

    def scorer(self, model: "SpiritLM", settings: RunSettings, options: Mapping[str, Any]) -> Scorer:
        """Return a function that answers prompts together and judges the answers."""
        judge = self.judge(model, **{name: options[name] for name in _keywords(self.judge) if name in options})
        chosen = {name: options[name] for name in SAMPLING if name in options}
        sampling = replace(self.sampling, batch_size=settings.batch_size, **chosen)
        store = SpeechStore(model.codec, settings.speech_tokens)

        def score(items: Sequence[PromptItem]) -> list[Line | Exception]:
            found: list[Line | Exception] = [ValueError("not answered")] * len(items)
            parts = [part for item in items for part in (*item.shots, item.prompt)]
            filled = iter(store.pieces_with_tokens(parts))
            ready: list[tuple[int, Prompt, int]] = []  # place, prompt, number of shots
            for place, item in enumerate(items):
                shots, own = [next(filled) for _ in item.shots], next(filled)
                try:
                    ready.append((place, *fitting(model, shots, own, item.output, sampling, self.context)))
                except Exception as error:  # of this item alone: its audio, its text or its length
                    found[place] = error
            for output in dict.fromkeys(items[place].output for place, _, _ in ready):
                same = [one for one in ready if items[one[0]].output == output]
                asked = [items[place] for place, _, _ in same]
                answers = self.answers(model, asked, [prompt for _, prompt, _ in same], output, sampling, options)
                judgements = judge(asked, answers)
                for (place, _, kept), answer, judged in zip(same, answers, judgements, strict=True):
                    if settings.answers is not None:
                        save_answer(settings.answers, items[place].id, answer)
                    if isinstance(judged, Exception):
                        found[place] = judged
                    else:
                        found[place] = line_of(items[place], answer, judged, kept)
            return found

        return score

    def answers(
        self,
        model: "SpiritLM",
        items: Sequence[PromptItem],
        prompts: "Sequence[Prompt]",
        output: OutputModality,
        sampling: GenerationSettings,
        options: Mapping[str, Any],
    ) -> list[Answer]:
        """Answer prompts, each with a stream of random numbers of its own, so that answers do not depend on each other.

        Args:
            model: model that is asked.
            items: prompts to answer, which have one modality of answers.
            prompts: the same, encoded with their shots.
            output: modality of the answers.
            sampling: options of sampling.
            options: options of the benchmark.
        """
        seeds = [stream_of(item.id, sampling.seed) for item in items]
        return [
            answer for (answer,) in model.generate_encoded(prompts, output, sampling, seeds=seeds, share_beginning=True)
        ]

    def figures(self, lines: Sequence[Line]) -> dict[str, list[Figure]]:
        """Return the figures by way of counting."""
        return self.figures_of([AnswerLine.from_dict(line) for line in lines])


def fitting(
    model: "SpiritLM",
    shots: Sequence[tuple[Piece, ...] | Exception],
    prompt: tuple[Piece, ...] | Exception,
    output: OutputModality,
    sampling: GenerationSettings,
    context: int | None = None,
) -> "tuple[Prompt, int]":
    """Encode a prompt after as many of its last shots as leave room for the answer in the context.

    Args:
        model: model that is asked.
        shots: solved examples; one whose audio cannot be read is left out.
        prompt: pieces of the prompt.
        output: modality of the answer.
        sampling: options of sampling, which tell how long an answer may be.
        context: largest number of tokens of all together; None for the model's context, which it never exceeds.

    Returns:
        The encoded prompt and the number of its shots.

    Raises:
        ValueError: if the prompt cannot be read or does not fit by itself.
    """
    if isinstance(prompt, Exception):
        raise prompt
    own = context_length(model.model)
    context = own if context is None else min(context, own or context)
    good = [shot for shot in shots if not isinstance(shot, Exception)]
    while True:
        encoded = model.encode_prompt([piece for shot in (*good, prompt) for piece in shot], output)
        room = sampling.limit(encoded.last, output, model.vocabulary.layout)
        if context is None or len(encoded.tokens) + room <= context or not good:
            break
        good = good[1:]
    model.check_room(encoded)
    return encoded, len(good)


def stream_of(name: str, seed: int) -> int:
    """Return a seed for the item of a name, the same in every run and every order of items."""
    return int(sha256(f"{seed} {name}".encode()).hexdigest()[:15], 16)


def line_of(item: PromptItem, answer: Answer, judged: Judged, num_shots: int) -> Line:
    """Return the line of results of an answered prompt."""
    tokens = tuple(token for piece in answer for token in piece.tokens or ())
    written = {"reference": item.reference} if item.reference else {}
    texts = written | {"answer": written_answer(answer)} | judged.texts
    line = AnswerLine(item.id, item.labels, judged.counts, texts, tokens, answer.finish_reason, num_shots)
    return asdict(line)


def written_answer(answer: Answer) -> str:
    """Return the text of an answer; empty if it has none."""
    return "".join(piece.text for piece in answer if isinstance(piece, Text)).strip()


def spoken_answer(answer: Answer) -> Speech | None:
    """Return the first speech of an answer; None if it has none."""
    return next((piece for piece in answer if isinstance(piece, Speech)), None)


def check_speaks(model: "SpiritLM") -> None:
    """Raise a ValueError if a model has no vocoder, so that nothing can be heard of its answers."""
    if model.vocoder is None:
        raise ValueError("--model must have a vocoder, so that its spoken answers can be heard, but has none")


def save_answer(folder: Path, name: str, answer: Answer) -> None:
    """Write the first speech of an answer below a folder; nothing if it has none.

    The file is named by the item and a hash of its name, as "a/b" and "a_b" are two items.
    """
    speech = spoken_answer(answer)
    if speech is not None and speech.audio is not None:
        plain = short_name(f"{plain_name(name)}-{sha256(name.encode()).hexdigest()[:8]}")
        save_wav(folder / f"{plain}.wav", speech.waveform, speech.sample_rate)


def _keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(signature(function).parameters)[1:]


assert set(SAMPLING) <= {field.name for field in fields(GenerationSettings)}
