"""Grammar of hard stories: more of everything, a rival, and a gap before the ending.

Two animals, each with a place and a thing, take part. The last sentence names those of the first animal. Its place and
its thing have been named in the first two sentences only, and the thing of the rival more than once since then. So an
ending is told from another by words that lie far back, and the words of a wrong ending may have been heard as well.
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
        "The {rival} came from the {other_place}.",
        "The {rival} was waiting at the {other_place}.",
        "Behind the {other_place} stood the {rival}.",
    ),
    (
        "The {rival} had a {other_colour} {other_thing}.",
        "The {other_thing} of the {rival} was {other_colour}.",
        "The {rival} wanted to sell a {other_colour} {other_thing}.",
    ),
    (
        "The {animal} looked at the {other_thing} and talked to the {rival}.",
        "But the {animal} did not want the {other_thing} of the {rival}.",
        "The {rival} gave the {other_thing} to nobody and the {animal} laughed.",
    ),
    ("It rained for a long time.", "The night was dark and cold.", "Nobody said a word.", "They waited a while."),
    (
        "Then the {animal} carried the {thing} towards the {place}.",
        "Now the {animal} keeps the {thing} beside the {place}.",
        "Tonight the {animal} hides the {thing} near the {place}.",
    ),
)


def draw(generator: random.Random) -> dict[str, str]:
    """Draw the words of a story; what the rival has is never what the first animal has."""
    animal, rival = generator.sample(ANIMALS, 2)
    place, other_place = generator.sample(PLACES, 2)
    thing, other_thing = generator.sample(THINGS, 2)
    colour, other_colour = generator.sample(COLOURS, 2)
    return {
        "animal": animal,
        "rival": rival,
        "place": place,
        "other_place": other_place,
        "thing": thing,
        "other_thing": other_thing,
        "colour": colour,
        "other_colour": other_colour,
        "time": generator.choice(TIMES),
        "mood": generator.choice(MOODS),
    }
