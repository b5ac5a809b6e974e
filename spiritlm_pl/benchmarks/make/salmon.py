"""SALMon in miniature: is a recording consistent in its acoustics, and do its acoustics fit its words?

Eight folders of `sample_<i>_<k>.wav`, k = 0 for the right one. Consistency: the wrong one changes speaker, gender,
sentiment, room or background between its two parts; all recordings have two parts that are joined in the same way.
Alignment: the wrong one has the acoustics of other words. A condition is as often right as wrong.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.acoustics import BACKGROUNDS, PAUSE, ROOMS, InRooms, OverBackground
from spiritlm_pl.benchmarks.make.labelled_texts import draw_texts, read_texts
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.texts import sentences_for
from spiritlm_pl.benchmarks.make.treatments import Joined
from spiritlm_pl.corpora.synthetic.espeak import Voice, is_female

SENTIMENTS = {"positive": (75, 90), "neutral": (50, 50), "negative": (25, 15)}  # eSpeak's pitch and range of pitch
FAMILY_OF = {name: family for family, names in BACKGROUNDS.items() for name in names}


@dataclass(frozen=True)
class Change:
    """Conditions of a consistency pair: that of the whole right recording, and the second one of the wrong one.

    Attributes:
        voice: voice that speaks, in the right recording throughout.
        first: condition of the first part, in words.
        second: condition to which the wrong recording changes, in words.
    """

    voice: Voice
    first: str
    second: str


def make_salmon(settings: Settings) -> Miniature:
    """Make all parts; those of alignment only if there are texts for them in the language.

    Raises:
        ValueError: if there are too few texts, or no voices that a part needs.
    """
    sentences = sentences_for(settings)
    settings.check_count(len(sentences) - 1, "pairs of neighbouring sentences in the stories")
    recordings: list[Recording] = []
    for folder, (draw_change, record) in CONSISTENCY.items():
        draw = random.Random(f"{folder} {settings.seed}")
        texts = draw.sample(list(pairwise(sentences)), settings.count)
        for number, text in enumerate(texts):
            change = draw_change(number, settings.voices, draw)
            for k, second in enumerate((change.first, change.second)):
                made = record(change, second, text, draw_seed(settings.seed, folder, number))
                recordings.append(_placed(made, folder, number, k, [change.first, second]))
    notes = ["sentiments are stand-ins: eSpeak's pitch and range of pitch; rooms and backgrounds are synthetic"]
    if settings.grammar is None and settings.language != "en":
        notes.append("sentiment_alignment and bg_alignment are left out, as no grammar gives texts for them")
    else:
        recordings += _aligned(settings)
    source = "built in (Apache-2.0)" if settings.stories is None else f"{settings.stories.name}, under its own licence"
    return Miniature("salmon", recordings, {}, notes=[*notes, f"texts: {source}"])


def draw_seed(seed: int, folder: str, number: int) -> int:
    """Return the seed of the noise of a pair, which both of its recordings share."""
    return random.Random(f"{folder} {seed} {number}").randrange(1 << 31)


def _placed(made: Recording, folder: str, number: int, k: int, conditions: Sequence[str]) -> Recording:
    labels: Labels = {"task": folder, "item": number, "correct": 1 - k}
    told = conditions[0] if len(set(conditions)) == 1 else f"first part {conditions[0]}, second part {conditions[1]}"
    return replace(
        made,
        file=f"{folder}/sample_{number}_{k}.wav",
        labels=labels,
        pair=f"{folder} {number}",
        correct=k == 0,
        instruction=told,
    )


def _of_gender(voices: Sequence[Voice], female: bool) -> list[Voice]:
    return [voice for voice in voices if is_female(voice.name) == female]


def _change_speaker(number: int, voices: Sequence[Voice], draw: random.Random) -> Change:
    groups = [group for group in (_of_gender(voices, False), _of_gender(voices, True)) if len(group) > 1]
    if not groups:
        raise ValueError(
            f"voices must have two of one gender for speaker_consistency, but are {_names(voices)} instead"
        )
    first, second = draw.sample(groups[number % len(groups)], 2)
    return Change(first, first.name, second.name)


def _change_gender(number: int, voices: Sequence[Voice], draw: random.Random) -> Change:
    groups = [_of_gender(voices, False), _of_gender(voices, True)]
    if not all(groups):
        raise ValueError(f"voices must be of both genders for gender_consistency, but are {_names(voices)} instead")
    first, second = draw.choice(groups[number % 2]), draw.choice(groups[1 - number % 2])
    return Change(first, first.name, second.name)


def _names(voices: Sequence[Voice]) -> str:
    return ", ".join(voice.name for voice in voices)


def _change_among(names: Sequence[str]) -> Callable[[int, Sequence[Voice], random.Random], Change]:
    """Change to another of some names; each is the first one as often as the others."""

    def change(number: int, voices: Sequence[Voice], draw: random.Random) -> Change:
        first = names[number % len(names)]
        return Change(draw.choice(voices), first, draw.choice([name for name in names if name != first]))

    return change


def _change_background(within: bool) -> Callable[[int, Sequence[Voice], random.Random], Change]:
    """Change to a background of the same family, or of another one."""
    names = list(FAMILY_OF)

    def change(number: int, voices: Sequence[Voice], draw: random.Random) -> Change:
        first = names[number % len(names)]
        others = [name for name in names if name != first and (FAMILY_OF[name] == FAMILY_OF[first]) == within]
        return Change(draw.choice(voices), first, draw.choice(others))

    return change


def _said_by(change: Change, second: str, texts: tuple[str, str], seed: int) -> Recording:
    parts = (Part(texts[0], change.voice), Part(texts[1], replace(change.voice, name=second)))
    return Recording("", parts, treatment=Joined(PAUSE))


def styled(voice: Voice, sentiment: str) -> Voice:
    """Return the voice in the pitch that stands for a sentiment; its rate stays, so that length tells nothing."""
    pitch, pitch_range = SENTIMENTS[sentiment]
    return replace(voice, pitch=pitch, pitch_range=pitch_range)


def _in_sentiment(change: Change, second: str, texts: tuple[str, str], seed: int) -> Recording:
    voices = [styled(change.voice, sentiment) for sentiment in (change.first, second)]
    parts = tuple(Part(text, voice) for text, voice in zip(texts, voices, strict=True))
    return Recording("", parts, treatment=Joined(PAUSE))


def _in_room(change: Change, second: str, texts: tuple[str, str], seed: int) -> Recording:
    parts = tuple(Part(text, change.voice) for text in texts)
    return Recording("", parts, treatment=InRooms((change.first, second), seed))


def _over_background(change: Change, second: str, texts: tuple[str, str], seed: int) -> Recording:
    parts = tuple(Part(text, change.voice) for text in texts)
    return Recording("", parts, treatment=OverBackground((change.first, second), seed))


CONSISTENCY = {
    "bg_all_consistency": (_change_background(within=False), _over_background),
    "bg_domain_consistency": (_change_background(within=True), _over_background),
    "gender_consistency": (_change_gender, _said_by),
    "rir_consistency": (_change_among(list(ROOMS)), _in_room),
    "sentiment_consistency": (_change_among(list(SENTIMENTS)), _in_sentiment),
    "speaker_consistency": (_change_speaker, _said_by),
}


def _aligned(settings: Settings) -> list[Recording]:
    """Make the two parts in which the acoustics fit the words or not."""
    recordings: list[Recording] = []
    for folder, key, known in (
        ("sentiment_alignment", "sentiment", tuple(SENTIMENTS)),
        ("bg_alignment", "background", tuple(BACKGROUNDS)),
    ):
        draw = random.Random(f"{folder} {settings.seed}")
        templates = read_texts(settings, key, known)
        templates.pop("neutral", None)
        texts = draw_texts(templates, settings, draw, key)
        classes = list(dict.fromkeys(label for label, _ in texts))
        for number, (label, text) in enumerate(texts):
            place, turn = classes.index(label), number // len(classes) % (len(classes) - 1)
            other = classes[(place + 1 + turn) % len(classes)]
            voice, seed = draw.choice(settings.voices), draw_seed(settings.seed, folder, number)
            variant = draw.randrange(2)
            for k, condition in enumerate((label, other)):
                if key == "sentiment":
                    made = Recording("", (Part(text, styled(voice, condition)),))
                else:
                    name = list(BACKGROUNDS[condition])[variant]
                    made = Recording("", (Part(text, voice),), treatment=OverBackground((name,), seed))
                recordings.append(_placed(made, folder, number, k, [condition]))
    return recordings
