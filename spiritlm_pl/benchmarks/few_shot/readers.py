"""Readers of the few-shot benchmarks: their keyword arguments are the options that users give."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.few_shot.drawing import Drawing, check_texts
from spiritlm_pl.benchmarks.few_shot.examples import Corpus
from spiritlm_pl.benchmarks.few_shot.intent_corpora import Microphone, find_fluent, find_slurp
from spiritlm_pl.benchmarks.few_shot.librispeech import find_librispeech
from spiritlm_pl.benchmarks.few_shot.prepared import find_prepared, find_table
from spiritlm_pl.benchmarks.few_shot.shots import read_prompts
from spiritlm_pl.benchmarks.few_shot.stop_word import spoken_word
from spiritlm_pl.benchmarks.few_shot.template import load_shot_template
from spiritlm_pl.benchmarks.items import Reading
from spiritlm_pl.runtime.found import found_at

STOP_VOICE = "en-us"
EAR = "answers are heard by pocketsphinx, which expects the words of these texts: not to be compared with Whisper's"


def read_asr(
    folder: Path,
    split: str | Sequence[str] | None = None,
    shots_split: str | None = None,
    shots: int = 10,
    shot_seeds: int = 3,
    shot_seconds: float | None = None,
    items: int | None = None,
    template: str | None = None,
    cache: str | None = None,
) -> Reading:
    """Read transcribed recordings as prompts of recognition; see `Drawing`, and `load_shot_template`.

    Raises:
        ValueError: if an option is wrong, or the folder has no layout that is known.
        FileNotFoundError: if the folder or the template is missing.
    """
    drawing, form = Drawing.of(locals()), load_shot_template("asr", "text", template)
    return read_prompts(_transcribed(folder), drawing, form, partial(_no_stop, "asr"), "text")


def read_tts(
    folder: Path,
    split: str | Sequence[str] | None = None,
    shots_split: str | None = None,
    shots: int = 10,
    shot_seeds: int = 3,
    shot_seconds: float | None = None,
    items: int | None = None,
    template: str | None = None,
    stop_audio: str | None = None,
    stop_voice: str = STOP_VOICE,
    whisper: str | None = None,
    cache: str | None = None,
) -> Reading:
    """Read transcribed recordings as prompts of synthesis; see `Drawing`, `load_shot_template` and `spoken_word`.

    Raises:
        ValueError: if an option is wrong, or the folder has no layout that is known.
        FileNotFoundError: if the folder, the template or the recording of the stop word is missing.
    """
    check_texts(whisper=whisper)
    drawing, form = Drawing.of(locals()), load_shot_template("tts", "audio", template)
    stop = partial(spoken_word, form.stop, stop_audio, stop_voice, drawing.cache)
    found = read_prompts(_transcribed(folder), drawing, form, stop, "text")
    notes = [*found.notes, *([EAR] if whisper is None else [])]
    if form.speaks_stop:
        notes.append(f"{form.stop!r} is spoken by {f'eSpeak NG, {stop_voice}' if stop_audio is None else stop_audio}")
    return Reading(found.items, found.layout, found.skipped, notes)


def read_intents(
    folder: Path,
    split: str | Sequence[str] | None = None,
    shots_split: str | None = None,
    shots: int = 30,
    shot_seeds: int = 3,
    shot_seconds: float | None = None,
    balanced: bool = False,
    items: int | None = None,
    template: str | None = None,
    microphone: Microphone = "near",
    cache: str | None = None,
) -> Reading:
    """Read recordings with labels as prompts of intent classification.

    See `Drawing`, `find_slurp` and `load_shot_template`.

    Raises:
        ValueError: if an option is wrong, or the folder has no layout that is known.
        FileNotFoundError: if the folder, a part of it or the template is missing.
    """
    drawing, form = Drawing.of(locals()), load_shot_template("intents", "label", template)
    _check_folder(folder)
    corpus = find_fluent(folder) or find_slurp(folder, microphone) or find_table(folder, "label")
    if corpus is None:
        raise ValueError(
            f"intents must be Fluent Speech Commands (data/test_data.csv), SLURP (dataset/slurp/test.jsonl) or a table "
            f"(csv or tsv with path, label, split), but {folder} is none of these"
        )
    return read_prompts(corpus, drawing, form, partial(_no_stop, "intents"), "label")


def _transcribed(folder: Path) -> Corpus:
    _check_folder(folder)
    corpus = find_librispeech(folder) or find_prepared(folder) or find_table(folder, "text")
    if corpus is None:
        raise ValueError(
            "transcribed speech must be LibriSpeech (<split>/<speaker>/<chapter>/*.trans.txt), a corpus of spiritlm "
            "prepare (lhotse-manifest reads lhotse's), or a table (csv or tsv with path, text, split), but "
            f"{folder} is none of these"
        )
    return corpus


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"a benchmark must be a folder, but {found_at(folder)}")


def _no_stop(task: str) -> Any:
    raise ValueError(f"template of {task} must not speak {{stop}}, which only tts has speech for")
