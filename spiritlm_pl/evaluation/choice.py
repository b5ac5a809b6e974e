"""Choice of the right of two continuations of a context (as in StoryCloze; arXiv 2402.05755, table 4).

The context and the continuation are each given as text or as speech; the wrong continuation is that of another story:
any, or a near one, which is harder. A model is right if it gives the right one the higher mean log-likelihood a token;
two that are equally likely count one half, as is usual; chance is 1/2. The end of a document is not scored: a
continuation consists only of its words or units, whether or not the model was trained with ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from spiritlm_pl.contracts.speech_tokenizer import check_tokenizer
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.documents import WordIds
from spiritlm_pl.data.rng import derive, name_key
from spiritlm_pl.data.steps import frame_tokens, in_steps, open_length
from spiritlm_pl.data.unit_corpus import UnitCorpus
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
Rivals = Literal["any", "near"]
FEWEST_WORDS = 4  # of a sentence that is cut in two


@dataclass(frozen=True)
class ChoiceItem:
    """Context with its own and another continuation; words carry their tokens in both modalities.

    Attributes:
        id: id of the utterance.
        wrong_id: id of the utterance that the wrong continuation is from.
        context: words of the utterance before the cut.
        right: words that follow in the utterance.
        wrong: words that follow in the other utterance.
    """

    id: str
    wrong_id: str
    context: Sequence[WordIds]
    right: Sequence[WordIds]
    wrong: Sequence[WordIds]


@dataclass(frozen=True)
class ChoiceResult:
    """Share of items in which the right continuation was preferred.

    Attributes:
        accuracy: accuracy by mean log-likelihood per token, from 0 to 1.
        low: lower end of the accuracy's 95 % interval.
        high: upper end of the accuracy's 95 % interval.
        accuracy_unnormalised: accuracy by the log-likelihood of the whole continuation, from 0 to 1.
        num_items: number of contexts that were scored.
        num_ties: number of contexts in which both are equally likely per token, each of which counts one half.
    """

    accuracy: float
    low: float
    high: float
    accuracy_unnormalised: float
    num_items: int
    num_ties: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Half:
    """Utterance that is cut in two."""

    id: str
    speaker: str
    story: str
    words: Sequence[WordIds]
    cut: int
    said: tuple[str, ...]
    ending: str


def cut_place(utterance: UnitUtterance, continuation_sentences: int) -> int | None:
    """Return the index of the word that begins the continuation of an utterance; None if it cannot be cut.

    A story (`sentence_ends` in its custom values) is cut before its last sentences, other utterances in the middle.
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
    rivals: Rivals = "any",
) -> list[ChoiceItem]:
    """Build items from a tokenised corpus; the same seed gives the same items.

    Args:
        corpus: held-out split of a tokenised corpus.
        tokenizer: tokenizer of the text.
        vocabulary: layout of the token ids.
        kind: "stories", utterances with sentence ends that are cut before the last sentences, or "sentences", all
            others, which are cut in the middle.
        num_items: largest number of items; None for all.
        continuation_sentences: number of sentences at the end of a story that form the continuation.
        same_speaker: whether the wrong continuation is taken from the same speaker where possible, so that the voice
            does not give the answer away.
        seed: seed of the order and of the pairs.
        rivals: "any", a wrong continuation of any other utterance, or "near", of the one that has the largest share of
            its words in this utterance, so that few words tell which is right.

    Raises:
        ValueError: if there are fewer than two utterances that can be cut, or their tokens are not those of the
            vocabulary.
    """
    check_tokenizer(corpus.layout, vocabulary, str(corpus.folder))
    halves = []
    other = short = 0  # of the other kind; too short, or without times of words
    mute = 0  # it could be cut, but one side would have no words or no speech tokens
    for utterance in corpus:
        cut = cut_place(utterance, continuation_sentences)
        if bool(utterance.custom.get("sentence_ends")) != (kind == "stories"):
            other += 1
            continue
        if cut is None:
            short += 1
            continue
        half = _cut(utterance, cut, corpus.layout, tokenizer, vocabulary)
        if half is None:
            mute += 1
        else:
            halves.append(half)
    if len(halves) < 2:
        others = "have no sentence ends (--kind sentences)" if kind == "stories" else "are stories (--kind stories)"
        counts = (
            (other, others),
            (short, "are too short or lack times of words"),
            (mute, "lack words or speech tokens on one side of the cut"),
        )
        reason = "".join(f"; {count} {why}" for count, why in counts if count)
        raise ValueError(
            f"corpus must hold at least two {kind} that can be cut, but {corpus.folder} has {len(halves)} instead"
            f"{reason}"
        )
    key = derive(0, seed)
    halves.sort(key=lambda half: derive(key, name_key(half.id)))
    items = []
    for place, half in enumerate(halves[:num_items]):
        another = _another(half, halves[place + 1 :] + halves[:place], same_speaker, rivals)
        if another is not None:
            items.append(
                ChoiceItem(
                    half.id, another.id, half.words[: half.cut], half.words[half.cut :], another.words[another.cut :]
                )
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
    said = tuple(" ".join(word.word for word in utterance.words).split())
    ending = " ".join(word.word for word in utterance.words[cut:])
    story = str(utterance.custom.get("story", utterance.id))
    return _Half(utterance.id, utterance.speaker, story, document.words, cut, said, ending)


def _another(half: _Half, others: Iterable[_Half], same_speaker: bool, rivals: Rivals) -> _Half | None:
    """Return the first or the nearest other story with another ending, by the same speaker if there is one."""
    different = [other for other in others if other.story != half.story and other.ending != half.ending]
    found = [other for other in different if other.speaker == half.speaker] if same_speaker else []
    found = found or different
    if rivals == "near":
        own = set(half.said)
        return max(found, key=lambda other: _share_in(other.ending, own), default=None)
    return next(iter(found), None)


def _share_in(ending: str, own: set[str]) -> float:
    """Return the share of an ending's words that are among the words of another utterance."""
    words = ending.split()
    return sum(word in own for word in words) / len(words)


def sequence(
    context: Sequence[WordIds],
    continuation: Sequence[WordIds],
    direction: tuple[Modality, Modality],
    vocabulary: Vocabulary,
    limit: int | None = None,
    opening: Sequence[int] = (),
) -> tuple[list[int], int]:
    """Return token ids of a context with a continuation, and the number of tokens at the end to score.

    A modality token at a change belongs to the context, since it says which modality is asked for. Where codebooks are
    delayed, speech after speech is one stretch, and all of it that a context alone does not have is scored: the delayed
    codes of the context's last frames, too, which are the same for every continuation.

    Args:
        context: words of the context.
        continuation: words of the continuation; if there are none, the context ends so that it can be continued.
        direction: modality of the context and of the continuation.
        vocabulary: layout of the token ids.
        limit: largest number of tokens; None for any number. If there are more, the beginning of the context is cut
            off, and the end of a continuation that would leave no context.
        opening: token ids before the first modality token.
    """
    first, second = direction
    said, asked = _tokens(context, first), _tokens(continuation, second)
    change = [] if second is first else [vocabulary.change_marker(second)]
    said_by, asked_by = (frame_tokens(vocabulary) if one is Modality.SPEECH else 1 for one in direction)
    if limit is not None:
        room = limit - 1 - len(change) - len(opening) - len(vocabulary.opening)
        asked = asked[: (room - said_by) // asked_by * asked_by]
        said = said[-((room - len(asked)) // said_by * said_by) :]
    before = [*opening, *vocabulary.opening, vocabulary.marker(first)]
    tokens = in_steps(np.array([*before, *said, *change, *asked], dtype=np.int64), vocabulary).tolist()
    if first is second is Modality.SPEECH and vocabulary.layout.delays:
        begun = len(before) + open_length(len(said) // said_by, vocabulary)
        return (tokens, len(tokens) - begun) if asked else (tokens[:begun], 0)
    return tokens, len(asked)


def _tokens(words: Sequence[WordIds], modality: Modality) -> list[int]:
    return [token for word in words for token in (word.speech if modality is Modality.SPEECH else word.text)]


@dataclass(frozen=True)
class ChoiceScores:
    """Log-likelihoods of the right and the wrong continuation of every item in every direction, in nats.

    Attributes:
        directions: names of the directions, D of them.
        ids: ids of the items, N of them.
        mean: log-likelihood per token (D, N, 2), right continuation first.
        whole: log-likelihood of the whole continuation (D, N, 2), right continuation first.
    """

    directions: tuple[str, ...]
    ids: tuple[str, ...]
    mean: torch.Tensor
    whole: torch.Tensor

    def results(self) -> dict[str, ChoiceResult]:
        """Return the accuracy in each direction."""
        results, number = {}, len(self.ids)
        for index, name in enumerate(self.directions):
            right, ties = _summed(points(self.mean[index]))
            low, high = wilson_interval(right, number)
            right_whole, _ = _summed(points(self.whole[index]))
            results[name] = ChoiceResult(right / number, low, high, right_whole / number, number, ties)
        return results

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: per token, the likelihoods of both, and 1, 0 or (a tie) one half points."""
        found = zip(self.directions, self.mean, strict=True)
        return {"ids": list(self.ids)} | {
            name: {"points": points(mean).tolist(), "right": _plain(mean[:, 0]), "wrong": _plain(mean[:, 1])}
            for name, mean in found
        }


def score_choices(
    model: PreTrainedModel,
    items: Sequence[ChoiceItem],
    vocabulary: Vocabulary,
    directions: Sequence[str] = tuple(DIRECTIONS),
    batch_tokens: int = 4096,
    rank: int = 0,
    world_size: int = 1,
    opening: Sequence[int] = (),
) -> ChoiceScores:
    """Score both continuations of every item in each direction.

    Args:
        model: causal language model in evaluation mode.
        items: contexts with their continuations.
        vocabulary: layout of the token ids.
        directions: names of the directions, from `DIRECTIONS`.
        batch_tokens: largest number of tokens in a batch, padding included.
        rank: rank of this process.
        world_size: number of processes; all get the same result.
        opening: token ids before the first modality token (`TextTokenizer.opening`).

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
    # Equal sequences are scored once, since rounding may make their scores differ in batches of other shapes.
    places: dict[tuple[tuple[int, ...], int], int] = {}
    place_of = [places.setdefault((tuple(tokens), scored), len(places)) for tokens, scored in sequences]
    distinct = [(list(tokens), scored) for tokens, scored in places]
    totals = log_likelihoods(model, distinct, batch_tokens, rank, world_size)[place_of]
    counts = torch.tensor([scored for _, scored in sequences])
    shape = (len(directions), len(items), 2)
    whole, mean = totals.view(shape), (totals / counts).view(shape)
    return ChoiceScores(tuple(directions), tuple(item.id for item in items), mean, whole)


def points(scores: torch.Tensor) -> torch.Tensor:
    """Return points (N,) for scores (N, 2) of right and wrong continuation: 1, 0, or one half for a tie."""
    return (scores[:, 0] > scores[:, 1]).double() + (scores[:, 0] == scores[:, 1]).double() / 2


def _summed(found: torch.Tensor) -> tuple[float, int]:
    """Return the sum of points (N,), and the number of ties."""
    return float(found.sum()), int((found == 0.5).sum())


def _plain(values: torch.Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]
