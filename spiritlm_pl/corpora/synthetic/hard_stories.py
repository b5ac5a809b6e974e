"""Grammar of hard stories: more animals, places and things than the easy ones, and a gap before the ending.

The place has been named once, in the first sentence. Beside an ending that has the largest share of its words in the
story (`rivals="near"`), often a single word tells which ending is right.
"""

import random

ANIMALS = tuple("fox bear cat dog duck frog horse mouse owl pig rabbit tiger monkey lion sheep wolf".split())
PLACES = tuple("river forest garden castle market village school beach mountain bridge tower station".split())
THINGS = tuple(
    "lamp apple drum kite button letter shoe cup basket ribbon candle pencil blanket hammer mirror bottle".split()
)
COLOURS = ("red", "blue", "green", "golden", "silver", "black", "yellow", "purple")
MOODS = ("young", "hungry", "happy", "brave", "lazy", "clever")
TIMES = ("morning", "evening", "day", "summer", "winter")

TEMPLATES = (
    (
        "One {time} the {mood} {animal} reached the {place}.",
        "A {mood} {animal} lived near the {place}.",
        "A {mood} {animal} slept beside the {place}.",
    ),
    ("There he found a {colour} {thing}.", "Somebody gave him a {colour} {thing}.", "He saw a {colour} {thing}."),
    (
        "The {animal} liked the {thing} very much.",
        "Soon the {animal} lost the {thing}.",
        "The {animal} cleaned the {thing}.",
    ),
    ("It rained for a long time.", "The night was dark and cold.", "Nobody said a word.", "They waited a while."),
    (
        "Then the {animal} carried the {thing} towards the {place}.",
        "Now the {animal} keeps the {thing} beside the {place}.",
        "Tonight the {animal} hides the {thing} near the {place}.",
    ),
)


def draw(generator: random.Random) -> dict[str, str]:
    """Draw the words of a story."""
    return {
        "animal": generator.choice(ANIMALS),
        "place": generator.choice(PLACES),
        "thing": generator.choice(THINGS),
        "colour": generator.choice(COLOURS),
        "time": generator.choice(TIMES),
        "mood": generator.choice(MOODS),
    }
