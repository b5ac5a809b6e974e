"""Texts with a label, from the templates of a grammar file: what tells a sentiment, a background, an intent."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.make.grammars import FOLDER
from spiritlm_pl.benchmarks.make.settings import Settings, read_yaml
from spiritlm_pl.benchmarks.make.speaking import check_sayable
from spiritlm_pl.benchmarks.make.templates import SlottedTexts, read_lists

BUILT_IN = FOLDER / "salmon.yaml"


def read_texts(
    settings: Settings, key: str, labels: Sequence[str], built_in: Path = BUILT_IN
) -> dict[str, list[SlottedTexts]]:
    """Read the templates of each label from one section of a grammar.

    Args:
        settings: settings with the grammar file, if there is one.
        key: name of the section.
        labels: labels that may be named in it; at least two of them must be.
        built_in: grammar to read if none is given.

    Raises:
        ValueError: if the section is missing or not as it must be.
    """
    if settings.grammar is None:
        settings.needs_english("grammar")
    path = settings.grammar or built_in
    values = read_yaml(path, "grammar")
    section = values.get(key)
    if not isinstance(section, dict) or len(section) < 2 or not set(section) <= set(labels):
        told = ", ".join(map(str, section)) if isinstance(section, dict) else repr(section)
        raise ValueError(
            f"grammar must have {key} with texts for two or more of {', '.join(labels)}, but {path} has {told} instead"
        )
    lists = read_lists(values["words"], str(path)) if "words" in values else {}
    return {label: templates_of(texts, lists, f"{key}.{label} of {path}") for label, texts in section.items()}


def templates_of(texts: Any, lists: Mapping[str, Any], where: str) -> list[SlottedTexts]:
    """Read a list of texts with slots.

    Raises:
        ValueError: if it is no list of different texts.
    """
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"texts must be a list of texts in quotes, but {where} is {texts!r} instead")
    if len(set(texts)) < len(texts):
        raise ValueError(f"texts must be different, but {where} holds one twice")
    return [SlottedTexts([text], lists, where) for text in texts]


def draw_texts(
    templates: Mapping[str, Sequence[SlottedTexts]], settings: Settings, draw: random.Random, key: str
) -> list[tuple[str, str]]:
    """Draw different texts, the labels in turn.

    Raises:
        ValueError: if the templates of a label give too few, or a text cannot be said.
    """
    rooms = {label: sum(one.capacity for one in found) for label, found in templates.items()}
    fewest = min(rooms, key=rooms.__getitem__)
    settings.check_count(len(rooms) * rooms[fewest], f"texts of the grammar, as {key}.{fewest} has {rooms[fewest]}")
    drawn: list[list[tuple[str, str]]] = []
    for label, found in templates.items():
        wanted = -(-settings.count // len(templates))
        texts = fill_some(found, wanted, draw)
        for text in texts:
            check_sayable(text, settings.language, f"{key}.{label}")
        drawn.append([(label, text) for text in texts])
    return [text for turn in zip(*drawn, strict=True) for text in turn][: settings.count]


def fill_some(templates: Sequence[SlottedTexts], count: int, draw: random.Random) -> list[str]:
    """Fill templates in random ways, all of them about as often as the number of their ways allows."""
    order = draw.sample(range(len(templates)), len(templates))
    left = {place: templates[place].draw(min(count, templates[place].capacity), draw) for place in order}
    texts: list[str] = []
    while len(texts) < count and any(left.values()):
        for place in order:
            if left[place] and len(texts) < count:
                texts.append(left[place].pop()[0])
    return texts
