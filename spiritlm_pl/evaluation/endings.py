"""Measure of how often answers stop by themselves.

Contexts of held-out utterances are continued in each direction, with room for several times the longest true
continuation. A model that was trained with ends of documents stops about where the utterance does; one that was trained
without them continues to the limit.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from spiritlm_pl.corpora.audio import SAMPLE_RATE, load_waveform, save_wav
from spiritlm_pl.corpora.manifest import load_cuts
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.evaluation.choice import DIRECTIONS, ChoiceItem, cut_place, sequence
from spiritlm_pl.evaluation.interval import wilson_interval
from spiritlm_pl.generation.sampling import context_length, continue_tokens, finished
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.types import OutputModality
from spiritlm_pl.lm.likelihood import log_likelihoods
from spiritlm_pl.vocabulary import Modality, Vocabulary

ROOM = 4  # default limit as a multiple of the longest true continuation
OUTPUTS: dict[Modality, OutputModality] = {Modality.TEXT: "text", Modality.SPEECH: "speech"}


@dataclass(frozen=True)
class EndingsResult:
    """Figures of how answers ended in one direction.

    Attributes:
        stopped: number of answers that the model ended by itself.
        num_prompts: number of contexts that were continued.
        low: lower end of the 95 % interval of the share that stopped.
        high: upper end of the 95 % interval of the share that stopped.
        limit: largest number of new tokens; the model's context may have left room for fewer.
        mean_tokens: mean number of tokens of the answers that stopped, without their end; None if none did.
        mean_true_tokens: mean number of tokens of the true continuations.
        end_probability: mean probability of the end token after a whole utterance.
    """

    stopped: int
    num_prompts: int
    low: float
    high: float
    limit: int
    mean_tokens: float | None
    mean_true_tokens: float
    end_probability: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure_endings(
    model: PreTrainedModel,
    items: Sequence[ChoiceItem],
    vocabulary: Vocabulary,
    end_token: int,
    opening: Sequence[int] = (),
    settings: GenerationSettings | None = None,
    directions: Sequence[str] = tuple(DIRECTIONS),
) -> dict[str, EndingsResult]:
    """Continue contexts in each direction and count the answers that stop.

    Args:
        model: causal language model in evaluation mode.
        items: contexts with their true continuations.
        vocabulary: layout of the token ids.
        end_token: id that ends an answer (`SpiritLM.end_token`).
        opening: token ids before the first modality token (`TextTokenizer.opening`).
        settings: sampling options; `max_new_tokens` is the limit, by default 4 times the longest true continuation.
        directions: names of the directions, from `choice.DIRECTIONS`.

    Raises:
        ValueError: if there are no items, or a context is longer than that of the model.
    """
    if not items:
        raise ValueError("items must hold at least one, but is empty instead")
    settings, results = settings or GenerationSettings(), {}
    for name in directions:
        modality = DIRECTIONS[name][1]
        prompts = [sequence(item.context, (), DIRECTIONS[name], vocabulary, None, opening)[0] for item in items]
        whole = [sequence(item.context, item.right, DIRECTIONS[name], vocabulary, None, opening) for item in items]
        true_lengths = [scored for _, scored in whole]
        limit = settings.max_new_tokens or ROOM * max(true_lengths)
        seeds = [settings.seed + number for number in range(len(items))]
        continued = continue_tokens(
            model,
            prompts,
            vocabulary,
            OUTPUTS[modality],
            settings,
            limits=[limit] * len(items),
            seeds=seeds,
            eos_id=end_token,
        )
        answers = [finished(tokens, end_token) for tokens in continued]
        lengths = [len(tokens) for tokens, reason in answers if reason == "stop"]
        context = context_length(model)
        fitting = [tokens for tokens, _ in whole if context is None or len(tokens) < context]
        ends = log_likelihoods(model, [([*tokens, end_token], 1) for tokens in fitting]) if fitting else None
        results[name] = EndingsResult(
            len(lengths),
            len(items),
            *wilson_interval(len(lengths), len(items)),
            limit,
            sum(lengths) / len(lengths) if lengths else None,
            sum(true_lengths) / len(items),
            0.0 if ends is None else float(ends.exp().mean()),
        )
    return results


def save_beginnings(
    folder: str | Path, corpus: str | Path, units: UnitCorpus, split: str, items: Sequence[ChoiceItem]
) -> None:
    """Write recordings of contexts, `beginning_1.wav` ..., each with a text file of its words and the true ending.

    Args:
        folder: folder to write to, which is created.
        corpus: corpus folder with the recordings that were tokenised.
        units: folder of the tokenised corpus.
        split: split that the items are from.
        items: items whose contexts are written.

    Raises:
        ValueError: if the corpus lacks an utterance.
    """
    cuts, utterances = load_cuts(corpus, split), {utterance.id: utterance for utterance in units}
    for number, item in enumerate(items, start=1):
        if item.id not in cuts:
            raise ValueError(f"corpus must hold what was tokenised, but {corpus} has no {item.id}")
        words = utterances[item.id].words
        place = cut_place(utterances[item.id], 1)
        assert place is not None
        path = Path(folder) / f"beginning_{number}.wav"
        save_wav(path, load_waveform(cuts[item.id])[: round(words[place].start * SAMPLE_RATE)], SAMPLE_RATE)
        said, ending = (" ".join(word.word for word in part) for part in (words[:place], words[place:]))
        path.with_suffix(".txt").write_text(f"{said}\n... {ending}\n", encoding="utf-8")
