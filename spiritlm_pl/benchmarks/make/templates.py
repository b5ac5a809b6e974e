"""Templates with slots: `The {animal.one} saw the {animal#2.many}.` and the words that fill them.

A slot names a list of words, and the form of the word if its words have several. `#2` takes another word of the list.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

SLOT = regex.compile(r"\{([^{}]*)\}")
NAME = regex.compile(r"(?P<list>\w+)(?:#(?P<number>\d+))?(?:\.(?P<form>\w+))?")
LARGEST = 1 << 62


@dataclass(frozen=True)
class WordList:
    """Words that can fill a slot.

    Attributes:
        name: name of the list.
        words: each word with its forms; a word with one form has it under "".
    """

    name: str
    words: tuple[Mapping[str, str], ...]

    @property
    def forms(self) -> tuple[str, ...]:
        """Names of the forms that every word has."""
        return tuple(self.words[0])


def read_lists(values: Any, where: str) -> dict[str, WordList]:
    """Read the word lists of a grammar.

    Args:
        values: for each list its words: texts, or mappings of forms to texts.
        where: file that holds them, for the errors.

    Raises:
        ValueError: if a list is empty, holds a word twice, or its words have different forms.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError(f"words must be lists by their names, but {where} has {type(values).__name__} instead")
    return {str(name): _read_list(str(name), entries, where) for name, entries in values.items()}


def _read_list(name: str, entries: Any, where: str) -> WordList:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"words.{name} must be a list of words, but {where} has {entries!r} instead")
    words: list[dict[str, str]] = []
    for entry in entries:
        forms = entry if isinstance(entry, dict) else {"": entry}
        if not forms or not all(isinstance(form, str) and form.strip() for form in forms.values()):
            raise ValueError(
                f"words.{name} must hold texts (in quotes where YAML reads something else), but {where} has {entry!r}"
            )
        if words and set(forms) != set(words[0]):
            raise ValueError(
                f"words.{name} must have the same forms for each word, but {where} has {entry!r} beside {entries[0]!r}"
            )
        if forms in words:
            raise ValueError(f"words.{name} must hold each word once, but {where} has {entry!r} twice")
        words.append({str(form): text for form, text in forms.items()})
    return WordList(name, tuple(words))


class SlottedTexts:
    """Texts with slots that are filled together, such as the right and the wrong sentence of a pair.

    Args:
        texts: texts with slots.
        lists: word lists by their names.
        where: place in a file, for the errors.

    Raises:
        ValueError: if a slot has no word list, a form that its words lack, or more numbers than there are words.
    """

    def __init__(self, texts: Sequence[str], lists: Mapping[str, WordList], where: str) -> None:
        """Find the slots."""
        self.texts = texts
        slots: dict[str, set[int]] = {}
        for text in texts:
            for inner in SLOT.findall(text):
                name, number, form = _slot(inner, text, where)
                if name not in lists:
                    raise ValueError(f"slots must be of {', '.join(lists)}, but {where} has {{{inner}}} instead")
                if form not in lists[name].forms:
                    forms = ", ".join(f"{{{name}{'.' * bool(one)}{one}}}" for one in lists[name].forms)
                    raise ValueError(f"slots of {name} must be {forms}, but {where} has {{{inner}}} instead")
                slots.setdefault(name, set()).add(number)
            if "{" in SLOT.sub("", text) or "}" in SLOT.sub("", text):
                raise ValueError(f"texts must have slots as {{name}}, but {where} has {text!r} instead")
        self._slots = [(lists[name], sorted(numbers)) for name, numbers in sorted(slots.items())]
        for words, numbers in self._slots:
            if len(numbers) > len(words.words):
                raise ValueError(f"words.{words.name} must have {len(numbers)} words or more for {where}")
        self.capacity = math.prod(math.perm(len(words.words), len(numbers)) for words, numbers in self._slots)

    def fill(self, place: int) -> list[str]:
        """Return the texts with the words of one of all `capacity` ways to fill them."""
        chosen: dict[tuple[str, int], Mapping[str, str]] = {}
        for words, numbers in self._slots:
            left = list(words.words)
            for number in numbers:
                place, index = divmod(place, len(left))
                chosen[words.name, number] = left.pop(index)

        def word(match: Any) -> str:
            name, number, form = _slot(match[1], "", "")
            return chosen[name, number][form]

        return [SLOT.sub(word, text) for text in self.texts]

    def draw(self, count: int, draw: random.Random) -> list[list[str]]:
        """Return different ways to fill the texts, at random."""
        return [self.fill(place) for place in draw.sample(range(min(self.capacity, LARGEST)), count)]


def _slot(inner: str, text: str, where: str) -> tuple[str, int, str]:
    found = NAME.fullmatch(inner)
    if found is None:
        raise ValueError(f"slots must be {{list}}, {{list.form}} or {{list#2.form}}, but {where} has {text!r} instead")
    return found["list"], int(found["number"] or 1), found["form"] or ""
