"""Corpora spoken by eSpeak NG: stories of the built-in grammar, or the sentences of any text file.

Word and phone times come with the audio, so no alignment is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lhotse import MonoCut

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import SAMPLE_RATE, save_wav, to_mono
from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.corpora.manifest import INFO_FILE, SPLITS, make_cut, save_corpus
from spiritlm_pl.corpora.splitting import assign_splits, check_fractions
from spiritlm_pl.corpora.synthetic.espeak import Voice, new_speaker, speaker
from spiritlm_pl.corpora.synthetic.stories import Difficulty, write_stories
from spiritlm_pl.corpora.text.transcripts import split_sentences, spoken_form, unreadable
from spiritlm_pl.runtime.parallel import parallel_map

SYNTHESIZER = "eSpeak NG"
LICENCE = f"speech made by {SYNTHESIZER} (GPL-3.0-or-later program; its output is free of it) from text under: "
LONGEST_SENTENCE = 200  # words, more than a minute; a longer one is usually a list, or text without punctuation
DEFAULT_VOICES = ("en-us", "en-us+f2", "en-gb+m3")


@dataclass(frozen=True)
class Line:
    """A text to be said by one voice.

    Attributes:
        id: id of the utterance.
        text: text that is said, as written.
        voice: voice and its settings.
        path: file to which the audio is written.
        custom: further fields to store with the utterance; None for none.
        speaker: name of the speaker; None takes the name of the voice.
    """

    id: str
    text: str
    voice: Voice
    path: Path
    custom: dict[str, Any] | None = None
    speaker: str | None = None


def speak_line(line: Line) -> MonoCut:
    """Say a line, write its audio at 16 kHz, and describe it as a cut; the same line always has the same samples."""
    with new_speaker() as one:
        spoken = one.speak(line.text, line.voice)
    waveform = torch.from_numpy(spoken.samples).float()[None] / 32768
    num_samples = save_wav(line.path, to_mono(waveform, spoken.sample_rate))
    return make_cut(
        line.id,
        line.path,
        sample_rate=SAMPLE_RATE,
        num_samples=num_samples,
        text=" ".join(word.text for word in spoken.words),
        speaker=f"espeak-{line.speaker or line.voice.name}",
        language=line.voice.language,
        words=spoken.words,
        phones=spoken.phones,
        custom=line.custom,
    )


def make_voices(names: Sequence[str], speed: int) -> list[Voice]:
    """Make voices from their names, trying each once.

    Args:
        names: names of eSpeak NG voices, such as en-us or en-gb+f2.
        speed: rate of speech in words a minute, 80 to 450.

    Raises:
        ValueError: if there are no names, one is not known, or the speed is out of range.
    """
    if not names:
        raise ValueError("voices must have at least one name, but is empty instead")
    if not 80 <= speed <= 450:
        raise ValueError(f"speed must be in [80, 450] words a minute, but is {speed} instead")
    voices = [Voice(name, speed) for name in names]
    for voice in voices:
        speaker().set_voice(voice)
    return voices


def speak_lines(
    out: Path, lines: Sequence[Line], splits: Sequence[str], num_jobs: int | None, **description: Any
) -> dict[str, Any]:
    """Make a corpus folder of lines.

    Args:
        out: path of the corpus folder to write.
        lines: lines to say, one utterance each.
        splits: split of each line.
        num_jobs: number of processes; None for one per core.
        description: name, source, licence and other arguments of `save_corpus`.
    """
    (out / "audio").mkdir(parents=True, exist_ok=True)
    (out / INFO_FILE).unlink(missing_ok=True)  # the audio of an earlier corpus will be overwritten
    cuts: dict[str, list[MonoCut]] = {name: [] for name in SPLITS}
    for split, cut in zip(splits, parallel_map(speak_line, lines, num_jobs, "speaking"), strict=True):
        cuts[split].append(cut)
    return save_corpus(out, cuts, **description)


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


def speak_text(
    file: str | Path,
    out: str | Path,
    *,
    seed: int,
    voices: Sequence[str],
    speed: int,
    validation_fraction: float,
    test_fraction: float,
    num_jobs: int | None = None,
) -> dict[str, Any]:
    """Make a corpus of the sentences of a text file, said by the voices in turn; each different sentence is said once.

    Args:
        file: path of the text file, in UTF-8 or UTF-16.
        out: path of the corpus folder to write.
        seed: seed of the random splits.
        voices: eSpeak NG voices that take turns, such as en-us or en-gb+f2.
        speed: rate of speech in words a minute, 80 to 450.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: number of processes; None for one per core.

    Returns:
        The contents of `corpus.json`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is no Unicode text or holds nothing to say.
    """
    file, out = Path(file), Path(out)
    if not file.is_file():
        raise FileNotFoundError(f"file must be a text file, but {file} is missing instead")
    try:
        text = read_text(file)
    except ValueError as error:
        raise ValueError(f"file must be UTF-8 or UTF-16 text, but {error}") from error
    sentences = {spoken_form(sentence): sentence for sentence in reversed(split_sentences(text))}
    if not sentences:
        raise ValueError(f"file must hold words to say, but {file} has none instead")
    check_fractions(validation_fraction, test_fraction)
    speakers = make_voices(voices, speed)
    ordered = list(reversed(sentences.items()))
    names = [f"{file.stem}-{index:06d}" for index in range(len(ordered))]
    lines, keys, skipped = [], [], []
    for index, (name, (words, sentence)) in enumerate(zip(names, ordered, strict=True)):
        voice = speakers[index % len(speakers)]
        reason = _unsayable(sentence, voice)
        if reason is None:
            lines.append(Line(name, sentence, voice, out / "audio" / f"{name}.wav"))
            keys.append(words)
        else:
            skipped.append(Skipped(name, str(file), reason))
    if not lines:
        raise ValueError(f"file must hold sentences that can be said, but all were skipped ({skipped[0].reason})")
    splits = assign_splits(keys, validation_fraction, test_fraction, seed)
    return speak_lines(
        out,
        lines,
        [splits[words] for words in keys],
        num_jobs,
        skipped=skipped,
        name=out.name,
        source=f"{SYNTHESIZER} reading {file.name}",
        licence=LICENCE + "the text's own licence",
        arguments={
            "file": str(file),
            "seed": seed,
            "voices": list(voices),
            "speed": speed,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
        },
    )


def _unsayable(sentence: str, voice: Voice) -> str | None:
    """Return the reason why a voice cannot say a sentence; None if it can."""
    words = len(sentence.split())
    if words > LONGEST_SENTENCE:
        return (
            f"sentence must have at most {LONGEST_SENTENCE} words, but has {words} instead: end sentences with a full "
            "stop or an empty line"
        )
    unknown = unreadable(sentence, voice.language)
    if unknown is None:
        return None
    return f"sentence must have one reading for voice {voice.name}, but has {unknown!r} instead: write it in words"
