"""ProsAudit in miniature: a pause where it belongs, and the same speech with the pause where it does not.

`{dev,test}/<stem>.wav` beside `gold.csv`. Protosyntax: between two clauses, or inside a group of words. Lexical:
between two words, or inside a word. The speech itself has no pause, and both recordings of a pair are the same but for
its place; the wrong place comes before the right one about as often as after it.
"""

import random
from dataclasses import dataclass

import regex

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.grammars import FOLDER
from spiritlm_pl.benchmarks.make.labelled_texts import fill_some, templates_of
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording, as_csv
from spiritlm_pl.benchmarks.make.settings import Settings, read_file, read_yaml
from spiritlm_pl.benchmarks.make.speaking import check_sayable
from spiritlm_pl.benchmarks.make.templates import read_lists
from spiritlm_pl.benchmarks.make.treatments import Paused
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.text.transcripts import split_sentences, spoken_words

COLUMNS = ("filename", "id", "voice", "type", "correct")
TYPES = ("protosyntax", "lexical")
SPLITS = ("dev", "test")
BUILT_IN = FOLDER / "prosaudit.yaml"
BOUNDARY, JOINT = "|", "_"
CLAUSE_END = regex.compile(r"[,;:،؛、，；：]+[\"'\p{Pe}\p{Pf}]*$")
FAR = 2  # words between a wrong place and a clause's end in sentences without marks
LETTERS = 5  # of a word that a pause can be put into
PAUSE = 0.4


@dataclass(frozen=True)
class Sentence:
    """A sentence with the places of its pauses; place n is before word n, counted from 0.

    Attributes:
        words: words as they are said.
        right: places between clauses.
        wrong: places inside groups of words.
    """

    words: tuple[str, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def text(self) -> str:
        """Text without marks, so that it is said without a pause."""
        return " ".join(self.words) + "."

    @property
    def long_words(self) -> tuple[int, ...]:
        """Places of the words that a pause can be put into."""
        return tuple(place for place, word in enumerate(self.words) if place and len(word) >= LETTERS)


def read_sentence(text: str, language: str) -> Sentence | None:
    """Read a sentence, marked with | and _ or with punctuation between its clauses; None if it has no fit places."""
    marked = BOUNDARY in text
    words: list[str] = []
    right: list[int] = []
    joints: list[int] = []
    for token in text.split():
        if token == BOUNDARY:
            right.append(len(words))
            continue
        parts = [part for part in token.split(JOINT) if part]
        joints += range(len(words) + 1, len(words) + len(parts))
        for part in parts:
            said = spoken_words(part, language=language)
            if len(said) != 1:
                return None
            words += said
        if not marked and CLAUSE_END.search(token):
            right.append(len(words))
    right = [place for place in right if 0 < place < len(words)]
    if not joints and not marked:
        joints = [place for place in range(1, len(words)) if all(abs(place - end) >= FAR for end in right)]
    wrong = [place for place in joints if place not in right]
    return Sentence(tuple(words), tuple(right), tuple(wrong)) if right and wrong else None


def read_sentences(settings: Settings) -> tuple[list[Sentence], int]:
    """Read the sentences of the stories' file, or fill those of the built-in grammar.

    Returns:
        Different sentences, and how many were left out as they have no fit places for pauses.

    Raises:
        ValueError: if there are none, or one cannot be said.
    """
    if settings.stories is not None:
        text = read_file(settings.stories, "stories")
        lines = text.splitlines() if BOUNDARY in text else split_sentences(text)
        texts = [line.strip() for line in dict.fromkeys(lines) if line.strip()]
    else:
        settings.needs_english("stories")
        values = read_yaml(BUILT_IN, "grammar")
        templates = templates_of(values["sentences"], read_lists(values["words"], str(BUILT_IN)), str(BUILT_IN))
        texts = fill_some(templates, settings.count, random.Random(f"clauses {settings.seed}"))
    found: dict[str, Sentence] = {}
    for text in texts:
        plain = text.replace(BOUNDARY, " ").replace(JOINT, " ")
        check_sayable(plain, settings.language, str(settings.stories or BUILT_IN))
        sentence = read_sentence(text, settings.language)
        if sentence is not None:
            found.setdefault(sentence.text, sentence)
    return list(found.values()), len(texts) - len(found)


def make_prosaudit(settings: Settings) -> Miniature:
    """Make pairs of both types, each said by every voice.

    Raises:
        ValueError: if there are too few sentences of several clauses.
    """
    sentences, left_out = read_sentences(settings)
    usable = {"protosyntax": sentences, "lexical": [one for one in sentences if one.long_words]}
    fewest = min(len(found) for found in usable.values())
    settings.check_count(2 * fewest, "pairs from sentences of two clauses with long words", least=4)
    draw = random.Random(f"pauses {settings.seed}")
    recordings: list[Recording] = []
    rows: dict[str, list[Labels]] = {split: [] for split in SPLITS}
    for kind, found in usable.items():
        wanted = settings.count // 2 + (kind == TYPES[0]) * (settings.count % 2)
        for number, sentence in enumerate(draw.sample(found, wanted)):
            places = _clauses(sentence, number, draw) if kind == TYPES[0] else _words(sentence, draw)
            split = SPLITS[number % 2]
            for voice in settings.voices:
                for pause, correct in zip(places, (1, 0), strict=True):
                    made, row = _recording(sentence, kind, split, number // 2, voice, pause, correct)
                    recordings.append(made)
                    rows[split].append(row)
    files = {f"{split}/gold.csv": as_csv(rows[split], COLUMNS) for split in SPLITS}
    source = "built in (Apache-2.0)" if settings.stories is None else f"{settings.stories.name}, under its own licence"
    notes = [f"sentences: {source}; the pause is {PAUSE} s of silence"]
    if left_out and settings.stories is not None:
        notes.append(f"{left_out} sentences have no two clauses, or words that are said as several, and are left out")
    return Miniature("prosaudit", recordings, files, notes=notes)


def _clauses(sentence: Sentence, number: int, draw: random.Random) -> tuple[Paused, Paused]:
    """Draw a place between clauses and one inside a group, before it and after it in turn."""
    right = draw.choice(sentence.right)
    sides = [[place for place in sentence.wrong if (place < right) == before] for before in (True, False)]
    wrong = draw.choice(sides[number // 2 % 2] or sides[1 - number // 2 % 2])
    return Paused(right, seconds=PAUSE), Paused(wrong, seconds=PAUSE)


def _words(sentence: Sentence, draw: random.Random) -> tuple[Paused, Paused]:
    """Draw a long word: the right place is before or after it, the wrong one in its middle."""
    word = draw.choice(sentence.long_words)
    after = word + 1 < len(sentence.words) and draw.random() < 0.5
    return Paused(word + after, seconds=PAUSE), Paused(word, inside=0.5, seconds=PAUSE)


def _recording(
    sentence: Sentence, kind: str, split: str, number: int, voice: Voice, pause: Paused, correct: int
) -> tuple[Recording, Labels]:
    name = voice.name.replace("+", "-")
    stem = f"{kind}-{number:05d}-{name}-{'right' if correct else 'wrong'}"
    row: Labels = {"filename": stem, "id": number, "voice": name, "type": kind, "correct": correct}
    place = "inside" if pause.inside else "before"
    recording = Recording(
        f"{split}/{stem}.wav",
        (Part(sentence.text, voice),),
        {"id": number, "type": kind, "correct": correct},
        treatment=pause,
        pair=f"{split} {kind} {number} {name}",
        correct=bool(correct),
        instruction=f"a pause of {pause.seconds} s {place} word {pause.word + 1}, {sentence.words[pause.word]!r}",
    )
    return recording, row
