"""Judges of few-shot answers: transcripts by word errors, speech by what a recogniser hears, labels by equality."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torchaudio.functional import edit_distance

from spiritlm_pl.benchmarks.answers import Judge, Judged, check_speaks, spoken_answer, written_answer
from spiritlm_pl.benchmarks.few_shot.drawing import check_texts
from spiritlm_pl.benchmarks.few_shot.shots import ShotItem
from spiritlm_pl.benchmarks.few_shot.whisper_text import whisper_normaliser
from spiritlm_pl.benchmarks.items import PromptItem
from spiritlm_pl.corpora.audio import load_waveform, to_mono
from spiritlm_pl.evaluation.recognition import (
    SAMPLE_RATE,
    Heard,
    Recogniser,
    check_whisper,
    normalise,
    pocketsphinx_recogniser,
    said_words,
    whisper_recogniser,
)
from spiritlm_pl.generation.types import Answer

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

Counts = dict[str, tuple[float, float]]


def judge_asr(model: "SpiritLM", language: str | None = None, spellings: str | None = None) -> Judge:
    """Make the judge of transcripts.

    Args:
        model: model that answers; not used.
        language: language of the transcripts, as a code such as "en"; None for that of the corpus, or else English.
        spellings: path of Whisper's `normalizer.json`; None to leave British spellings as they are.

    Returns:
        A judge that counts word errors plain ("wer") and after Whisper's normaliser ("wer_whisper"), and character
        errors plain ("cer").
    """
    check_texts(language=language, spellings=spellings)
    normalisers: dict[str, Callable[[str], str]] = {}
    if language or spellings:  # errors in options come before the work
        normalisers[language or "en"] = whisper_normaliser(language or "en", spellings)

    def judge(item: ShotItem, answer: Answer) -> Judged:
        code = language or item.language or "en"
        if code not in normalisers:
            normalisers[code] = whisper_normaliser(code, spellings)
        whisper, said = normalisers[code], item.template.answered(written_answer(answer))
        plain, theirs = Heard(normalise(item.reference), normalise(said)), Heard(whisper(item.reference), whisper(said))
        counts = {"wer_whisper": _words(theirs), "wer": _words(plain), "cer": _characters(plain)}
        return Judged(counts, {"transcript": said})

    return _each(judge)


def judge_intents(model: "SpiritLM") -> Judge:
    """Make the judge of labels, of which case and spaces make no difference.

    Args:
        model: model that answers; not used.

    Returns:
        A judge that counts labels that are the right ones ("exact_match") and answers that are any label ("is_label").
    """
    labels: dict[str, set[str]] = {}

    def judge(item: ShotItem, answer: Answer) -> Judged:
        found = plain_label(item.template.answered(written_answer(answer)))
        known = labels.setdefault(item.texts.digest, set(map(plain_label, item.texts.texts)))
        right = float(found == plain_label(item.reference))
        return Judged({"exact_match": (right, 1.0), "is_label": (float(found in known), 1.0)}, {"prediction": found})

    return _each(judge)


def judge_tts(
    model: "SpiritLM",
    whisper: str | None = None,
    language: str | None = None,
    recordings: bool = True,
    whisper_device: str = "cpu",
) -> Judge:
    """Make the judge of spoken answers, by the words that a recogniser hears.

    Args:
        model: model that answers, which must have a vocoder.
        whisper: folder of a faster-whisper model; None for pocketsphinx, which knows English only, and expects the
            words of the texts that may be asked for.
        language: language of the texts, as a code such as "en"; None for that of the corpus, or else English.
        recordings: whether the recordings of the same texts are heard, too, for comparison.
        whisper_device: device that Whisper computes on: cpu, cuda or cuda:1.

    Returns:
        A judge that counts errors of characters ("cer") and words ("wer"), without a stop word at the end, and the same
        of the recordings ("recording_cer", "recording_wer").

    Raises:
        ValueError: if the model has no vocoder, or an option is wrong.
        ModuleNotFoundError: if faster-whisper is not installed.
    """
    check_texts(whisper=whisper, language=language, whisper_device=whisper_device)
    if not isinstance(recordings, bool):
        raise ValueError(f"recordings must be true or false, but is {recordings!r} instead")
    check_speaks(model)
    if whisper is not None:
        check_whisper(whisper)
    ears: dict[tuple[str, str], Recogniser] = {}
    heard: dict[Path, Counts] = {}

    def judge(item: ShotItem, answer: Answer) -> Judged:
        code = language or item.language or "en"
        said, stop = said_words(item.reference, code), _stop_word(item, code)
        if not said:
            raise ValueError(f"text must have words to hear, but is {item.reference!r} instead")
        key = (whisper or item.texts.digest, code)
        if key not in ears:
            ears[key] = _ear(item, whisper, code, stop, whisper_device)
        ear, spoken, words = ears[key], spoken_answer(answer), ""
        if spoken is not None and spoken.audio is not None and len(spoken.waveform):
            words = said_words(ear(to_mono(spoken.waveform[None], spoken.sample_rate)), code)
        found = Heard(said, without_stop(words, stop))
        counts = {"cer": _characters(found), "wer": _words(found)}
        if recordings and item.recording is not None:
            if item.recording not in heard:
                heard[item.recording] = _of_recording(item.recording, said, ear, code)
            counts |= heard[item.recording]
        return Judged(counts, {"transcript": found.heard})

    return _each(judge)


def _stop_word(item: ShotItem, language: str) -> str:
    return said_words(item.template.stop, language) if item.template.speaks_stop else ""


def _ear(item: ShotItem, whisper: str | None, language: str, stop: str, device: str) -> Recogniser:
    """Load the recogniser for the texts of an item's corpus.

    Raises:
        ValueError: if it must be Whisper, and is not given.
    """
    if whisper is not None:
        return whisper_recogniser(whisper, language, device)
    if language.lower().partition("-")[0] != "en":
        raise ValueError(f"whisper must be given for language {language}, as pocketsphinx knows English only")
    found = pocketsphinx_recogniser([*item.texts.texts, *([stop] if stop else [])])
    if found is None:
        raise ValueError("whisper must be given, as pocketsphinx knows none of the words of these texts")
    return found


def _of_recording(path: Path, said: str, ear: Callable[[Tensor], str], language: str) -> Counts:
    try:
        waveform = load_waveform(path, SAMPLE_RATE)
    except (ValueError, OSError):
        return {}
    found = Heard(said, said_words(ear(waveform), language))
    return {"recording_cer": _characters(found), "recording_wer": _words(found)}


def without_stop(words: str, stop: str) -> str:
    """Return normalised words without the stop word, or words, at their end."""
    if stop and f" {words}".endswith(f" {stop}"):
        return words[: -len(stop)].rstrip()
    return words


def plain_label(text: str) -> str:
    """Return a label in small letters with single spaces."""
    return " ".join(text.split()).casefold()


def wrong_counts(item: PromptItem, ways: Sequence[str]) -> Counts:
    """Return the counts of an item as if its answer were empty.

    Args:
        item: item that could not be asked.
        ways: ways of counting that are wanted; those that are not of answers are left out.
    """
    said = normalise(item.reference)
    words, letters = float(len(said.split())), float(len(said))
    errors = {"wer": words, "wer_whisper": words, "cer": letters}
    found = {way: (whole, whole) for way, whole in errors.items() if way in ways}
    return found | ({"exact_match": (0.0, 1.0), "is_label": (0.0, 1.0)} if "exact_match" in ways else {})


def _words(pair: Heard) -> tuple[float, float]:
    return float(pair.word_edits()), float(len(pair.said.split()))


def _characters(pair: Heard) -> tuple[float, float]:
    return float(edit_distance(pair.heard, pair.said)), float(len(pair.said))


def _each(judge: Callable[[ShotItem, Answer], Judged]) -> Judge:
    """Judge answers one by one; an answer that cannot be judged costs itself alone."""

    def judge_all(items: Sequence[PromptItem], answers: Sequence[Answer]) -> list[Judged | Exception]:
        found: list[Judged | Exception] = []
        for item, answer in zip(items, answers, strict=True):
            assert isinstance(item, ShotItem)
            try:
                found.append(judge(item, answer))
            except ValueError as error:
                found.append(error)
        return found

    return judge_all
