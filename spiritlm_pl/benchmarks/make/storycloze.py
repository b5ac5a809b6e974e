"""Spoken StoryCloze in miniature: stories with their own ending and with a wrong one.

`tStoryCloze` takes the ending of another story, `sStoryCloze` one that contradicts the story. Two layouts: `whole` has
`<n>_<story>_correct.wav` and `<n+1>_<story>_incorrect.wav`, each with its text beside it; `cross` has a folder a voice
with `<story>_{mutual,correct,incorrect}.wav` and texts, beginnings and endings apart.
"""

import random
import re
from collections.abc import Sequence

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.texts import Tale, read_tales, swap_endings
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.synthetic.stories import ANIMALS, PLACES, THINGS, Story, write_stories

LAYOUTS = ("whole", "cross")
TOPIC, CONTRADICTION = "tStoryCloze", "sStoryCloze"
MOST = 20_000
WINDOWS = 100  # choices of built-in stories that are tried


def make_storycloze(settings: Settings) -> Miniature:
    """Make both parts, or only the first if the stories come without contradicting endings.

    Raises:
        ValueError: if the stories are not as they must be, or fewer than are wanted.
    """
    if settings.stories is None:
        settings.needs_english("stories")
        settings.check_count(MOST, "stories of a miniature", least=2)
        tales, given = _built_in(settings.count, settings.seed)
        source = "built in (Apache-2.0)"
    else:
        read = read_tales(settings.stories, settings.language)
        settings.check_count(min(MOST, len(read)), f"stories in {settings.stories.name}", least=2)
        tales = random.Random(f"stories {settings.seed}").sample(read, settings.count)
        given = swap_endings(tales)
        source = f"{settings.stories.name}, under its own licence"
    recordings: list[Recording] = []
    files: dict[str, str] = {}
    parts = {TOPIC: [(tale, tales[place].ending) for tale, place in zip(tales, given, strict=True)]}
    contradicted = [(tale, tale.wrong) for tale in tales if tale.wrong is not None]
    if contradicted:
        parts[CONTRADICTION] = contradicted
    write = _cross if settings.layout == "cross" else _whole
    for part, stories in parts.items():
        made, texts = write(part, stories, settings.voices)
        recordings += made
        files |= texts
    notes = [f"{part}: {len(stories)} stories" for part, stories in parts.items()]
    if CONTRADICTION not in parts:
        notes.append(f"{CONTRADICTION} is left out, as no story has a wrong ending (a line that begins with *)")
    return Miniature("storycloze", recordings, files, notes=[*notes, f"stories: {source}"])


def _built_in(count: int, seed: int) -> tuple[list[Tale], list[int]]:
    """Take stories that can swap endings, and say which ending each is given."""
    tales = [_tale(story, seed) for story in write_stories(count + WINDOWS, seed)]
    for start in range(WINDOWS):  # of few stories, all may share an animal or a place
        chosen = tales[start : start + count]
        try:
            return chosen, swap_endings(chosen)
        except ValueError:
            continue
    raise ValueError(f"count must let {count} of the built-in stories swap endings, but they do not with seed {seed}")


def _tale(story: Story, seed: int) -> Tale:
    """Take a built-in story; its contradicting ending names another animal, place or thing."""
    ending = story.sentences[-1]
    draw = random.Random(f"endings {seed} {story.id}")
    word, words = draw.choice([(story.animal, ANIMALS), (story.place, PLACES), (story.thing, THINGS)])
    other = draw.choice([one for one in words if one != word])
    own = (story.animal, story.place, story.thing)
    return Tale(" ".join(story.sentences[:-1]), ending, re.sub(rf"\b{word}\b", other, ending), own)


def _whole(
    part: str, stories: Sequence[tuple[Tale, str]], voices: Sequence[Voice]
) -> tuple[list[Recording], dict[str, str]]:
    """Lay out whole stories, which the voices tell in turn."""
    recordings, files = [], {}
    for number, (tale, wrong) in enumerate(stories):
        voice = voices[number % len(voices)]
        for offset, (ending, name) in enumerate(((tale.ending, "correct"), (wrong, "incorrect"))):
            stem = f"{part}/{2 * number + offset}_story{number:05d}_{name}"
            text = f"{tale.beginning} {ending}"
            files[f"{stem}.txt"] = text + "\n"
            labels: Labels = {"story": number, "part": part, "ending": name}
            recordings.append(
                Recording(f"{stem}.wav", (Part(text, voice),), labels, pair=f"{part} {number}", correct=not offset)
            )
    return recordings, files


def _cross(
    part: str, stories: Sequence[tuple[Tale, str]], voices: Sequence[Voice]
) -> tuple[list[Recording], dict[str, str]]:
    """Lay out beginnings and endings apart, each said by every voice."""
    recordings, files = [], {}
    for voice in voices:
        folder = f"{part}/{voice.name.replace('+', '-')}"
        for number, (tale, wrong) in enumerate(stories):
            texts = {"mutual": tale.beginning, "correct": tale.ending, "incorrect": wrong}
            for name, text in texts.items():
                stem = f"{folder}/story{number:05d}_{name}"
                files[f"{stem}.txt"] = text + "\n"
                pair = "" if name == "mutual" else f"{folder} {number}"
                labels: Labels = {"story": number, "part": part, "ending": name}
                recordings.append(
                    Recording(f"{stem}.wav", (Part(text, voice),), labels, pair=pair, correct=name == "correct")
                )
    return recordings, files
