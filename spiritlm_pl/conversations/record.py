"""Conversations as records: turns with a role, made of parts that are text, speech of a corpus, or speech tokens.

On disk, a conversation is a line of JSON:
`{"id": "7", "turns": [{"role": "user", "parts": [{"utterance": "7-0"}]}, {"role": "assistant", "parts": [...]}]}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spiritlm_pl.conversations.template import LEARNT

KINDS = ("text", "utterance", "tokens")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a turn: one of text, utterance and tokens.

    Attributes:
        text: words; None for speech.
        utterance: id of an utterance of a tokenised corpus; None for anything else.
        tokens: speech tokens as `[Hu3][Hu7]`; None for anything else.
        learn: whether the part is learnt; None as its turn.
    """

    text: str | None = None
    utterance: str | None = None
    tokens: str | None = None
    learn: bool | None = None

    def __post_init__(self) -> None:
        """Check that there is one content, and not an empty one."""
        given = {name: value for name in KINDS if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            raise ValueError(f"part must have one of {', '.join(KINDS)}, but has {', '.join(given) or 'none'}")
        name, value = next(iter(given.items()))
        if not isinstance(value, str):
            raise ValueError(f"{name} of a part must be a string, but is {value!r:.100}")
        if self.learn is not None and not isinstance(self.learn, bool):
            raise ValueError(f"learn of a part must be true or false, but is {self.learn!r}")

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return not (self.text or self.utterance or self.tokens or "").strip()


@dataclass(frozen=True)
class Turn:
    """A turn of a conversation.

    Attributes:
        role: who speaks: system, user, assistant, or another role of the template.
        parts: what is said, in order.
        learn: whether the turn is learnt; None if it is one of the assistant's.
    """

    role: str
    parts: tuple[Part, ...]
    learn: bool | None = None

    def learns(self, part: Part) -> bool:
        """Whether a part of this turn is learnt."""
        own = self.learn if part.learn is None else part.learn
        return self.role == LEARNT if own is None else own


@dataclass(frozen=True)
class Conversation:
    """A conversation.

    Attributes:
        id: name of the conversation, unique in its split.
        turns: its turns, in order.

    Raises:
        ValueError: if nothing of it is learnt, or a turn that is learnt holds nothing.
    """

    id: str
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        """Check that something is learnt."""
        if not self.turns:
            raise ValueError("conversation must have turns, but has none")
        for number, turn in enumerate(self.turns, 1):
            if all(part.empty for part in turn.parts):
                raise ValueError(f"turn {number} ({turn.role}) must hold something, but is empty")
        if not any(turn.learns(part) and not part.empty for turn in self.turns for part in turn.parts):
            roles = ", ".join(dict.fromkeys(turn.role for turn in self.turns))
            raise ValueError(
                f"conversation must have a part to learn, by default a turn of {LEARNT}, but has turns of {roles}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, from which `from_dict` makes the conversation again."""
        return {
            "id": self.id,
            "turns": [
                {
                    "role": turn.role,
                    **_given(turn, ("learn",)),
                    "parts": [_given(p, (*KINDS, "learn")) for p in turn.parts],
                }
                for turn in self.turns
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Conversation":
        """Make a conversation of a dictionary.

        Raises:
            ValueError: if it is not as that of a conversation must be.
        """
        turns = values.get("turns")
        if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
            raise ValueError(f"turns must be a list of objects, but are {turns!r:.100}")
        return cls(str(values.get("id", "")), tuple(_turn(turn) for turn in turns))


def _turn(values: Mapping[str, Any]) -> Turn:
    role, parts, learn = values.get("role"), values.get("parts"), values.get("learn")
    if not isinstance(role, str) or not role:
        raise ValueError(f"role of a turn must be a word, but is {role!r}")
    if learn is not None and not isinstance(learn, bool):
        raise ValueError(f"learn of a turn must be true or false, but is {learn!r}")
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError(f"parts of a turn must be a list of objects, but are {parts!r:.100}")
    strange = next((name for part in parts for name in part if name not in (*KINDS, "learn")), None)
    if strange is not None:
        raise ValueError(f"parts of a turn must have {', '.join(KINDS)} and learn, but one has {strange!r}")
    return Turn(role, tuple(Part(**part) for part in parts), learn)


def _given(found: Turn | Part, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(found, name)) is not None}
