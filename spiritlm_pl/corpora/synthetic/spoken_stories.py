"""The corpus of stories of the built-in grammar, spoken by eSpeak NG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.splitting import assign_splits, check_fractions
from spiritlm_pl.corpora.synthetic.spoken import LICENCE, SYNTHESIZER, Line, make_voices, speak_lines
from spiritlm_pl.corpora.synthetic.stories import Difficulty, write_stories


def speak_stories(
    out: str | Path,
    *,
    count: int,
    seed: int,
    voices: Sequence[str],
    speed: int,
    validation_fraction: float,
    test_fraction: float,
    num_jobs: int | None = None,
    difficulty: Difficulty = "easy",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make the corpus of stories; every story is told once, by one of the voices in turn.

    Args:
        out: path of the corpus folder to write.
        count: number of stories, all different.
        seed: seed of the random stories and their splits.
        voices: eSpeak NG voices that take turns, such as en-us or en-gb+f2.
        speed: rate of speech in words a minute, 80 to 450.
        validation_fraction: share of the stories in the validation split.
        test_fraction: share of the stories in the test split.
        num_jobs: number of processes; None for one per core.
        difficulty: easy or hard, as in `write_stories`.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.
    """
    out = Path(out)
    check_fractions(validation_fraction, test_fraction)
    speakers = make_voices(voices, speed)
    stories = write_stories(count, seed, difficulty)
    lines = [
        Line(
            story.id,
            story.text,
            speakers[index % len(speakers)],
            out / "audio" / f"{story.id}.wav",
            {
                "story": story.id,
                "sentence_ends": story.sentence_ends,
                "animal": story.animal,
                "place": story.place,
                "thing": story.thing,
            },
        )
        for index, story in enumerate(stories)
    ]
    splits = assign_splits([story.text for story in stories], validation_fraction, test_fraction, seed)
    return speak_lines(
        out,
        lines,
        [splits[story.text] for story in stories],
        num_jobs,
        overwrite=overwrite,
        name=out.name,
        source=f"{SYNTHESIZER} reading the built-in story grammar",
        licence=LICENCE + "Apache-2.0",
        arguments={
            "count": count,
            "seed": seed,
            "difficulty": difficulty,
            "voices": list(voices),
            "speed": speed,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
        },
    )
