"""Acted speech of known prosody: eSpeak NG says beginnings of stories in several styles, each voice in all of them.

A style changes one setting against the default; speaker and style are drawn independently of each other and of the
text. The information that pitch tokens and style vectors should carry about an utterance is therefore known.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.splitting import assign_splits, check_fractions
from spiritlm_pl.corpora.synthetic.espeak import Voice, whispering
from spiritlm_pl.corpora.synthetic.spoken import LICENCE, SYNTHESIZER, Line, make_voices, speak_lines
from spiritlm_pl.corpora.synthetic.stories import write_stories

TIMES_SAID = 4  # average number of utterances of one text
LARGEST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Style:
    """Settings of a style of speech.

    Attributes:
        pitch: base pitch in eSpeak's scale, 0 to 99.
        pitch_range: range of pitch in eSpeak's scale, 0 to 99.
        rate: rate of speech in words a minute.
        whisper: whether the style is whispered.
    """

    pitch: int = 50
    pitch_range: int = 50
    rate: int = 175
    whisper: bool = False


STYLES = {
    "default": Style(),
    "monotone": Style(pitch_range=0),
    "lively": Style(pitch_range=99),
    "high": Style(pitch=85),
    "low": Style(pitch=20),
    "fast": Style(rate=260),
    "slow": Style(rate=130),
    "whisper": Style(whisper=True),
}
SMALL_STEPS = {
    "higher": Style(pitch=65),
    "lower": Style(pitch=35),
    "faster": Style(rate=200),
    "slower": Style(rate=150),
}
ALL_STYLES = STYLES | SMALL_STEPS


def draw_conditions(
    count: int, voices: Sequence[str], draw: random.Random, among: Sequence[str] = tuple(STYLES)
) -> Counter[tuple[str, str]]:
    """Draw the number of utterances of each style and voice at random; no two of these numbers differ by more than one.

    The same holds for the totals of the styles, and for those of the voices if their number divides the number of
    styles.
    """
    styles, names = list(among), list(voices)
    draw.shuffle(styles)
    draw.shuffle(names)
    one_round = [
        (style, names[(index + shift) % len(names)])
        for shift in range(len(names))
        for index, style in enumerate(styles)
    ]
    return Counter(one_round[index % len(one_round)] for index in range(count))


def style_lines(
    count: int,
    seed: int,
    voices: Sequence[str],
    folder: Path,
    styles: Sequence[str] = tuple(STYLES),
    parallel: bool = False,
) -> list[Line]:
    """Draw the lines of the corpus, sorted by text; no voice says a text twice in the same style.

    Args:
        count: number of lines; if parallel, the largest number.
        seed: seed of the texts, and of their styles and voices.
        voices: eSpeak NG voices, which are the speakers.
        folder: folder for the audio files.
        styles: names of the styles.
        parallel: whether to say each text in all styles by all voices.
    """
    draw = random.Random(f"styles {seed}")
    every = [(style, voice) for style in styles for voice in voices]
    conditions = Counter(dict.fromkeys(every, count // len(every)))
    if not parallel:
        conditions = draw_conditions(count, voices, draw, styles)
    texts = _texts(max(math.ceil(count / TIMES_SAID), *conditions.values()), seed)
    lines = []
    for (style_name, voice_name), times in conditions.items():
        style = ALL_STYLES[style_name]
        said_by = whispering(voice_name) if style.whisper else voice_name
        voice = Voice(said_by, style.rate, style.pitch, style.pitch_range)
        custom = {"style": style_name, "pitch": style.pitch, "range": style.pitch_range, "rate": style.rate}
        for number in range(times) if parallel else draw.sample(range(len(texts)), times):
            name = f"styles-{seed}-{number:06d}-{style_name}-{voice_name}"
            lines.append(Line(name, texts[number], voice, folder / f"{name}.wav", custom, voice_name))
    return sorted(lines, key=lambda line: line.id)


def _texts(count: int, seed: int) -> list[str]:
    """Return at least `count` different beginnings of stories."""
    number = max(4 * TIMES_SAID, count)
    while True:
        texts = list(dict.fromkeys(" ".join(story.sentences[:2]) for story in write_stories(number, seed)))
        if len(texts) >= count:
            return texts
        number += 2 * (count - len(texts))


def speak_styles(
    out: str | Path,
    *,
    count: int,
    seed: int,
    voices: Sequence[str],
    validation_fraction: float,
    test_fraction: float,
    styles: Sequence[str] = tuple(STYLES),
    parallel: bool = False,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make the corpus of styles.

    Args:
        out: path of the corpus folder to write.
        count: number of utterances; if parallel, the largest number.
        seed: seed of the random texts, styles, voices and splits.
        voices: eSpeak NG voices, which are the speakers.
        validation_fraction: share of the texts in the validation split.
        test_fraction: share of the texts in the test split.
        styles: names of the styles.
        parallel: whether to say each text in all styles by all voices.
        num_jobs: number of processes; None for one per core.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.

    Raises:
        ValueError: if a voice or a style is not known or named twice, or a number is out of range.
    """
    out = Path(out)
    if not 1 <= count <= LARGEST:
        raise ValueError(f"sentences must be in [1, {LARGEST}], but is {count} instead")
    if len(set(voices)) < len(voices):
        raise ValueError(f"voices must differ, but are {', '.join(voices)} instead")
    for style in styles:
        if style not in ALL_STYLES:
            raise ValueError(f"styles must be of {', '.join(ALL_STYLES)}, but one is {style} instead")
    if len(set(styles)) < len(styles) or not styles:
        raise ValueError(f"styles must be different ones, but are {', '.join(styles) or 'none'} instead")
    fewest = len(styles) * len(voices)
    if parallel and count < fewest:
        raise ValueError(f"sentences must be at least styles times voices {fewest}, but is {count} instead")
    check_fractions(validation_fraction, test_fraction)
    make_voices(voices, STYLES["default"].rate)
    lines = style_lines(count, seed, voices, out / "audio", styles, parallel)
    splits = assign_splits([line.text for line in lines], validation_fraction, test_fraction, seed)
    return speak_lines(
        out,
        lines,
        [splits[line.text] for line in lines],
        num_jobs,
        overwrite=overwrite,
        name=out.name,
        source=f"{SYNTHESIZER} acting beginnings of the built-in stories",
        licence=LICENCE + "Apache-2.0",
        arguments={
            "sentences": len(lines),
            "seed": seed,
            "voices": list(voices),
            "styles": {name: vars(ALL_STYLES[name]) for name in styles},
            "parallel": parallel,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
        },
    )
