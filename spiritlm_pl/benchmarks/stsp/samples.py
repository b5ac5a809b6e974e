"""Samples with a sentiment, whatever layout they are read from, and shots for few-shot prompts."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.generation.types import Piece, Speech, Text

SEPARATOR = "\n"  # behind a written shot that another text follows; a written answer ends there, too


@dataclass(frozen=True)
class Sample:
    """Utterance with a sentiment.

    Attributes:
        id: id that no other sample of the benchmark has.
        own_id: its id in its own file, which prediction files have.
        corpus: name of its manifest or corpus.
        label: its sentiment or emotion.
        text: its text; empty if there is none.
        audio: its recording; None if it is missing.
        speaker: its speaker; empty if there is none.
        reason: why it cannot be a spoken prompt; empty if it can.
    """

    id: str
    own_id: str | int
    corpus: str
    label: str
    text: str
    audio: Path | None
    speaker: str
    reason: str = ""


@dataclass(frozen=True)
class Shot:
    """First and second half of a sample, each written or spoken, with the sentiment of the whole."""

    prompt: Piece
    answer: Piece
    label: str


@dataclass(frozen=True)
class Collection:
    """All that was found in a folder.

    Attributes:
        samples: samples of the split.
        layout: name of the layout.
        shots: samples in halves, from which shots are drawn.
        skipped: samples that cannot be read, with the reasons.
        notes: sentences about what was found.
        judges: folder with the archive's own judges; None if the layout has none.
    """

    samples: Sequence[Sample]
    layout: str
    shots: Sequence[Shot] = ()
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    judges: Path | None = None


def check_shots(shots: Sequence[Shot], num_shots: int, where: object) -> dict[str, list[tuple[Piece, ...]]]:
    """Return the pieces of all shots by label, after a check that enough of each can be drawn.

    Args:
        shots: shots to draw from.
        num_shots: number of shots before each prompt, as many of each label.
        where: folder or file of the shots, for messages.

    Raises:
        ValueError: if the number cannot be shared evenly, or a label has too few shots.
    """
    found: dict[str, list[tuple[Piece, ...]]] = {}
    for shot in shots:
        found.setdefault(shot.label, []).append(_pieces(shot))
    if not found:
        raise ValueError(f"shots must be 0 where there are no examples, but are {num_shots} and {where} has none")
    if num_shots % len(found):
        told = ", ".join(found)
        raise ValueError(f"shots must be a multiple of {len(found)}, as many of each of {told}, but are {num_shots}")
    each = num_shots // len(found)
    few = {label: len(some) for label, some in found.items() if len(some) < each}
    if few:
        told = ", ".join(f"{count} {label}" for label, count in few.items())
        raise ValueError(f"shots must be {each} of each label, but {where} has {told} alone")
    return found


def draw_shots(
    shots: Mapping[str, Sequence[tuple[Piece, ...]]], num_shots: int, seed: int, name: str
) -> tuple[tuple[Piece, ...], ...]:
    """Draw as many shots of each label and mix them; each prompt has a draw of its own, so that none decides all.

    Args:
        shots: pieces of shots by label, as `check_shots` returns them.
        num_shots: number of shots, a multiple of the number of labels.
        seed: seed of all draws.
        name: id of the prompt.
    """
    draw = random.Random(f"{seed} {name}")
    drawn = [one for some in shots.values() for one in draw.sample(list(some), num_shots // len(shots))]
    return tuple(draw.sample(drawn, len(drawn)))


def _pieces(shot: Shot) -> tuple[Piece, ...]:
    """Return the pieces of a shot; text that follows text is separated by a space, and the next shot by a line end."""
    if isinstance(shot.prompt, Text) and isinstance(shot.answer, Text):
        return (Text(f"{shot.prompt.text} {shot.answer.text}{SEPARATOR}"),)
    return (shot.prompt, shot.answer)


def is_there(piece: Piece) -> bool:
    """Return whether a piece is a text, or speech whose file is there."""
    return not isinstance(piece, Speech) or Path(str(piece.audio)).is_file()
