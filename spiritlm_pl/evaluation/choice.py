"""Which of two continuations belongs to a context? (as in StoryCloze; Spirit LM, arXiv 2402.05755, table 4)

The context and the continuation are each given as text or as speech; the wrong continuation is another
story's. A model is right where it gives the right one the higher mean log-likelihood a token; two that are equally
likely count one half, as is usual; chance is 1/2. The end of a document is not scored: a continuation is its words or
units alone, whether or not the model was trained with ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from spiritlm_pl.data.corpus_store import UnitCorpus, UnitUtterance
from spiritlm_pl.data.documents import WordIds
from spiritlm_pl.data.rng import derive, name_key
from spiritlm_pl.data.utterances import aligned_document
from spiritlm_pl.evaluation.interval import wilson_interval
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.lm.likelihood import log_likelihoods
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

DIRECTIONS: dict[str, tuple[Modality, Modality]] = {
    "text_to_text": (Modality.TEXT, Modality.TEXT),
    "speech_to_speech": (Modality.SPEECH, Modality.SPEECH),
    "speech_to_text": (Modality.SPEECH, Modality.TEXT),
    "text_to_speech": (Modality.TEXT, Modality.SPEECH),
}
FEWEST_WORDS = 4  # of a sentence that is cut in two


@dataclass(frozen=True)
class ChoiceItem:
    """A context with its own continuation and another one's; words carry their tokens in both modalities.

    Attributes:
        id: of the utterance.
        wrong_id: of the utterance that the wrong continuation is from.
        context: words.
        right: words that follow.
        wrong: words that follow elsewhere.
    """

    id: str
    wrong_id: str
    context: Sequence[WordIds]
    right: Sequence[WordIds]
    wrong: Sequence[WordIds]


@dataclass(frozen=True)
class ChoiceResult:
    """How often the right continuation won.

    Attributes:
        accuracy: by mean log-likelihood a token.
        low: lower end of its 95 % interval.
        high: upper end.
        accuracy_unnormalised: by the log-likelihood of the whole continuation.
        num_items: contexts judged.
        num_ties: those of them in which both are equally likely a token, each counted one half.
    """

    accuracy: float
    low: float
    high: float
    accuracy_unnormalised: float
    num_items: int
    num_ties: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Half:
    """An utterance cut in two."""

    id: str
    speaker: str
    story: str
    words: Sequence[WordIds]
    cut: int
    ending: str


def cut_place(utterance: UnitUtterance, continuation_sentences: int) -> int | None:
    """WordIds at which the continuation of an utterance begins; None if it cannot be cut.

    A story (`sentence_ends` in its custom values) is cut before its last sentences, all else in the middle.
    """
    ends = utterance.custom.get("sentence_ends")
    if not ends:
        return len(utterance.words) // 2 if len(utterance.words) >= FEWEST_WORDS else None
    if len(ends) <= continuation_sentences:
        return None
    # Aligned words may hold several words of the transcript (merged clitics), or be missing.
    counts = [0]
    for word in utterance.words:
        counts.append(counts[-1] + len(word.word.split()))
    wanted = ends[-1 - continuation_sentences]
    return counts.index(wanted) if counts[-1] == ends[-1] and wanted in counts else None


def choice_items(
    corpus: UnitCorpus,
    tokenizer: TextTokenizer,
    vocabulary: Vocabulary,
    kind: Literal["stories", "sentences"] = "stories",
    num_items: int | None = None,
    continuation_sentences: int = 1,
    same_speaker: bool = True,
    seed: int = 0,
) -> list[ChoiceItem]:
    """Items from a tokenised corpus, the same for the same seed.

    Args:
        corpus: a held-out split.
        tokenizer: for words.
        vocabulary: layout of the token ids.
        kind: utterances with sentence ends, cut before the last sentences, or all others, cut in the middle.
        num_items: at most so many; None for all.
        continuation_sentences: sentences of a story that are to be chosen.
        same_speaker: take the wrong continuation from the same speaker where there is one, so that the voice
            does not give the answer away.
        seed: of the order and the pairs.

    Raises:
        ValueError: if there are fewer than two utterances that can be cut.
    """
    halves = []
    mute = 0  # there is a place to cut at, but no words or no speech tokens on one side of it
    for utterance in corpus:
        cut = cut_place(utterance, continuation_sentences)
        if cut is None or bool(utterance.custom.get("sentence_ends")) != (kind == "stories"):
            continue
        half = _cut(utterance, cut, corpus.layout, tokenizer, vocabulary)
        if half is None:
            mute += 1
        else:
            halves.append(half)
    if len(halves) < 2:
        reason = f"; {mute} lack words or speech tokens on one side of the cut" if mute else ""
        raise ValueError(
            f"corpus must hold at least two {kind} that can be cut, but {corpus.folder} has {len(halves)} instead"
            f"{reason}"
        )
    key = derive(0, seed)
    halves.sort(key=lambda half: derive(key, name_key(half.id)))
    items = []
    for place, half in enumerate(halves[:num_items]):
        other = _another(half, halves[place + 1 :] + halves[:place], same_speaker)
        if other is not None:
            items.append(
                ChoiceItem(half.id, other.id, half.words[: half.cut], half.words[half.cut :], other.words[other.cut :])
            )
    return items


def _cut(
    utterance: UnitUtterance, cut: int, layout: SpeechLayout, tokenizer: TextTokenizer, vocabulary: Vocabulary
) -> _Half | None:
    document = aligned_document(utterance, layout, tokenizer, vocabulary)
    if document is None:
        return None
    for words in (document.words[:cut], document.words[cut:]):
        if not any(word.text for word in words) or not any(word.speech for word in words):
            return None
    ending = " ".join(word.word for word in utterance.words[cut:])
    story = str(utterance.custom.get("story", utterance.id))
    return _Half(utterance.id, utterance.speaker, story, document.words, cut, ending)


def _another(half: _Half, others: Iterable[_Half], same_speaker: bool) -> _Half | None:
    """The first other story with another ending, by the same speaker if there is one."""
    different = [other for other in others if other.story != half.story and other.ending != half.ending]
    same = [other for other in different if other.speaker == half.speaker] if same_speaker else []
    return next(iter(same or different), None)


def sequence(
    context: Sequence[WordIds],
    continuation: Sequence[WordIds],
    direction: tuple[Modality, Modality],
    vocabulary: Vocabulary,
    limit: int | None = None,
    opening: Sequence[int] = (),
) -> tuple[list[int], int]:
    """Token ids of a context with a continuation, and how many tokens at the end are to be scored.

    A modality token at a change belongs to the context: it says what is asked for.

    Args:
        context: words.
        continuation: words.
        direction: modality of the context and of the continuation.
        vocabulary: layout of the token ids.
        limit: tokens at most. The context loses its beginning; a continuation that would leave nothing of it
            loses its end. None for any number.
        opening: ids before the first modality token.
    """
    first, second = direction
    said, asked = _tokens(context, first), _tokens(continuation, second)
    change = [] if second is first else [vocabulary.change_marker(second)]
    if limit is not None:
        room = limit - 1 - len(change) - len(opening) - len(vocabulary.opening)
        asked = asked[: room - 1]
        said = said[-(room - len(asked)) :]
    return [*opening, *vocabulary.opening, vocabulary.marker(first), *said, *change, *asked], len(asked)


def _tokens(words: Sequence[WordIds], modality: Modality) -> list[int]:
    return [token for word in words for token in (word.speech if modality is Modality.SPEECH else word.text)]


def evaluate_choice(
    model: PreTrainedModel,
    items: Sequence[ChoiceItem],
    vocabulary: Vocabulary,
    directions: Sequence[str] = tuple(DIRECTIONS),
    batch_tokens: int = 4096,
    rank: int = 0,
    world_size: int = 1,
    opening: Sequence[int] = (),
) -> dict[str, ChoiceResult]:
    """Accuracy in each direction.

    Args:
        model: causal language model in evaluation mode.
        items: what is to be chosen.
        vocabulary: layout of the token ids.
        directions: names out of `DIRECTIONS`.
        batch_tokens: tokens of a batch, padding included.
        rank: of this process.
        world_size: number of processes; all get the same result.
        opening: ids before the first modality token (`TextTokenizer.opening`).

    Raises:
        ValueError: if a direction is unknown, or there are no items.
    """
    if not items:
        raise ValueError("items must hold at least one, but is empty instead")
    for name in directions:
        if name not in DIRECTIONS:
            raise ValueError(f"directions must be among {', '.join(DIRECTIONS)}, but one is {name!r} instead")
    limit = context_length(model)
    sequences = [
        sequence(item.context, continuation, DIRECTIONS[name], vocabulary, limit, opening)
        for name in directions
        for item in items
        for continuation in (item.right, item.wrong)
    ]
    # Equal sequences are scored once: in batches of other shapes the same scores may differ by a rounding.
    places: dict[tuple[tuple[int, ...], int], int] = {}
    place_of = [places.setdefault((tuple(tokens), scored), len(places)) for tokens, scored in sequences]
    distinct = [(list(tokens), scored) for tokens, scored in places]
    totals = log_likelihoods(model, distinct, batch_tokens, rank, world_size)[place_of]
    counts = torch.tensor([scored for _, scored in sequences])
    shape = (len(directions), len(items), 2)
    whole, mean = totals.view(shape), (totals / counts).view(shape)
    results = {}
    for index, name in enumerate(directions):
        right, ties = _points(mean[index])
        low, high = wilson_interval(right, len(items))
        right_whole, _ = _points(whole[index])
        results[name] = ChoiceResult(right / len(items), low, high, right_whole / len(items), len(items), ties)
    return results


def _points(scores: torch.Tensor) -> tuple[float, int]:
    """Points for scores (N, 2) of the right and the wrong continuation, one half for a tie, and the number of ties."""
    ties = int((scores[:, 0] == scores[:, 1]).sum())
    return int((scores[:, 0] > scores[:, 1]).sum()) + ties / 2, ties
