"""Sentiment preservation (STSP) in miniature: texts of a sentiment, said in a style that stands for an emotion.

`data/emov/<speaker>/<Emotion>/` and `data/expresso/read/<speaker>/<emotion>/`; their manifests
`manifest/emov/emov.{train,dev,test}.jsonl` and `manifest/expresso/expresso_read.{train,dev,test}.jsonl`; and
`manifest/few_shot/{s2s,s2t,t2s,t2t}.jsonl`, whose shots are cut in halves.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.labelled_texts import fill_some, read_texts
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording, as_jsonl
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.speaking import check_sayable
from spiritlm_pl.benchmarks.make.treatments import Words
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.text.transcripts import spoken_words

SENTIMENTS = ("positive", "negative", "neutral")
SPLITS = ("train", "dev", "test")
HELD_OUT = 5  # one of so many utterances is in the dev split, and one in the test split
SHOTS = 3  # of each sentiment
FEWEST = 24  # with which every split has every sentiment, and there are enough shots


@dataclass(frozen=True)
class Source:
    """One of the two corpora of the benchmark.

    Attributes:
        name: name of its manifests.
        folder: folder of its manifests.
        audio: folder of its audio below data/.
        emotions: emotion that stands for each sentiment.
        capital: whether folders spell emotions with a capital.
    """

    name: str
    folder: str
    audio: str
    emotions: dict[str, str]
    capital: bool


SOURCES = (
    Source("emov", "emov", "emov", {"positive": "amused", "negative": "angry", "neutral": "neutral"}, True),
    Source(
        "expresso_read",
        "expresso",
        "expresso/read",
        {"positive": "happy", "negative": "sad", "neutral": "default"},
        False,
    ),
)
# Emotion -> eSpeak's pitch, range of pitch, and rate against that of the voice.
STYLES = {
    "amused": (75, 95, 1.15),
    "happy": (75, 95, 1.1),
    "angry": (40, 99, 1.3),
    "sad": (25, 10, 0.75),
    "neutral": (50, 50, 1.0),
    "default": (50, 50, 1.0),
}


@dataclass(frozen=True)
class Sample:
    """An utterance: its row of the manifest, and the voice that says it in its style."""

    row: dict[str, Any]
    voice: Voice


def in_style(voice: Voice, emotion: str) -> Voice:
    """Return a voice in the style that stands for an emotion."""
    pitch, pitch_range, rate = STYLES[emotion]
    speed = min(450, max(80, round(voice.speed * rate)))
    return replace(voice, pitch=pitch, pitch_range=pitch_range, speed=speed)


def make_stsp(settings: Settings) -> Miniature:
    """Make both corpora and the shots.

    Raises:
        ValueError: if the grammar lacks a sentiment, or gives too few texts.
    """
    templates = read_texts(settings, "sentiment", SENTIMENTS)
    lacking = [sentiment for sentiment in SENTIMENTS if sentiment not in templates]
    if lacking:
        raise ValueError(f"grammar must have texts for {', '.join(SENTIMENTS)}, but lacks {', '.join(lacking)}")
    rooms = {sentiment: sum(one.capacity for one in templates[sentiment]) for sentiment in SENTIMENTS}
    fewest = min(rooms, key=rooms.__getitem__)
    most = len(SENTIMENTS) * rooms[fewest]
    settings.check_count(most, f"texts of the grammar, as sentiment.{fewest} has {rooms[fewest]}", least=FEWEST)
    samples = _draw_samples(settings, templates)
    recordings = [_recorded(sample) for found in samples.values() for sample in found]
    files: dict[str, str] = {}
    for source in SOURCES:
        for split in SPLITS:
            rows = [sample.row for sample in samples[source.name] if sample.row["split"] == split]
            files[f"manifest/{source.folder}/{source.name}.{split}.jsonl"] = as_jsonl(rows)
    train = [sample for found in samples.values() for sample in found if sample.row["split"] == "train"]
    shots, manifests = _few_shots(train, random.Random(f"shots {settings.seed}"))
    built_in = "built in (Apache-2.0)"
    notes = [
        f"{SHOTS} shots of each sentiment, from the training split",
        "emotions are stand-ins: eSpeak's pitch, range of pitch and rate; no judges (model/) are made",
        f"texts: {built_in if settings.grammar is None else f'{settings.grammar.name}, under its own licence'}",
    ]
    return Miniature("stsp", [*recordings, *shots], files | manifests, notes=notes)


def _draw_samples(settings: Settings, templates: dict[str, Any]) -> dict[str, list[Sample]]:
    """Draw the utterances of both corpora; sentiments and voices take turns, and no text comes twice."""
    samples: dict[str, list[Sample]] = {source.name: [] for source in SOURCES}
    for place, sentiment in enumerate(SENTIMENTS):
        wanted = settings.count // len(SENTIMENTS) + (place < settings.count % len(SENTIMENTS))
        texts = fill_some(templates[sentiment], wanted, random.Random(f"{sentiment} {settings.seed}"))
        for number, text in enumerate(texts):
            check_sayable(text, settings.language, f"sentiment.{sentiment}")
            if len(spoken_words(text, language=settings.language)) < 2:
                raise ValueError(f"texts must have two words or more, to be cut in halves, but one is {text!r}")
            source, turn = SOURCES[number % 2], number // 2
            voice = settings.voices[turn % len(settings.voices)]
            split = {0: "dev", 1: "test"}.get(turn % HELD_OUT, "train")
            samples[source.name].append(_sample(source, sentiment, text, voice, split, 1000 * place + number))
    return samples


def _sample(source: Source, sentiment: str, text: str, voice: Voice, split: str, number: int) -> Sample:
    emotion = source.emotions[sentiment]
    speaker = voice.name.replace("+", "-")
    folder = emotion.capitalize() if source.capital else emotion
    row = {
        "emotion": emotion,
        "sentiment": sentiment,
        "wav_path": f"{source.audio}/{speaker}/{folder}/{source.name}_{number:05d}.wav",
        "split": split,
        "speaker": speaker,
        "id": number,
        "asr": text,
    }
    return Sample(row, in_style(voice, emotion))


def _recorded(sample: Sample) -> Recording:
    row = sample.row
    labels: Labels = {name: row[name] for name in ("emotion", "sentiment", "split", "id")}
    return Recording(f"data/{row['wav_path']}", (Part(row["asr"], sample.voice),), labels, instruction=row["emotion"])


def _few_shots(train: Sequence[Sample], draw: random.Random) -> tuple[list[Recording], dict[str, str]]:
    """Cut some utterances in halves: the prompt and its continuation, spoken and written."""
    recordings: list[Recording] = []
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in ("s2s", "s2t", "t2s", "t2t")}
    drawn = [draw.sample([one for one in train if one.row["sentiment"] == name], SHOTS) for name in SENTIMENTS]
    for sample in (one for turn in zip(*drawn, strict=True) for one in turn):
        words = sample.row["asr"].split()
        middle = len(words) // 2
        stem = f"few_shot/{sample.row['wav_path'].rpartition('/')[2].removesuffix('.wav')}"
        speech = {"prompt": f"{stem}_first.wav", "generation": f"{stem}_second.wav"}
        text = {"prompt": " ".join(words[:middle]), "generation": " ".join(words[middle:])}
        for name, half in (("prompt", Words(end=middle)), ("generation", Words(start=middle))):
            labels: Labels = {"emotion": sample.row["emotion"], "sentiment": sample.row["sentiment"]}
            part = (Part(sample.row["asr"], sample.voice),)
            told = f"{'first' if name == 'prompt' else 'second'} half: {text[name]}"
            recordings.append(Recording(f"data/{speech[name]}", part, labels, half, instruction=told))
        kinds = {"s": speech, "t": text}
        for direction, found in rows.items():
            prompt, generation = kinds[direction[0]]["prompt"], kinds[direction[-1]]["generation"]
            found.append({"prompt": prompt, "generation": generation, "sentiment": sample.row["sentiment"]})
    return recordings, {f"manifest/few_shot/{name}.jsonl": as_jsonl(found) for name, found in rows.items()}
