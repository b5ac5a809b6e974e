"""Non-words: walks through the letters of a lexicon, each matched to a word in its phones and neighbours."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import TypeAlias

from spiritlm_pl.benchmarks.make.lexicon import Neighbourhood, Phones, phones_of
from spiritlm_pl.corpora.synthetic.espeak import Voice, new_speaker

END = ""
SHORTEST = 3  # phones; shorter non-words are nearly always words
TRIES = 2_000  # walks for each word that is wanted
MOST_TRIES = 1_000_000
POOL = 40  # non-words of a length to gather for each word of that length
COMPARED = 400  # non-words that are compared for each word
HEARD = 12  # of these, the nearest ones whose length is compared when they are said
BACK_OFF = 0.35  # share of letters drawn after one letter, not after two

Pieces: TypeAlias = Callable[[str], int]


def no_pieces(spelling: str) -> int:
    """Count no pieces, so that a spelling may be cut into any number of them."""
    return 0


@dataclass(frozen=True)
class Sound:
    """A word or non-word and what it is matched by.

    Attributes:
        spelling: how it is written.
        phones: its phones in the first voice.
        neighbours: number of words of the lexicon that are its neighbours.
        usual: mean log probability of its phones.
        pieces: number of tokens of its spelling; 0 if they are not counted.
    """

    spelling: str
    phones: Phones
    neighbours: int
    usual: float
    pieces: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of phones and of pieces, which a word and its non-word have in common."""
        return len(self.phones), self.pieces


class LetterWalk:
    """Draws letters after the two before, or after the one before, as they follow each other in words."""

    def __init__(self, words: Sequence[str], draw: random.Random) -> None:
        """Count the letters of the words."""
        self._draw = draw
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for word in words:
            for place, letter in enumerate([*word, END]):
                counts["^" + word[:1] if place < 2 else word[place - 2 : place]][letter] += 1
                counts[word[place - 1 : place]][letter] += 1
        counts["^"] = counts[""]
        self._following = {before: (list(found), list(found.values())) for before, found in counts.items()}

    def __call__(self, longest: int) -> str:
        """Return a random walk; it is empty if it does not end in time."""
        letters = ""
        while len(letters) <= longest:
            two = letters[-2:] if len(letters) > 1 else "^" + letters
            before = letters[-1:] if self._draw.random() < BACK_OFF else two
            following, weights = self._following.get(before) or self._following[letters[-1:]]
            [letter] = self._draw.choices(following, weights)
            if letter == END:
                return letters
            letters += letter
        return ""


def sounds_of(words: Sequence[str], voice: Voice, pieces: Pieces = no_pieces) -> tuple[list[Sound], Neighbourhood]:
    """Return the words with their sounds, and their neighbourhood; words that are not said are left out."""
    phones = {word: phones_of(word, voice) for word in words}
    near = Neighbourhood(found for found in phones.values() if found)
    sounds = [
        Sound(word, found, near.count(found), near.usual(found) or 0.0, pieces(word))
        for word, found in phones.items()
        if found
    ]
    return sounds, near


def match_nonwords(
    wanted: Sequence[Sound],
    words: Sequence[str],
    near: Neighbourhood,
    is_word: Callable[[str, Phones], bool],
    voice: Voice,
    seed: int,
    pieces: Pieces = no_pieces,
) -> dict[str, Sound]:
    """Find a non-word for as many words as possible.

    Each has as many phones as its word, and as many pieces if these are counted. Of all that were drawn it is among
    those nearest to it in the number of neighbours, in how usual its phones are, in its number of letters, and in how
    long it takes to say. None is used twice.

    Args:
        wanted: words that want a non-word.
        words: words whose letters the non-words are made of.
        near: neighbourhood of these words.
        is_word: whether a spelling with its phones is, or sounds like, a word that is known.
        voice: voice that tells the phones.
        seed: seed of all that is drawn.
        pieces: number of tokens of a spelling.

    Returns:
        The non-words by the spellings of their words.
    """
    draw = random.Random(f"non-words {seed}")
    pools = _draw_pools(wanted, words, near, is_word, voice, draw, pieces)
    found: dict[str, Sound] = {}
    with new_speaker() as one:
        for word in wanted:
            pool = pools.get(word.size, [])
            if pool:
                best = _nearest(word, pool, draw, lambda sound: len(one.speak(sound.spelling, voice).samples))
                found[word.spelling] = pool[best]
                pool[best] = pool[-1]
                pool.pop()
    return found


def _nearest(word: Sound, pool: Sequence[Sound], draw: random.Random, length: Callable[[Sound], int]) -> int:
    """Return the place of the non-word that is nearest to a word."""
    candidates = draw.sample(range(len(pool)), min(COMPARED, len(pool)))
    nearest = sorted(candidates, key=lambda place: _difference(word, pool[place]))[:HEARD]
    own = length(word)
    costs = {place: _difference(word, pool[place]) + 6 * abs(log(length(pool[place]) / own)) for place in nearest}
    return min(nearest, key=costs.__getitem__)


def _difference(word: Sound, other: Sound) -> float:
    letters = abs(len(word.spelling) - len(other.spelling))
    return 2 * abs(word.neighbours - other.neighbours) + 2 * abs(word.usual - other.usual) + 0.5 * letters


def _draw_pools(
    wanted: Sequence[Sound],
    words: Sequence[str],
    near: Neighbourhood,
    is_word: Callable[[str, Phones], bool],
    voice: Voice,
    draw: random.Random,
    pieces: Pieces,
) -> dict[tuple[int, int], list[Sound]]:
    """Draw non-words by their size."""
    room = {size: POOL * number for size, number in Counter(word.size for word in wanted).items()}
    pools: dict[tuple[int, int], list[Sound]] = {size: [] for size in room}
    walk, seen = LetterWalk(words, draw), set(words)
    longest = max((len(word.spelling) for word in wanted), default=0)
    for _ in range(min(MOST_TRIES, TRIES * len(wanted))):
        if not any(room.values()):
            break
        spelling = walk(longest)
        if not spelling or spelling in seen:
            continue
        seen.add(spelling)
        phones = phones_of(spelling, voice)
        size = (len(phones), pieces(spelling))
        usual = near.usual(phones) if room.get(size) else None
        if usual is not None and not is_word(spelling, phones):
            pools[size].append(Sound(spelling, phones, near.count(phones), usual, size[1]))
            room[size] -= 1
    return pools
