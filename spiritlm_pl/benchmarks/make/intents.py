"""Intents in miniature: spoken commands with an action, an object and a location.

Layout `fsc` (Fluent Speech Commands): `data/{train,valid,test}_data.csv` and `wavs/speakers/<speaker>/`. Layout
`slurp`: `dataset/slurp/{train,devel,test}.jsonl` and `slurp_real/`, each command recorded near (`-headset`) and from
across a room. No speaker of one split is in another; the intents take turns.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.acoustics import InRooms
from spiritlm_pl.benchmarks.make.grammars import FOLDER
from spiritlm_pl.benchmarks.make.labelled_texts import fill_some, templates_of
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording, as_csv, as_jsonl
from spiritlm_pl.benchmarks.make.settings import Settings, read_yaml
from spiritlm_pl.benchmarks.make.speaking import check_sayable
from spiritlm_pl.benchmarks.make.templates import SlottedTexts, read_lists
from spiritlm_pl.corpora.synthetic.espeak import Voice

LAYOUTS = ("fsc", "slurp")
KEYS = ("action", "object", "location")
BUILT_IN = FOLDER / "intents.yaml"
COLUMNS = ("", "path", "speakerId", "transcription", *KEYS)
SPLITS = ("train", "valid", "test")
SLURP_NAMES = {"valid": "devel"}
HELD_OUT = 5  # one of so many commands is in the validation split, and one in the test split


@dataclass(frozen=True)
class Intent:
    """What is meant, and what is said for it."""

    action: str
    object: str
    location: str
    say: tuple[SlottedTexts, ...]

    @property
    def label(self) -> dict[str, str]:
        """Its action, object and location."""
        return {"action": self.action, "object": self.object, "location": self.location}

    @property
    def name(self) -> str:
        """One word for it, such as lights_activate_kitchen."""
        words = [self.object, self.action, *([self.location] if self.location != "none" else [])]
        return "_".join("_".join(words).split())


@dataclass(frozen=True)
class Command:
    """A command as it is said."""

    intent: Intent
    text: str
    voice: Voice


def read_intents(settings: Settings) -> list[Intent]:
    """Read the intents of a grammar file, or the built-in ones.

    Raises:
        ValueError: if there are fewer than two, or one is not as it must be.
    """
    if settings.grammar is None:
        settings.needs_english("grammar")
    path = settings.grammar or BUILT_IN
    values = read_yaml(path, "grammar")
    entries = values.get("intents")
    if not isinstance(entries, list) or len(entries) < 2:
        raise ValueError(f"grammar must have a list of two intents or more, but {path} has {entries!r} instead")
    lists = read_lists(values["words"], str(path)) if "words" in values else {}
    found: dict[tuple[str, ...], Intent] = {}
    for number, entry in enumerate(entries, 1):
        where = f"intent {number} of {path}"
        label = _label(entry, where)
        if label in found:
            raise ValueError(f"intents must be different, but {path} has {' '.join(label)} twice")
        found[label] = Intent(*label, say=tuple(templates_of(entry["say"], lists, f"say of {where}")))
    return list(found.values())


def _label(entry: Any, where: str) -> tuple[str, str, str]:
    if not isinstance(entry, dict) or set(entry) != {*KEYS, "say"}:
        told = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        raise ValueError(f"intents must have {', '.join(KEYS)}, say, but {where} has {told} instead")
    for key in KEYS:
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise ValueError(f"{key} must be a text (none if there is none), but is {entry[key]!r} in {where} instead")
    return entry["action"].strip(), entry["object"].strip(), entry["location"].strip()


def make_intents(settings: Settings) -> Miniature:
    """Make commands of every intent, in three splits.

    Raises:
        ValueError: if there are fewer than three voices, or the grammar gives too few commands.
    """
    if len(settings.voices) < len(SPLITS):
        names = ", ".join(voice.name for voice in settings.voices)
        raise ValueError(f"voices must be three or more, as each split has speakers of its own, but are {names}")
    intents = read_intents(settings)
    *train, valid, test = settings.voices
    held_out = settings.count // HELD_OUT
    sizes = {"train": settings.count - 2 * held_out, "valid": held_out, "test": held_out}
    texts = min(sum(one.capacity for one in intent.say) for intent in intents)
    each = len(intents) * texts  # commands that one voice can say; what does not divide by five is in train
    most = min(HELD_OUT * each, max(0, HELD_OUT * each * len(train) - 2 * (HELD_OUT - 1)) // (HELD_OUT - 2))
    settings.check_count(
        most, f"commands, as an intent has {texts} texts and {len(train)} voices train", least=HELD_OUT
    )
    commands = {
        split: _commands(intents, voices, sizes[split], random.Random(f"{split} {settings.seed}"), settings.language)
        for split, voices in zip(SPLITS, (train, [valid], [test]), strict=True)
    }
    _check_one_intent_each(commands.values())
    made = _slurp(commands, settings.seed) if settings.layout == "slurp" else _fsc(commands)
    source = "built in (Apache-2.0)" if settings.grammar is None else f"{settings.grammar.name}, under its own licence"
    sizes_told = ", ".join(f"{split} {len(found)}" for split, found in commands.items())
    notes = [f"{len(intents)} intents; {sizes_told}; every split has its own speakers", f"grammar: {source}"]
    return Miniature("intents", made[0], made[1], notes=notes)


def _commands(
    intents: Sequence[Intent], voices: Sequence[Voice], count: int, draw: random.Random, language: str
) -> list[Command]:
    """Draw commands, the intents in turn; none is said twice by one voice."""
    each = -(-count // len(intents))
    drawn: list[list[Command]] = []
    for intent in intents:
        texts = fill_some(intent.say, each, draw)
        for text in texts:
            check_sayable(text, language, f"intent {intent.name}")
        every = [Command(intent, text, voice) for text in texts for voice in voices]
        drawn.append(draw.sample(every, each))
    return [command for turn in zip(*drawn, strict=True) for command in turn][:count]


def _check_one_intent_each(commands: Any) -> None:
    meant: dict[str, str] = {}
    for command in (one for found in commands for one in found):
        if meant.setdefault(command.text, command.intent.name) != command.intent.name:
            raise ValueError(
                f"a text must have one intent, but {command.text!r} is said for {meant[command.text]} and for "
                f"{command.intent.name}"
            )


def _fsc(commands: dict[str, list[Command]]) -> tuple[list[Recording], dict[str, str]]:
    recordings: list[Recording] = []
    files: dict[str, str] = {}
    for split, found in commands.items():
        rows = []
        for number, command in enumerate(found):
            speaker = command.voice.name.replace("+", "-")
            path = f"wavs/speakers/{speaker}/{split}-{number:05d}.wav"
            row: dict[str, Any] = {"": number, "path": path, "speakerId": speaker, "transcription": command.text}
            rows.append(row | command.intent.label)
            labels: Labels = {"split": split, **command.intent.label}
            recordings.append(Recording(path, (Part(command.text, command.voice),), labels))
        files[f"data/{split}_data.csv"] = as_csv(rows, COLUMNS)
    return recordings, files


def _slurp(commands: dict[str, list[Command]], seed: int) -> tuple[list[Recording], dict[str, str]]:
    recordings: list[Recording] = []
    files: dict[str, str] = {}
    number = 0
    for split, found in commands.items():
        rows = []
        for command in found:
            number += 1
            labels: Labels = {"split": SLURP_NAMES.get(split, split), "intent": command.intent.name}
            part = (Part(command.text, command.voice),)
            near, far = f"audio-{number:06d}-headset.flac", f"audio-{number:06d}.flac"
            recordings.append(Recording(f"slurp_real/{near}", part, labels, instruction="close microphone"))
            room = InRooms(("office",), seed + number)
            recordings.append(Recording(f"slurp_real/{far}", part, labels, room, instruction="across the room"))
            rows.append(
                {
                    "slurp_id": number,
                    "sentence": command.text,
                    "intent": command.intent.name,
                    "recordings": [{"file": near}, {"file": far}],
                }
            )
        files[f"dataset/slurp/{SLURP_NAMES.get(split, split)}.jsonl"] = as_jsonl(rows)
    return recordings, files
