"""Tasks of speech as conversations, made of the utterances of a tokenised corpus: recognition, synthesis, labels."""

from collections.abc import Callable

from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.template import LEARNT, USER
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.utterances import spoken_text

LABELS = ("label", "style")  # fields of an utterance, the first of which that it has is its label


def recognition(utterance: UnitUtterance) -> Conversation:
    """Return an utterance with its transcript as the answer.

    Raises:
        ValueError: if it has no transcript.
    """
    return _of(utterance, "asr", Part(utterance=utterance.id), Part(text=spoken_text(utterance)))


def synthesis(utterance: UnitUtterance) -> Conversation:
    """Return a transcript with its utterance as the answer.

    Raises:
        ValueError: if it has no transcript.
    """
    return _of(utterance, "tts", Part(text=spoken_text(utterance)), Part(utterance=utterance.id))


def labelling(utterance: UnitUtterance) -> Conversation:
    """Return an utterance with its label (field `label`, or else `style`, of its corpus) as the answer.

    Raises:
        ValueError: if it has no label.
    """
    label = next((utterance.custom[name] for name in LABELS if utterance.custom.get(name) is not None), "")
    return _of(utterance, "intent", Part(utterance=utterance.id), Part(text=str(label)))


def _of(utterance: UnitUtterance, task: str, asked: Part, answer: Part) -> Conversation:
    return Conversation(f"{task}/{utterance.id}", (Turn(USER, (asked,)), Turn(LEARNT, (answer,))))


TASKS: dict[str, Callable[[UnitUtterance], Conversation]] = {"asr": recognition, "tts": synthesis, "intent": labelling}
