"""sWUGGY in miniature: words and non-words that look and sound like words (layout of ZeroSpeech's sLM21).

`lexical/{dev,test}/<stem>.wav` beside `gold.csv`. The frequency of a pair is that of its word in a text.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from spiritlm_pl.alignment.pronunciation import to_arpabet
from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.lexicon import Phones, phones_of, read_lexicon
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording, as_csv
from spiritlm_pl.benchmarks.make.nonwords import SHORTEST, Pieces, Sound, match_nonwords, no_pieces, sounds_of
from spiritlm_pl.benchmarks.make.settings import Settings, count_words, read_file
from spiritlm_pl.benchmarks.make.slm21 import SPLITS, index_entry
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.synthetic.stories import write_stories
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

COLUMNS = ("filename", "id", "voice", "frequency", "word", "phones", "length", "correct")
BANDS = (1, 5, 20, 100)  # least frequency of each band above the words that do not occur
COUNTED_STORIES = 100  # of the built-in grammar, if no text is given
SPARE = 1.25  # words to look for non-words for, for each that is wanted


def make_swuggy(settings: Settings) -> Miniature:
    """Make pairs of a word and a non-word, each said by every voice.

    Raises:
        ValueError: if the lexicon does not give as many pairs as are wanted.
    """
    if settings.lexicon is None:
        settings.needs_english("lexicon")
    words, left_out = read_lexicon(settings.lexicon)
    counts = _counts(settings)
    voice = settings.voices[0]
    pieces = _pieces(settings)
    sounds, near = sounds_of(words, voice, pieces)
    long_enough = [sound for sound in sounds if len(sound.phones) >= SHORTEST]
    settings.check_count(len(long_enough), f"words of {SHORTEST} phones or more in the lexicon", least=2)
    wanted = _by_band(long_enough, counts, settings.seed)
    if settings.text_tokenizer is None:  # else many words have no non-word of as many pieces
        wanted = wanted[: round(settings.count * SPARE) + 1]
    is_word = _word_test({*words, *(counts or ())}, settings.voices)
    matched = match_nonwords(wanted, words, near, is_word, voice, settings.seed, pieces)
    pairs = [(word, matched[word.spelling]) for word in wanted if word.spelling in matched][: settings.count]
    settings.check_count(len(pairs), "pairs that this lexicon gives; more words give more", least=2)
    recordings: list[Recording] = []
    files: dict[str, str] = {}
    index: dict[str, Any] = {}
    for start, split in enumerate(SPLITS):
        made, rows = _split(split, pairs[start :: len(SPLITS)], counts, settings.voices)
        recordings += made
        files[f"lexical/{split}/gold.csv"] = as_csv(rows, COLUMNS)
        index |= index_entry("lexical", split, rows)
    notes = [*_match_notes(pairs), f"words: {_source(settings)}; frequencies: {_counted(settings)}"]
    if left_out:
        notes.append(f"{left_out} lines of the lexicon hold no single word and were left out")
    return Miniature("swuggy", recordings, files, index, notes)


def _pieces(settings: Settings) -> Pieces:
    """Return a function that counts the pieces of a spelling.

    Raises:
        ValueError: if the text tokenizer cannot be read.
    """
    if settings.text_tokenizer is None:
        return no_pieces
    try:
        tokenizer = TextTokenizer.load(settings.text_tokenizer)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    return lambda spelling: len(tokenizer.encode(spelling))


def _split(
    split: str, pairs: Sequence[tuple[Sound, Sound]], counts: Counter[str] | None, voices: Sequence[Voice]
) -> tuple[list[Recording], list[Labels]]:
    recordings, rows = [], []
    for number, (word, other) in enumerate(pairs):
        frequency = None if counts is None else counts[word.spelling]
        for voice in voices:
            for sound, correct in ((word, 1), (other, 0)):
                name = voice.name.replace("+", "-")
                stem = f"{number:05d}-{name}-{'word' if correct else 'nonword'}"
                phones, length = " ".join(phones_of(sound.spelling, voice)), len(word.phones)
                row: Labels = {
                    "filename": stem,
                    "id": number,
                    "voice": name,
                    "frequency": frequency,
                    "word": sound.spelling,
                    "phones": phones,
                    "length": length,
                    "correct": correct,
                }
                rows.append(row)
                recordings.append(
                    Recording(
                        f"lexical/{split}/{stem}.wav",
                        (Part(sound.spelling, voice),),
                        {"id": number, "frequency": frequency, "phones": phones, "length": length, "correct": correct},
                        pair=f"{split} {number} {name}",
                        correct=bool(correct),
                    )
                )
    return recordings, rows


def _counts(settings: Settings) -> Counter[str] | None:
    """Count the words of the text; None if a lexicon comes without one."""
    if settings.text is not None:
        return count_words(read_file(settings.text, "text"))
    if settings.lexicon is not None:
        return None
    return count_words(" ".join(story.text for story in write_stories(COUNTED_STORIES, settings.seed)))


def _by_band(sounds: Sequence[Sound], counts: Counter[str] | None, seed: int) -> list[Sound]:
    """Order the words at random, in turns from each band of frequency."""
    draw = random.Random(f"words {seed}")
    bands: dict[int, list[Sound]] = {}
    for sound in draw.sample(sounds, len(sounds)):
        frequency = 0 if counts is None else counts[sound.spelling]
        bands.setdefault(sum(frequency >= least for least in BANDS), []).append(sound)
    places = {sound.spelling: (place, band) for band, members in bands.items() for place, sound in enumerate(members)}
    return sorted(sounds, key=lambda sound: places[sound.spelling])


def _word_test(words: set[str], voices: Sequence[Voice]) -> Callable[[str, Phones], bool]:
    """Return a test whether a spelling is a known word, or sounds like one in any of the voices."""
    accents = {voice.name.partition("+")[0]: Voice(voice.name.partition("+")[0]) for voice in voices}
    known = {name: {phones_of(word, voice) for word in sorted(words)} for name, voice in accents.items()}
    english = voices[0].language == "en"

    def is_word(spelling: str, phones: Phones) -> bool:
        if spelling in words:
            return True
        if english and (spelling in _dictionary() or to_arpabet(phones) in _pronunciations()):
            return True
        return any(phones_of(spelling, voice) in known[name] for name, voice in accents.items())

    return is_word


@cache
def _dictionary() -> dict[str, str]:
    """Return the pronunciations of 130,000 English words and names."""
    import pocketsphinx

    entries: dict[str, str] = {}
    with open(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        for line in lines:
            word, _, pronunciation = line.strip().partition(" ")
            entries[word] = pronunciation
    return entries


@cache
def _pronunciations() -> set[str]:
    return set(_dictionary().values())


def _match_notes(pairs: Sequence[tuple[Sound, Sound]]) -> list[str]:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    words, others = zip(*pairs, strict=True)
    figures = [
        f"{name} {mean([get(one) for one in words]):.2f} and {mean([get(one) for one in others]):.2f}"
        for name, get in (
            ("letters", lambda one: len(one.spelling)),
            ("phones", lambda one: len(one.phones)),
            ("neighbours", lambda one: one.neighbours),
            ("log probability of a phone", lambda one: one.usual),
            ("pieces", lambda one: one.pieces),
        )
        if name != "pieces" or words[0].pieces
    ]
    return [f"words and non-words have on average: {', '.join(figures)}"]


def _source(settings: Settings) -> str:
    return "built in (Apache-2.0)" if settings.lexicon is None else f"{settings.lexicon.name}, under its own licence"


def _counted(settings: Settings) -> str:
    if settings.text is not None:
        return f"in {settings.text.name}"
    return f"in {COUNTED_STORIES} built-in stories" if settings.lexicon is None else "unknown, as no text was given"
