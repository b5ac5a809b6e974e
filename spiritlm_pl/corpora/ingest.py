"""Conversion of utterances from any source to checked cuts; those that cannot be used are skipped with a reason.

Mono files at 16 kHz stay where they are; all others are mixed and resampled into the corpus folder.
"""

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lhotse import MonoCut
from lhotse.cut import Cut
from torch import Tensor

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import SAMPLE_RATE, SILENCE, AudioError, loudest_if_cancelled, save_wav, to_mono
from spiritlm_pl.corpora.cut_audio import load_cut_audio
from spiritlm_pl.corpora.decoding import RAW_FORMATS, Part, beyond_end, decode
from spiritlm_pl.corpora.files import short_name
from spiritlm_pl.corpora.manifest import Word, make_cut, named
from spiritlm_pl.corpora.replacing import claim_audio, drop_orphans
from spiritlm_pl.corpora.text.transcripts import clean_transcript, spoken_form, spoken_words, unreadable, written_tokens
from spiritlm_pl.corpora.word_times import AlignmentError, fit_times, spoken_times, token_times
from spiritlm_pl.runtime.parallel import parallel_map

logger = logging.getLogger(__name__)
FILE_SLACK = 0.1  # seconds by which a file may differ from its declared length
UNDECODED = "\N{REPLACEMENT CHARACTER}"  # decoding puts it in place of bytes that are not UTF-8


@dataclass(frozen=True)
class Utterance:
    """An utterance as a source describes it.

    Attributes:
        id: id of the utterance, unique in its corpus.
        path: path of the audio file.
        text: transcript; None if the source lacks it.
        speaker: name of the speaker; empty if it is not known.
        language: language of the transcript, as a code such as "en".
        start: start in seconds of the file.
        duration: length in seconds; None for all that follows the start.
        channel: channel of the file to take alone, 0 for the first; None mixes all channels.
        words: words with times in seconds from the start of the utterance; they are dropped if they do not fit the
            utterance or differ from the text.
        phones: phones with times in seconds from the start of the utterance.
        custom: further fields to store with the utterance; None for none.
        speech_only: whether the utterance has no text by intention, so that it is not skipped for that.
        file_duration: length in seconds that the whole file must have; None accepts any.
        file_slack: seconds by which the file may differ from `file_duration`.
        stays: whether the file remains where it is; if not, its audio is stored in the corpus.
        cut: lhotse cut to load in place of the file; None reads the file.
    """

    id: str
    path: Path
    text: str | None
    speaker: str
    language: str = "en"
    start: float = 0.0
    duration: float | None = None
    channel: int | None = None
    words: tuple[Word, ...] = ()
    phones: tuple[Word, ...] = ()
    custom: dict[str, Any] | None = None
    speech_only: bool = False
    file_duration: float | None = None
    file_slack: float = FILE_SLACK
    stays: bool = True
    cut: Cut | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Conditions that an utterance must meet to enter a corpus.

    Args:
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        min_sample_rate: lowest sample rate in Hz; audio that was sampled lower lacks the upper part of the spectrum.
        spoken_text: whether to keep transcripts as the words that are said, in lower case, with numbers and symbols in
            words; utterances that could be read in several ways are skipped. If False, transcripts are kept as written.
        symbols: names of the symbols that this corpus reads in its own way, by symbol.
    """

    min_duration: float = 0.2
    max_duration: float = 100.0
    min_sample_rate: int = SAMPLE_RATE
    spoken_text: bool = True
    symbols: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the range of durations."""
        if not 0 < self.min_duration < self.max_duration:
            raise ValueError(
                f"min_duration must be in (0, max_duration = {self.max_duration}), but is {self.min_duration} instead"
            )


def ingest_file(utterances: Sequence[Utterance], places: Sequence[Path], rules: Rules) -> list[MonoCut | Skipped]:
    """Check the utterances of one file, decoding it once; return a cut or the reason against it for each, in order.

    Args:
        utterances: utterances of the file.
        places: path for the audio of each, if it is converted.
        rules: conditions that the utterances must meet.
    """
    converted = {utterance.id: place for utterance, place in zip(utterances, places, strict=True)}
    results: dict[str, MonoCut | Skipped] = {}
    wanted = []
    for utterance in sorted(utterances, key=lambda utterance: utterance.start):
        fault = _fault_of_names(utterance) or (None if utterance.speech_only else _fault_of_text(utterance, rules))
        if fault is None:
            wanted.append(utterance)
        else:
            results[utterance.id] = Skipped(utterance.id, str(utterance.path), fault)
    in_file = [utterance for utterance in wanted if utterance.cut is None]
    parts = _decoded(utterances[0].path, [(utterance.start, utterance.duration) for utterance in in_file])
    for utterance, part in zip(in_file, parts, strict=True):
        results[utterance.id] = _ingested(utterance, part, converted[utterance.id], rules)
    for utterance in wanted:
        if utterance.cut is not None:
            results[utterance.id] = _ingested(utterance, _loaded(utterance.cut), converted[utterance.id], rules)
    return [results[utterance.id] for utterance in utterances]


def _decoded(path: Path, parts: Sequence[Part]) -> Iterator[tuple[Tensor, int] | AudioError]:
    """Yield parts (C, S) of a file with their sample rate; from the first damage on, yield the error for each part."""
    found = decode(path, parts)
    for done in range(len(parts)):
        try:
            yield next(found)
        except AudioError as error:
            yield from [error] * (len(parts) - done)
            return


def _loaded(cut: Cut) -> tuple[Tensor, int] | AudioError:
    try:
        return load_cut_audio(cut)
    except AudioError as error:
        return error


def _ingested(
    utterance: Utterance, found: tuple[Tensor, int] | AudioError, place: Path, rules: Rules
) -> MonoCut | Skipped:
    """Make a cut of one utterance and its decoded audio; any fault in it skips this utterance alone.

    Raises:
        OSError: if the audio cannot be written, since this is a fault of the disk and affects all utterances.
    """
    try:
        if not isinstance(found, AudioError):
            return ingest_one(utterance, *found, place, rules)
        reason = str(found)
    except OSError:
        raise
    except Exception as error:  # resamplers and transforms raise errors of many kinds on unusual audio
        reason = f"utterance cannot be used ({error!r})"
    return Skipped(utterance.id, str(utterance.path), reason)


def ingest_one(utterance: Utterance, waveform: Tensor, rate: int, place: Path, rules: Rules) -> MonoCut | Skipped:
    """Check one utterance with its audio (C, S), convert and store the audio if needed, and describe it as a cut.

    Args:
        utterance: the utterance as its source describes it.
        waveform: its audio (C, S).
        rate: sample rate of the audio in Hz.
        place: path for the audio, if it is converted.
        rules: conditions that the utterance must meet.
    """

    def skip(reason: str) -> Skipped:
        return Skipped(utterance.id, str(utterance.path), reason)

    seconds = waveform.shape[1] / rate
    if rate < rules.min_sample_rate:
        return skip(f"sample rate must be at least {rules.min_sample_rate} Hz, but is {rate} instead")
    if utterance.start > 0 and not waveform.shape[1]:
        return skip(beyond_end(utterance.start, utterance.path))
    if utterance.duration is not None and seconds < utterance.duration - 0.05:
        return skip(f"file ends {utterance.duration - seconds:.2f} s before the utterance does")
    if utterance.file_duration is not None and abs(seconds - utterance.file_duration) > utterance.file_slack:
        return skip(f"file must last {utterance.file_duration:.2f} s by its manifest, but lasts {seconds:.2f} instead")
    if not rules.min_duration <= seconds <= rules.max_duration:
        bounds = f"[{rules.min_duration}, {rules.max_duration}]"
        return skip(f"duration must be in {bounds} s, but is {seconds:.2f} instead")
    num_channels = waveform.shape[0]
    if utterance.channel is not None:
        if utterance.channel >= num_channels:
            return skip(f"channel must be below {num_channels}, but is {utterance.channel} instead")
        waveform = waveform[utterance.channel][None]
    if not bool(torch.isfinite(waveform).all()):
        return skip("samples are not finite")
    try:
        loudest = loudest_if_cancelled(waveform, rate)
        if loudest is not None:
            logger.warning("channels of %s cancel each other out: channel %d is taken alone", utterance.path, loudest)
        mono = to_mono(waveform, rate)
    except AudioError as error:
        return skip(str(error))
    peak = float(mono.abs().max())
    if peak < SILENCE:
        return skip("audio is silent")
    path, num_samples = utterance.path.resolve(), waveform.shape[1]
    whole = utterance.start == 0 and utterance.duration is None and utterance.cut is None
    kept = whole and utterance.stays and path.suffix.lower() not in RAW_FORMATS
    if not kept or rate != SAMPLE_RATE or num_channels > 1 or peak > 1:
        path = place
        num_samples = save_wav(path, mono / max(1.0, peak))  # scaled down instead of clipped
    text = utterance.text or ""
    text = spoken_form(text, rules.symbols, utterance.language) if rules.spoken_text else clean_transcript(text)
    words, phones = _times(utterance, text, num_samples / SAMPLE_RATE)
    return make_cut(
        utterance.id,
        path,
        sample_rate=SAMPLE_RATE,
        num_samples=num_samples,
        text=text,
        speaker=named(utterance.speaker),
        language=utterance.language,
        words=words,
        phones=phones,
        custom=_with_known_style(utterance.custom),
    )


def _audio_name(utterance: str) -> str:
    """Return the name of the file for the audio of an utterance."""
    name = utterance.replace("%", "%25").replace("/", "%2F")  # escaped, so that no two ids share a file
    return f"{short_name(name)}.wav"


def _fault_of_names(utterance: Utterance) -> str | None:
    """Return the reason why an utterance cannot be named in a manifest; None if it can."""
    try:
        f"{utterance.id}{utterance.path}{utterance.speaker}{utterance.language}".encode()
    except UnicodeEncodeError:  # a disk or a manifest may hold names that are no valid text
        return "names of file, folders and speaker must be UTF-8, but are not"
    return None


def _fault_of_text(utterance: Utterance, rules: Rules) -> str | None:
    """Return the reason why a transcript cannot be used; None if it can."""
    text = utterance.text
    if text is None:
        return "there is no transcript beside it"
    if UNDECODED in text or any(unicodedata.category(character) == "Cs" for character in text):
        return "transcript is not UTF-8"
    try:
        unknown = unreadable(text, utterance.language, rules.symbols) if rules.spoken_text else None
        words = spoken_words(text, rules.symbols, utterance.language)
    except Exception as error:  # the library that writes out numbers raises errors of many kinds
        return f"transcript cannot be written as words ({error!r:.200})"
    if unknown is not None:
        return f"transcript must have one reading, but has {unknown!r} instead: write it in words"
    return None if words else "transcript has no words"


def _with_known_style(custom: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the custom fields without a style whose value means that there is none."""
    if custom is None or not isinstance(style := custom.get("style"), str) or named(style):
        return custom
    return {name: value for name, value in custom.items() if name != "style"}


def _times(utterance: Utterance, text: str, duration: float) -> tuple[list[Word], list[Word]]:
    """Return the words of the text and the phones with the utterance's own times; empty if the times do not fit."""
    tokens = written_tokens(text, utterance.language)
    try:
        words = spoken_times([word for _, said in tokens for word in said], utterance.words, utterance.language)
        return token_times(tokens, words, duration), fit_times(utterance.phones, duration)
    except AlignmentError:  # `spiritlm align` can find other times later
        return [], []


def ingest(
    utterances: Sequence[Utterance],
    out: str | Path,
    rules: Rules,
    num_jobs: int | None = None,
    left_out: Sequence[Skipped] = (),
) -> tuple[list[MonoCut], list[Skipped]]:
    """Check and convert utterances in parallel, as `ingest_any` does, of which at least one must be usable.

    Args:
        utterances: utterances of a source; their ids must differ.
        out: path of the corpus folder; converted audio is stored below it.
        rules: conditions that an utterance must meet.
        num_jobs: number of processes; None for one per core.
        left_out: utterances that the source itself has skipped.

    Returns:
        The usable cuts in the order given, and all skipped utterances.

    Raises:
        ValueError: if two utterances have the same id, or none is usable.
    """
    if not utterances and not left_out:
        raise ValueError("corpus must have usable utterances, but the source has none instead")
    cuts, skipped = ingest_any(utterances, out, rules, num_jobs)
    skipped = [*left_out, *skipped]
    if not cuts:
        first = f"the first: {skipped[0].path}: {skipped[0].reason}"
        raise ValueError(f"corpus must have usable utterances, but all {len(skipped)} were skipped ({first})")
    return cuts, skipped


def ingest_any(
    utterances: Sequence[Utterance], out: str | Path, rules: Rules, num_jobs: int | None = None
) -> tuple[list[MonoCut], list[Skipped]]:
    """Check and convert utterances in parallel; return the usable cuts in the order given, and the others.

    Args:
        utterances: utterances of a source; their ids must differ.
        out: path of the corpus folder; converted audio is stored below it.
        rules: conditions that an utterance must meet.
        num_jobs: number of processes; None for one per core.

    Raises:
        ValueError: if two utterances have the same id.
    """
    ids = [utterance.id for utterance in utterances]
    if len(set(ids)) < len(ids):
        double = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"utterance ids must differ, but {double!r} occurs twice")
    folder = Path(out).resolve() / "audio"
    named = [utterance for utterance in utterances if _fault_of_names(utterance) is None]
    wanted = [folder / _audio_name(utterance.id) for utterance in named]
    claimed = claim_audio(out, wanted, (utterance.path for utterance in named))
    places = {utterance.id: place for utterance, place in zip(named, claimed, strict=True)}
    groups = [
        [(utterance, places.get(utterance.id, folder)) for utterance in members] for members in _by_file(utterances)
    ]
    results = _in_order(ids, parallel_map(_Job(rules), groups, num_jobs, "checking audio", len(ids)))
    cuts = [result for result in results if isinstance(result, MonoCut)]
    return cuts, [result for result in results if isinstance(result, Skipped)]


def drop_other_audio(out: str | Path, cuts: Iterable[MonoCut], utterances: Iterable[Utterance]) -> None:
    """Remove converted audio that a corpus does not use: of one that it replaces, or of cuts that were left out.

    Args:
        out: path of the corpus folder.
        cuts: all cuts of the corpus.
        utterances: utterances that it was made of, whose own files stay.
    """
    used = (Path(source.source) for cut in cuts for source in cut.recording.sources)
    drop_orphans(out, used, (utterance.path for utterance in utterances))


def _by_file(utterances: Sequence[Utterance]) -> list[list[Utterance]]:
    """Group utterances by their file."""
    files: dict[Path, list[Utterance]] = {}
    for utterance in utterances:
        files.setdefault(utterance.path, []).append(utterance)
    return list(files.values())


def _in_order(ids: Sequence[str], groups: Iterable[list[MonoCut | Skipped]]) -> list[MonoCut | Skipped]:
    found = {result.id: result for group in groups for result in group}
    return [found[name] for name in ids]


@dataclass(frozen=True)
class _Job:
    rules: Rules

    def __call__(self, members: Sequence[tuple[Utterance, Path]]) -> list[MonoCut | Skipped]:
        utterances, places = zip(*members, strict=True)
        return ingest_file(utterances, places, self.rules)
