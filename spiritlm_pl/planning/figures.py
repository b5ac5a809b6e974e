"""Measured figures of the data path: those of `figures.yaml`, or a user's own in their place."""

from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

OWN = Path(__file__).with_name("figures.yaml")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the data path costs.

    Attributes:
        machine: what the figures were measured on.
        units: CPU seconds that the units of a second of speech take.
        pitch: CPU seconds that the pitch codes of a second of speech take.
        style: CPU seconds that the style codes of a second of speech take.
        block_utterance: CPU seconds of building blocks for an utterance, besides those for its tokens.
        block_unit: CPU seconds of building blocks for a speech token.
        block_aligned: CPU seconds more for an utterance with words, of which two streams more are made.
        block_aligned_unit: CPU seconds more for a speech token of an utterance with words.
        block_word: CPU seconds of building blocks for a word with its times and transcript.
        block_slice: CPU seconds of reading the part of one sorted run that belongs to blocks that are made together.
        block_text_token: CPU seconds of reading, encoding and writing a token of text.
        shard_utterance: bytes of an utterance in unit shards, besides those of its units and words.
        shard_unit: bytes of a unit with its time in unit shards.
        shard_code: bytes of a pitch or style code in unit shards.
        shard_word: bytes of a word with its times in unit shards.
    """

    machine: str
    units: float
    pitch: float
    style: float
    block_utterance: float
    block_unit: float
    block_aligned: float
    block_aligned_unit: float
    block_word: float
    block_slice: float
    block_text_token: float
    shard_utterance: float
    shard_unit: float
    shard_code: float
    shard_word: float

    @classmethod
    def load(cls, path: Path | None = None) -> "Figures":
        """Read the figures of this package.

        Args:
            path: YAML file whose figures take their place; None takes all from this package.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is no mapping from names of figures to numbers.
        """
        own = cls(**_values(OWN))
        return own if path is None else replace(own, **{"machine": str(path), **_values(path)})


def _values(path: Path) -> dict[str, Any]:
    """Read a file of figures: a number, or a mapping with a number as its `value`, for each name."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"figures must be a YAML file, but {path} is not: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ValueError(f"figures must be names with numbers, but {path} holds {type(found).__name__} instead")
    known = [field.name for field in fields(Figures)]
    for name in found:
        if name not in known:
            raise ValueError(f"figures must be some of {', '.join(known)}, but {path} has {name!r}")
    return {name: str(value) if name == "machine" else _number(path, name, value) for name, value in found.items()}


def _number(path: Path, name: str, value: Any) -> float:
    number = value.get("value") if isinstance(value, dict) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not isfinite(number) or number < 0:
        raise ValueError(f"{name} must be a number of at least 0, but is {number!r} in {path}")
    return float(number)
