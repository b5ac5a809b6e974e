"""Judges of few-shot answers: transcripts by word errors, speech by what a recogniser hears, labels by equality."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torchaudio.functional import edit_distance

from spiritlm_pl.benchmarks.answers import Judge, Judged, check_speaks, spoken_answer, written_answer
from spiritlm_pl.benchmarks.few_shot.shots import ShotItem
from spiritlm_pl.benchmarks.few_shot.template import load_template
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


def judge_asr(
    model: "SpiritLM", template: str | None = None, language: str = "en", spellings: str | None = None
) -> Judge:
    """Make the judge of transcripts.

    Args:
        model: model that answers; not used.
        template: path of the template of the prompts; None for the published one.
        language: language of the transcripts, as a code such as "en".
        spellings: path of Whisper's `normalizer.json`; None to leave British spellings as they are.

    Returns:
        A judge that counts word errors plain ("wer") and after Whisper's normaliser ("wer_whisper"), and character
        errors plain ("cer").
    """
    form, whisper = load_template("asr", "text", template), whisper_normaliser(language, spellings)

    def judge(item: PromptItem, answer: Answer) -> Judged:
        said = form.answered(written_answer(answer))
        plain, theirs = Heard(normalise(item.reference), normalise(said)), Heard(whisper(item.reference), whisper(said))
        counts = {"wer_whisper": _words(theirs), "wer": _words(plain), "cer": _characters(plain)}
        return Judged(counts, {"transcript": said})

    return _each(judge)


def judge_intents(model: "SpiritLM", template: str | None = None) -> Judge:
    """Make the judge of labels, of which case and spaces make no difference.

    Args:
        model: model that answers; not used.
        template: path of the template of the prompts; None for the published one.

    Returns:
        A judge that counts labels that are the right ones ("exact_match").
    """
    form = load_template("intents", "label", template)

    def judge(item: PromptItem, answer: Answer) -> Judged:
        found = plain_label(form.answered(written_answer(answer)))
        right = found == plain_label(item.reference)
        return Judged({"exact_match": (float(right), 1.0)}, {"prediction": found})

    return _each(judge)


def judge_tts(
    model: "SpiritLM",
    template: str | None = None,
    whisper: str | None = None,
    language: str = "en",
    recordings: bool = True,
) -> Judge:
    """Make the judge of spoken answers, by the words that a recogniser hears.

    Args:
        model: model that answers, which must have a vocoder.
        template: path of the template of the prompts; None for the published one.
        whisper: folder of a faster-whisper model; None for pocketsphinx, which knows English only, and expects the
            words of the texts that may be asked for.
        language: language of the texts, as a code such as "en".
        recordings: whether the recordings of the same texts are heard, too, for comparison.

    Returns:
        A judge that counts errors of characters ("cer") and words ("wer"), without a stop word at the end, and the same
        of the recordings ("recording_cer", "recording_wer").

    Raises:
        ValueError: if the model has no vocoder, or the folder of Whisper is none.
        ModuleNotFoundError: if faster-whisper is not installed.
    """
    check_speaks(model)
    form = load_template("tts", "audio", template)
    stop = said_words(form.stop, language) if form.speaks_stop else ""
    if whisper is not None:
        check_whisper(whisper)
    elif not language.lower().startswith("en"):
        raise ValueError(f"whisper must be given for language {language}, as pocketsphinx knows English only")
    ears: dict[str, Recogniser] = {}
    heard: dict[Path, Counts] = {}

    def ear_of(item: ShotItem) -> Recogniser:
        key = whisper or item.texts.digest
        if key not in ears:
            found = (
                pocketsphinx_recogniser([*item.texts.texts, *([stop] if stop else [])])
                if whisper is None
                else whisper_recogniser(whisper, language)
            )
            if found is None:
                raise ValueError("whisper must be given, as pocketsphinx knows none of the words of these texts")
            ears[key] = found
        return ears[key]

    def judge(item: PromptItem, answer: Answer) -> Judged:
        assert isinstance(item, ShotItem)
        said = said_words(item.reference, language)
        if not said:
            raise ValueError(f"text must have words to hear, but is {item.reference!r} instead")
        ear, spoken = ear_of(item), spoken_answer(answer)
        words = ""
        if spoken is not None and spoken.audio is not None and len(spoken.waveform):
            words = said_words(ear(to_mono(spoken.waveform[None], spoken.sample_rate)), language)
        found = Heard(said, without_stop(words, stop))
        counts = {"cer": _characters(found), "wer": _words(found)}
        if recordings and item.recording is not None:
            if item.recording not in heard:
                heard[item.recording] = _of_recording(item.recording, said, ear, language)
            counts |= heard[item.recording]
        return Judged(counts, {"transcript": found.heard})

    return _each(judge)


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
    all_wrong = {
        "wer": float(len(said.split())),
        "wer_whisper": float(len(said.split())),
        "cer": float(len(said)),
        "exact_match": 1.0,
    }
    return {way: (0.0 if way == "exact_match" else all_wrong[way], all_wrong[way]) for way in all_wrong if way in ways}


def _words(pair: Heard) -> tuple[float, float]:
    return float(pair.word_edits()), float(len(pair.said.split()))


def _characters(pair: Heard) -> tuple[float, float]:
    return float(edit_distance(pair.heard, pair.said)), float(len(pair.said))


def _each(judge: Callable[[PromptItem, Answer], Judged]) -> Judge:
    """Judge answers one by one; an answer that cannot be judged costs itself alone."""

    def judge_all(items: Sequence[PromptItem], answers: Sequence[Answer]) -> list[Judged | Exception]:
        found: list[Judged | Exception] = []
        for item, answer in zip(items, answers, strict=True):
            try:
                found.append(judge(item, answer))
            except ValueError as error:
                found.append(error)
        return found

    return judge_all
