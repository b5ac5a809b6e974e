"""Prompts that are continued: the first seconds of recordings, the first words of texts, or both as a whole."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, cat

from spiritlm_pl.benchmarks.continuations.sources import Source, Sources, read_sources
from spiritlm_pl.benchmarks.continuations.words import words_of
from spiritlm_pl.benchmarks.items import Labels, PromptItem, Reading
from spiritlm_pl.benchmarks.readers.word_cuts import cut_audio, split_text
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import load_audio_file, to_mono
from spiritlm_pl.corpora.decoding import declared_seconds
from spiritlm_pl.evaluation.recognition import SAMPLE_RATE
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.storage.user_cache import cache_folder
from spiritlm_pl.vocabulary import Modality

CACHE = Path("~/.cache/spiritlm-pl/prompts")
SHORTEST = 0.1  # seconds that must follow a prompt, to have something to compare its continuation with
FIRST = 1000  # prompts that slamkit takes


def read_beginnings(
    folder: str | Path,
    prompt_seconds: float = 3.0,
    first: int | None = FIRST,
    split: str = "test",
    cache: str | Path = CACHE,
) -> Reading:
    """Read recordings, whose first seconds are prompts and whose rest is the original continuation.

    Args:
        folder: folder of recordings, of StoryCloze or of a corpus.
        prompt_seconds: length of the prompts in seconds.
        first: number of recordings that are taken in the order of the files; None for all.
        split: split of a corpus.
        cache: folder to which prompts are cut.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no recordings, or none that is longer than a prompt.
    """
    if not prompt_seconds > 0:
        raise ValueError(f"prompt_seconds must be above 0, but is {prompt_seconds} instead")
    place = cache_folder(cache)
    sources = read_sources(Path(folder), Modality.SPEECH, split, None, place)

    def item(source: Source) -> PromptItem:
        seconds = _seconds(source)
        if seconds < prompt_seconds + SHORTEST:
            raise ValueError(f"it lasts {seconds:.2f} s, which leaves nothing after a prompt of {prompt_seconds} s")
        if source.recordings[1:] and _seconds_of(source.recordings[0]) < prompt_seconds:
            raise ValueError(f"its beginning is shorter than a prompt of {prompt_seconds} s")
        audio = cut_audio(source.recordings[0], source.start, source.start + prompt_seconds, place)
        labels = _audio_labels(source) | {"prompt_seconds": prompt_seconds}
        return PromptItem(source.id, (Speech(audio),), "speech", labels=labels)

    return _reading(folder, sources, first, item)


def read_text_beginnings(
    folder: str | Path,
    prompt_words: int = 10,
    first: int | None = FIRST,
    split: str = "test",
    column: str | None = None,
    cache: str | Path = CACHE,
) -> Reading:
    """Read texts, whose first words are prompts and whose rest is the original continuation.

    Args:
        folder: folder or file of texts, of StoryCloze or of a corpus.
        prompt_words: number of words of the prompts.
        first: number of texts that are taken in the order of the files; None for all.
        split: split of a corpus.
        column: column of the texts in a table; None for prompt, text or sentence.
        cache: folder to which audio in Parquet files is written.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no texts, or none that is longer than a prompt.
    """
    if prompt_words < 1:
        raise ValueError(f"prompt_words must be at least 1, but is {prompt_words} instead")
    sources = read_sources(Path(folder), Modality.TEXT, split, column, cache_folder(cache))

    def item(source: Source) -> PromptItem:
        before, after = split_text(source.text, prompt_words)
        if not words_of(after):
            raise ValueError(f"it has {len(before.split())} words, which leaves nothing after {prompt_words} words")
        return PromptItem(source.id, (Text(before),), "text", reference=after, labels=source.labels)

    return _reading(folder, sources, first, item)


def read_spoken_prompts(
    folder: str | Path,
    prompt_seconds: float | None = None,
    first: int | None = None,
    split: str = "test",
    cache: str | Path = CACHE,
) -> Reading:
    """Read recordings that are prompts themselves.

    Args:
        folder: folder of recordings, of StoryCloze or of a corpus.
        prompt_seconds: length in seconds after which they are cut; None for whole recordings.
        first: number of recordings that are taken in the order of the files; None for all.
        split: split of a corpus.
        cache: folder to which prompts are cut.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no recordings.
    """
    if prompt_seconds is not None and not prompt_seconds > 0:
        raise ValueError(f"prompt_seconds must be above 0, but is {prompt_seconds} instead")
    place = cache_folder(cache)
    sources = read_sources(Path(folder), Modality.SPEECH, split, None, place)

    def item(source: Source) -> PromptItem:
        path, whole = source.recordings[0], _seconds_of(source.recordings[0])
        length = min(source.seconds or whole - source.start, prompt_seconds or float("inf"))
        if source.start or source.start + length < whole - 1e-3:
            path = cut_audio(path, source.start, source.start + length, place)
        return PromptItem(source.id, (Speech(path),), "speech", labels=_audio_labels(source))

    return _reading(folder, sources, first, item)


def read_written_prompts(
    folder: str | Path,
    first: int | None = None,
    split: str = "test",
    column: str | None = None,
    cache: str | Path = CACHE,
) -> Reading:
    """Read texts that are prompts themselves.

    Args:
        folder: folder or file of texts, of StoryCloze or of a corpus.
        first: number of texts that are taken in the order of the files; None for all.
        split: split of a corpus.
        column: column of the texts in a table; None for prompt, text or sentence.
        cache: folder to which audio in Parquet files is written.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no texts.
    """
    sources = read_sources(Path(folder), Modality.TEXT, split, column, cache_folder(cache))

    def item(source: Source) -> PromptItem:
        return PromptItem(source.id, (Text(source.text),), "text", labels=source.labels)

    return _reading(folder, sources, first, item)


def original(item: PromptItem) -> tuple[Tensor, Tensor]:
    """Return the recording that a prompt was cut from, whole (S,) and after the prompt (R,), at the recogniser's rate.

    Raises:
        AudioError: if it cannot be read.
    """
    seconds, start = item.labels["prompt_seconds"], item.labels["start"]
    assert isinstance(seconds, float | int) and isinstance(start, float | int)
    end = item.labels["end"]
    length = None if not isinstance(end, float | int) else end - start
    parts = [_mono(str(item.labels["recording"]), start, length)]
    if item.labels["ending"] is not None:
        parts.append(_mono(str(item.labels["ending"])))
    whole = cat(parts)
    return whole, whole[round(seconds * SAMPLE_RATE) :]


def _mono(path: str, start: float = 0.0, length: float | None = None) -> Tensor:
    waveform, rate = load_audio_file(path, start, length)
    return to_mono(waveform, rate, SAMPLE_RATE)


def _audio_labels(source: Source) -> Labels:
    second = source.recordings[1:]
    return source.labels | {
        "recording": str(source.recordings[0].resolve()),
        "ending": str(second[0].resolve()) if second else None,
        "start": source.start,
        "end": None if source.seconds is None else source.start + source.seconds,
    }


def _seconds(source: Source) -> float:
    return source.seconds or sum(map(_seconds_of, source.recordings)) - source.start


def _seconds_of(path: Path) -> float:
    told = declared_seconds(path)
    if told is not None:
        return told
    waveform, rate = load_audio_file(path)
    return waveform.shape[-1] / rate


def _reading(folder: str | Path, sources: Sources, first: int | None, build: Callable[[Source], PromptItem]) -> Reading:
    """Build the prompts of the first utterances; those that give none are skipped.

    Raises:
        ValueError: if none gives a prompt.
    """
    if first is not None and first < 1:
        raise ValueError(f"first must be at least 1, or null for all, but is {first} instead")
    items: list[PromptItem] = []
    skipped = list(sources.skipped)
    for source in sources.utterances[:first]:
        try:
            items.append(build(source))
        except (ValueError, OSError) as error:
            place = str(source.recordings[0]) if source.recordings else str(folder)
            skipped.append(Skipped(source.id, place, f"{source.id} cannot be a prompt: {error}"))
    if not items:
        why = f": {skipped[0].reason}" if skipped else ""
        raise ValueError(f"{folder} must hold utterances that can be prompts, but holds none{why}")
    total = len(sources.utterances)
    cut = [f"the first {first} of {total} utterances are taken"] if first is not None and first < total else []
    return Reading(items, sources.layout, skipped, [*sources.notes, *cut])
