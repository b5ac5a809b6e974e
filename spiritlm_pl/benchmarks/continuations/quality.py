"""Quality of continuations: how likely they are as text (GenPPL), and how much they repeat themselves (auto-BLEU).

The continuation of a spoken prompt is transcribed twice: after the prompt as the model says it, from which the *whole*
text comes, and alone. The original recording is treated in the same way, whole and after the prompt. A written prompt
and its continuation are taken as they are.

Ways of counting:

    whole_mean              perplexity of the whole text, the prompt's part included: exp of the mean over items of the
                            mean loss per token, as slamkit does
    whole                   the same, exp of the losses of all items by their tokens
    continuation            perplexity of the text of the continuation, given that of the prompt, by all tokens
    auto_bleu               share of pairs of words that occur again in the whole text, as slamkit does, in percent
    auto_bleu_geometric     geometric mean of that share and that of single words (Lakhotia et al., 2021)
    auto_bleu_continuation  as auto_bleu, in the continuation alone
    words                   number of words of the continuation
    empty                   continuations without a word, in percent; perplexities leave their continuation out

Each has a figure "all" and beside it "original".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import cat

from spiritlm_pl.benchmarks.answers import Judge, Judged, check_speaks, spoken_answer, written_answer
from spiritlm_pl.benchmarks.averages.ratios import PERCENT, ratio
from spiritlm_pl.benchmarks.continuations.prompts import original
from spiritlm_pl.benchmarks.continuations.transcripts import Hear, transcriber
from spiritlm_pl.benchmarks.continuations.words import auto_bleu, joined, repeated_share, words_of
from spiritlm_pl.benchmarks.items import AnswerLine, Figure, PromptItem
from spiritlm_pl.evaluation.interval import ratio_estimate
from spiritlm_pl.evaluation.recognition import SAMPLE_RATE
from spiritlm_pl.evaluation.text_likelihood import TextLikelihood, load_text_likelihood
from spiritlm_pl.generation.types import Answer, Speech, Text

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

ORIGINAL = "original_"  # before the ways of counting of originals, in the lines
PERPLEXITIES = ("whole", "continuation")
SHARES = ("auto_bleu", "auto_bleu_geometric", "auto_bleu_continuation")


@dataclass(frozen=True)
class Written:
    """Text of a prompt with what follows it.

    Attributes:
        prompt: text of the prompt.
        continuation: text of what follows.
        whole: text of both, heard or written as one.
    """

    prompt: str
    continuation: str
    whole: str


def speech_judge(
    model: "SpiritLM",
    language_model: str | None = None,
    whisper: str | None = None,
    vocabulary: str | None = None,
    language: str = "en",
    whisper_device: str = "cpu",
) -> Judge:
    """Return a judge of spoken continuations.

    Args:
        model: model that is measured.
        language_model: folder or hub name of the causal language model that tells perplexities.
        whisper: folder of a faster-whisper model that transcribes; None for pocketsphinx.
        vocabulary: texts whose English words pocketsphinx knows, see `transcriber`; None for Whisper.
        language: language that is spoken, by its code.
        whisper_device: device that Whisper computes on: cpu, cuda or cuda:1.

    Raises:
        ValueError: if the model has no vocoder, or a judge cannot be loaded.
    """
    check_speaks(model)
    likelihood = _likelihood(model, language_model)
    hear = transcriber(whisper, vocabulary, language, whisper_device)

    def judge(items: Sequence[PromptItem], answers: Sequence[Answer]) -> list[Judged | Exception]:
        found: list[tuple[Written, Written] | Exception] = []
        for item, answer in zip(items, answers, strict=True):
            try:
                found.append(_transcripts(model, hear, item, answer, language))
            except Exception as error:  # whatever a decoder or a recogniser raises is that of a recording
                found.append(error)
        return _judged(found, likelihood, language)

    return judge


def text_judge(model: "SpiritLM", language_model: str | None = None, language: str = "en") -> Judge:
    """Return a judge of written continuations.

    Args:
        model: model that is measured.
        language_model: folder or hub name of the causal language model that tells perplexities.
        language: language that is written, by its code.

    Raises:
        ValueError: if the language model cannot be loaded.
    """
    likelihood = _likelihood(model, language_model)

    def judge(items: Sequence[PromptItem], answers: Sequence[Answer]) -> list[Judged | Exception]:
        found: list[tuple[Written, Written] | Exception] = []
        for item, answer in zip(items, answers, strict=True):
            (prompt,) = item.prompt
            assert isinstance(prompt, Text)
            pair = [
                Written(prompt.text, text, joined((prompt.text, text), language))
                for text in (written_answer(answer), item.reference)
            ]
            found.append((pair[0], pair[1]))
        return _judged(found, likelihood, language)

    return judge


def _likelihood(model: "SpiritLM", language_model: str | None) -> TextLikelihood:
    if not language_model:
        raise ValueError("language_model must be a folder or hub name of a causal language model, but is not given")
    return load_text_likelihood("language_model", language_model, model.model.device)


def _transcripts(
    model: "SpiritLM", hear: Hear, item: PromptItem, answer: Answer, language: str
) -> tuple[Written, Written]:
    """Return transcripts of a prompt with its continuation, and of the original."""
    (prompt,) = item.prompt
    assert isinstance(prompt, Speech) and model.synthesis is not None
    whole, after = original(item)
    beginning = hear(whole[: len(whole) - len(after)], SAMPLE_RATE)
    tokens = model.codec.encode(prompt).tokens
    spoken, rate = spoken_answer(answer), model.synthesis.sample_rate
    said = model.synthesis.speak(tokens or ())
    alone = said.new_zeros(0) if spoken is None else spoken.waveform.to(said)
    own = Written(beginning, hear(alone, rate), hear(cat((said, alone)), rate))
    theirs = Written(beginning, hear(after, SAMPLE_RATE), hear(whole, SAMPLE_RATE))
    return own, theirs


def _judged(
    found: Sequence[tuple[Written, Written] | Exception], likelihood: TextLikelihood, language: str
) -> list[Judged | Exception]:
    """Score the texts of all items together."""
    pairs = [one for one in found if not isinstance(one, Exception)]
    texts = [written for pair in pairs for written in pair]
    wholes = likelihood.losses([("", one.whole) for one in texts])
    afters = likelihood.losses([(one.prompt, joined((one.prompt, one.continuation), language)) for one in texts])
    scored = iter(zip(texts, wholes, afters, strict=True))
    judged: list[Judged | Exception] = []
    for one in found:
        if isinstance(one, Exception):
            judged.append(one)
            continue
        counts: dict[str, tuple[float, float]] = {}
        error: Exception | None = None
        for name, (written, whole, after) in (("", next(scored)), (ORIGINAL, next(scored))):
            if isinstance(whole, ValueError) or isinstance(after, ValueError):
                error = whole if isinstance(whole, ValueError) else after if isinstance(after, ValueError) else None
                continue
            counts |= {f"{name}{way}": count for way, count in _counts(written, whole, after).items()}
        judged.append(error or Judged(counts, _kept(*one)))
    return judged


def _counts(
    written: Written, whole: tuple[float, int], continuation: tuple[float, int]
) -> dict[str, tuple[float, float]]:
    words, new = words_of(written.whole), words_of(written.continuation)
    shares = zip(SHARES, (repeated_share(words, 2), auto_bleu(words, 2), repeated_share(new, 2)), strict=True)
    return {
        "whole": whole if words else (0.0, 0),
        "continuation": continuation if new else (0.0, 0),
        **{way: (share, 1) for way, share in shares if share is not None},
        "words": (len(new), 1),
        "empty": (float(not new), 1),
    }


def _kept(own: Written, theirs: Written) -> dict[str, str]:
    return {
        "prompt": own.prompt,
        "continuation": own.continuation,
        "whole": own.whole,
        "original_continuation": theirs.continuation,
        "original_whole": theirs.whole,
    }


def figures(lines: Sequence[AnswerLine]) -> dict[str, list[Figure]]:
    """Return perplexities, repetitions and lengths of continuations, each beside that of the originals.

    A way of counting in which no continuation counts is missing, so that the first figure is never of originals.
    """
    own, theirs = _measured("all", "", lines), _measured("original", ORIGINAL, lines)
    return {way: [figure, *([theirs[way]] if way in theirs else [])] for way, figure in own.items()}


def _measured(name: str, prefix: str, lines: Sequence[AnswerLine]) -> dict[str, Figure]:
    counts = {
        way: [line.counts[f"{prefix}{way}"] for line in lines if f"{prefix}{way}" in line.counts]
        for way in (*PERPLEXITIES, *SHARES, "words")
    }
    means = [(loss / number, 1.0) for loss, number in counts["whole"] if number]
    found = {
        "whole_mean": _figure(name, means, 1.0, exponential=True),
        **{way: _figure(name, counts[way], 1.0, exponential=True) for way in PERPLEXITIES},
        **{way: _figure(name, counts[way], PERCENT) for way in SHARES},
        "words": _figure(name, counts["words"], 1.0),
        "empty": ratio(name, lines, f"{prefix}empty"),
    }
    return {way: figure for way, figure in found.items() if figure is not None}


def _figure(name: str, counts: Sequence[tuple[float, float]], scale: float, exponential: bool = False) -> Figure | None:
    found = ratio_estimate(
        [part for part, _ in counts], [of for _, of in counts], scale, np.exp if exponential else None
    )
    return None if found is None else Figure(name, found.value, found.low, found.high, found.count)
