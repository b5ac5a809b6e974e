"""Short stories from a small built-in grammar, easy or hard.

The first sentence of an easy story introduces an animal and a place, the second a thing; the last two name all three
again. A continuation therefore fits its own beginning and hardly any other, which the cross-modal choice benchmarks
measure. A hard story (`hard_stories`) has more to choose from, and waits longer with the ending.
"""

import random
from dataclasses import dataclass
from typing import Literal

from spiritlm_pl.corpora.synthetic import hard_stories

Difficulty = Literal["easy", "hard"]
ANIMALS = ("fox", "bear", "cat", "dog", "duck", "frog", "horse", "mouse", "owl", "pig")
PLACES = ("river", "forest", "garden", "castle", "market", "village", "school", "beach")
THINGS = ("lamp", "apple", "drum", "kite", "button", "letter", "shoe", "cup")
COLOURS = ("red", "blue", "green", "golden", "silver", "black")

OPENINGS = (
    "One {time} the {animal} reached the {place}.",
    "A {mood} {animal} slept beside the {place}.",
    "A {mood} {animal} lived near the {place}.",
)
FINDINGS = ("There he found a {colour} {thing}.", "Somebody gave him a {colour} {thing}.", "He saw a {colour} {thing}.")
MIDDLES = (
    "The {animal} liked the {thing} very much.",
    "Soon the {animal} lost the {thing}.",
    "The {animal} cleaned the {thing}.",
)
ENDINGS = (
    "Then the {animal} carried the {thing} towards the {place}.",
    "Now the {animal} keeps the {thing} beside the {place}.",
    "Tonight the {animal} hides the {thing} near the {place}.",
)
TIMES = ("morning", "evening", "day")
MOODS = ("young", "hungry", "happy", "brave")
TEMPLATES = (OPENINGS, FINDINGS, MIDDLES, ENDINGS)


@dataclass(frozen=True)
class Story:
    """A story.

    Attributes:
        id: name of the story, unique for a seed.
        sentences: its written sentences.
        animal: animal that it is about.
        place: place where it happens.
        thing: thing that is found.
    """

    id: str
    sentences: tuple[str, ...]
    animal: str
    place: str
    thing: str

    @property
    def text(self) -> str:
        """Text of the whole story."""
        return " ".join(self.sentences)

    @property
    def sentence_ends(self) -> list[int]:
        """For each sentence, the number of words from the start of the story to its end."""
        ends, total = [], 0
        for sentence in self.sentences:
            total += len(sentence.split())
            ends.append(total)
        return ends


def write_stories(count: int, seed: int = 0, difficulty: Difficulty = "easy") -> list[Story]:
    """Write distinct random stories.

    Args:
        count: number of stories to write.
        seed: seed of the stories; with the same seed, a larger count only adds stories.
        difficulty: easy, four sentences; or hard, five, of more animals, places and things.

    Raises:
        ValueError: if the count is out of range.
    """
    largest = 1_000_000
    if not 1 <= count <= largest:
        raise ValueError(f"count must be in [1, {largest}], but is {count} instead")
    hard = difficulty == "hard"
    generator = random.Random(f"hard stories {seed}" if hard else f"stories {seed}")
    stories: dict[tuple[str, ...], Story] = {}
    while len(stories) < count:
        words = hard_stories.draw(generator) if hard else _draw(generator)
        templates = hard_stories.TEMPLATES if hard else TEMPLATES
        sentences = tuple(generator.choice(forms).format(**words) for forms in templates)
        if sentences not in stories:
            name = f"{'hard-story' if hard else 'story'}-{seed}-{len(stories):06d}"
            stories[sentences] = Story(name, sentences, words["animal"], words["place"], words["thing"])
    return list(stories.values())


def _draw(generator: random.Random) -> dict[str, str]:
    """Draw the words of an easy story."""
    return {
        "animal": generator.choice(ANIMALS),
        "place": generator.choice(PLACES),
        "thing": generator.choice(THINGS),
        "colour": generator.choice(COLOURS),
        "time": generator.choice(TIMES),
        "mood": generator.choice(MOODS),
    }


def vocabulary() -> set[str]:
    """Return all words of the grammar of easy stories in lower case."""
    fields = (ANIMALS, PLACES, THINGS, COLOURS, TIMES, MOODS)
    fixed = {
        word.strip(".").lower()
        for templates in TEMPLATES
        for sentence in templates
        for word in sentence.split()
        if "{" not in word
    }
    return fixed.union(*fields)
