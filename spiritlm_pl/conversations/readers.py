"""Forms in which people have conversations, read as turns of texts, audio and speech tokens.

- turns: `{"turns": [{"role": ..., "parts": [{"text": ...}, {"audio": ...}, {"tokens": ...}]}]}`, as here.
- messages, as OpenAI and `transformers` have them: `{"messages": [{"role": ..., "content": ...}]}`. The content is
  a text, or a list of parts: `text`, `audio`, `input_audio` (base 64), `audio_url`; or a text with `<audio>` in it, and
  the files in `audios` beside it.
- sharegpt: `{"conversations": [{"from": "human", "value": ...}]}`, with `<audio>` as well.
- rows of a task: audio, text or label in columns, as manifests of speech recognition, tables of intents and `datasets`
  have them.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from spiritlm_pl.conversations.record import Part
from spiritlm_pl.conversations.template import LEARNT, USER

ROLES = {"human": USER, "gpt": LEARNT, "model": LEARNT, "bot": LEARNT, "chatbot": LEARNT}
MARK = "<audio>"
AUDIO = ("audio", "audio_filepath", "audio_path", "path", "wav", "file", "speech")
TEXT = ("text", "sentence", "transcript", "transcription", "normalized_text", "raw_text")
LABEL = ("label", "intent", "style", "emotion", "category")
COMMAND = ("action", "object", "location")  # which are the label of a command together, as in Fluent Speech Commands


@dataclass(frozen=True)
class Audio:
    """Audio of a part as its source gives it.

    Attributes:
        path: path of a file; None for bytes.
        content: bytes of a file; None for a path.
        start: start in seconds of the file.
        duration: length in seconds; None for all that follows the start.
        learn: whether it is learnt; None as its turn.
    """

    path: str | None
    content: bytes | None = None
    start: float = 0.0
    duration: float | None = None
    learn: bool | None = None


@dataclass(frozen=True)
class RawTurn:
    """A turn before its audio is part of a corpus."""

    role: str
    parts: tuple[Part | Audio, ...]
    learn: bool | None = None


Values: TypeAlias = Mapping[str, Any]


def turns_of(values: Values, task: str | None = None) -> list[RawTurn]:
    """Return the turns of a row, whose form is told by its fields.

    Args:
        values: the row.
        task: what a row of audio and text asks for: asr, tts or intent; None where rows hold turns.

    Raises:
        ValueError: if the row has none of the known forms, or is damaged.
    """
    if task is not None:
        return _task(values, task)
    if "turns" in values:
        return [_own(turn) for turn in _objects(values["turns"], "turns")]
    audios = iter(_listed(values.get("audios", values.get("audio"))))
    if "messages" in values:
        found = [_message(one, audios) for one in _objects(values["messages"], "messages")]
    elif "conversations" in values:
        found = [_sharegpt(one, audios) for one in _objects(values["conversations"], "conversations")]
    else:
        raise ValueError("row without turns, messages or conversations (rows of audio and text need --task)")
    if next(audios, None) is not None:
        raise ValueError(f"row with more audios than {MARK} in its texts")
    return found


def _own(turn: Values) -> RawTurn:
    learn = _flag(turn.get("learn"))
    return RawTurn(_role(turn.get("role")), tuple(_part(one) for one in _objects(turn.get("parts"), "parts")), learn)


def _part(values: Values) -> Part | Audio:
    if "audio" in values:
        return _audio(values["audio"], values)
    return Part(**{str(name): value for name, value in values.items()})


def _message(message: Values, audios: Iterator[Any]) -> RawTurn:
    content = message.get("content")
    if isinstance(content, str):
        parts = _marked(content, audios)
    else:
        parts = list(chain.from_iterable(_content(one, audios) for one in _objects(content, "content")))
    weight = message.get("weight")  # 0 or 1, as OpenAI's files have it
    if weight not in (None, 0, 1):
        raise ValueError("weight of a message that is neither 0 nor 1")
    learn = _flag(message.get("learn")) if weight is None else bool(weight)
    return RawTurn(_role(message.get("role")), tuple(parts), learn)


def _content(part: Values, audios: Iterator[Any]) -> list[Part | Audio]:
    kind = part.get("type", "text" if "text" in part else "audio")
    if kind == "text":
        text = part.get("text")
        return _marked(text if isinstance(text, str) else "", audios)
    if kind == "speech":
        return [Part(tokens=part.get("tokens"))]
    if kind == "input_audio":
        return [_encoded(part.get("input_audio"))]
    if kind in ("audio", "audio_url"):
        found = next((part[name] for name in ("audio", "audio_url", "url", "path") if part.get(name)), None)
        if isinstance(found, Mapping) and "url" in found:
            found = found["url"]
        return [_audio(next(audios, None) if found is None else found, part)]
    raise ValueError(f"part of type {kind!r}, which is neither text nor audio")


def _sharegpt(turn: Values, audios: Iterator[Any]) -> RawTurn:
    return RawTurn(_role(turn.get("from")), tuple(_marked(turn.get("value"), audios)))


def _marked(text: Any, audios: Iterator[Any]) -> list[Part | Audio]:
    """Return the parts of a text in which `<audio>` stands for the next of the audios."""
    if not isinstance(text, str):
        raise ValueError("turn without a text")
    parts: list[Part | Audio] = []
    for number, piece in enumerate(text.split(MARK)):
        if number:
            found = next(audios, None)
            if found is None:
                raise ValueError(f"row with fewer audios than {MARK} in its texts")
            parts.append(_audio(found, {}))
        if piece.strip():
            parts.append(Part(text=piece.strip()))
    return parts


def _task(values: Values, task: str) -> list[RawTurn]:
    named = next((values[name] for name in AUDIO if values.get(name)), None)
    if named is None:
        raise ValueError(f"row without audio ({', '.join(AUDIO)})")
    text = _label(values) if task == "intent" else transcript_of(values)
    if not text:
        wanted = f"{', '.join(LABEL)}; or {', '.join(COMMAND)}" if task == "intent" else ", ".join(TEXT)
        raise ValueError(f"row without a text for {task} ({wanted})")
    spoken, written = _audio(named, values), Part(text=text)
    asked, answer = (written, spoken) if task == "tts" else (spoken, written)
    return [RawTurn(USER, (asked,)), RawTurn(LEARNT, (answer,))]


def transcript_of(values: Values) -> str:
    """Return what is said in a row of a task; empty if it is not told."""
    return _first(values, TEXT)


def _label(values: Values) -> str:
    whole = all(_first(values, (name,)) for name in COMMAND)
    return _first(values, LABEL) or (" ".join(_first(values, (name,)) for name in COMMAND) if whole else "")


def _first(values: Values, names: Sequence[str]) -> str:
    texts = (values[name].strip() for name in names if isinstance(values.get(name), str))
    return next((text for text in texts if text), "")


def _audio(found: Any, values: Values) -> Audio:
    """Return audio that is given as a path, or as `datasets` has it, with times beside it."""
    learn = _flag(values.get("learn"))
    start = _seconds(values, ("start", "offset"))
    duration, end = _seconds(values, ("duration",)), _seconds(values, ("end",))
    if duration is None and end is not None:
        duration = end - (start or 0.0)
    if duration is not None and not duration > 0:
        raise ValueError("audio with a duration that is not above 0")
    span = (start or 0.0, duration, learn)
    if isinstance(found, Mapping):
        content, path = found.get("bytes"), found.get("path")
        if content:
            return Audio(None, bytes(content), *span)
        found = path
    if not isinstance(found, str) or not found:
        raise ValueError("part without audio")
    if found.startswith("data:"):
        return _encoded({"data": found.partition(",")[2]})
    if "://" in found and not found.startswith("file://"):
        raise ValueError("audio that is an address on the network: fetch it first")
    return Audio(found.removeprefix("file://"), None, *span)


def _encoded(found: Any) -> Audio:
    data = found.get("data") if isinstance(found, Mapping) else None
    if not isinstance(data, str):
        raise ValueError("input_audio without data")
    try:
        return Audio(None, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("input_audio that is not in base 64") from None


def _seconds(values: Values, names: Sequence[str]) -> float | None:
    found = next((values[name] for name in names if values.get(name) is not None), None)
    if found is None:
        return None
    if isinstance(found, str):  # of a csv file
        with suppress(ValueError):
            found = float(found)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e9:
        raise ValueError(f"audio with {names[0]} that is no number of seconds")
    return float(found)


def _role(name: Any) -> str:
    if name is None:
        raise ValueError("turn without a role")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("turn with a role that is no name")
    return ROLES.get(name.strip(), name.strip())


def _flag(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError("learn that is neither true nor false")
    return value


def _objects(found: Any, name: str) -> list[Values]:
    if isinstance(found, list | tuple) and not found:
        raise ValueError(f"{name} that are empty")
    if not isinstance(found, list | tuple) or not all(isinstance(one, Mapping) for one in found):
        raise ValueError(f"{name} that are {'missing' if found is None else 'no list of objects'}")
    return list(found)


def _listed(found: Any) -> list[Any]:
    return [] if found is None else [*found] if isinstance(found, list | tuple) else [found]
