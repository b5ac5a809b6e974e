"""Utterances of lhotse cuts: the text of each supervision, and the stretch of audio in which it is said.

Word times of a corpus are kept. Audio is stored as the manifest describes it, with its transforms, padding and mixing.
Where a cut holds only a part of a supervision, the words wholly within are kept if their times tell which these are.
What cannot be used is left out item by item, with the reason.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lhotse.augmentation import Resample
from lhotse.cut import Cut, MixedCut, MonoCut, MultiCut, PaddingCut
from lhotse.supervision import AlignmentItem, SupervisionSegment
from lhotse.utils import fastcopy

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.cut_audio import transforms_of
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.overlaps import MAX_OVERLAP, Span, disturbances, reason_of, says_something
from spiritlm_pl.corpora.text.transcripts import clean_transcript, written_tokens
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError, is_silence, spoken_times, token_times

logger = logging.getLogger(__name__)
SLACK = 0.05  # seconds by which times in a manifest may be rounded
_WORD_TIERS = ("word", "words")
_PHONE_TIERS = ("phone", "phones", "phoneme", "phonemes")
_STYLE_FIELDS = ("style", "emotion")


class _UnusableError(ValueError):
    """Error for a supervision that gives no utterance; the message says why."""


@dataclass(frozen=True)
class CutUtterance:
    """An utterance that one supervision describes.

    Attributes:
        id: id of the utterance.
        cut: the stretch of audio in which it is said, and no more.
        supervision: the supervision as it stands in the manifest.
        text: transcript; None if there is none.
        words: words with times in seconds from the start of `cut`.
        phones: phones with times in seconds from the start of `cut`.
        style: name of the style; empty if there is none.
    """

    id: str
    cut: MonoCut | MixedCut
    supervision: SupervisionSegment
    text: str | None
    words: tuple[AlignedWord, ...]
    phones: tuple[AlignedWord, ...]
    style: str


@dataclass(frozen=True)
class _Segment:
    """A supervision in a cut, with the possible origins of its word times.

    By lhotse's definition, word times count from the start of the recording, even in a cut of it, but some corpora
    count them from the start of the cut or of the segment.
    """

    cut: Cut
    track: MonoCut | MultiCut  # the cut that has the supervision: `cut` itself, or one that is mixed into it
    supervision: SupervisionSegment
    origins: tuple[float, float, float]  # start of the recording, the cut and the segment, in seconds of `cut`
    fits: tuple[bool, ...]  # for each origin, whether the words lie within the supervision if they count from it
    spans: list[Span]  # times at which it is said, on each channel on which it is heard


def pieces_of(
    parts: Mapping[str, Iterable[Cut]],
    channel: int | None = None,
    max_overlap: float = MAX_OVERLAP,
    language: str = "en",
) -> tuple[dict[str, list[CutUtterance]], list[Skipped]]:
    """Find one utterance for each supervision that can be used.

    Args:
        parts: cuts by part of a corpus. In each part, the origin of word times that fits most utterances is taken for
            all; if it fits less than half of those that have word times, no times are taken.
        channel: channel to take of utterances that are on several channels; None leaves these out.
        max_overlap: longest time in seconds for which another speaker may talk in an utterance.
        language: language of supervisions that do not name theirs.

    Returns:
        The utterances by part, and the supervisions that were left out. Ids are those of the supervisions, with a
        number added where several are the same.
    """
    pieces: dict[str, list[CutUtterance]] = {}
    used: dict[str, int] = {}
    by_part, skipped = _undisturbed(parts, channel, max_overlap)
    for part, segments in by_part.items():
        fits = [sum(segment.fits[way] for segment in segments) for way in range(3)]
        way = fits.index(max(fits))
        with_words = sum(bool(_tier(segment.supervision, _WORD_TIERS)) for segment in segments)
        if 2 * fits[way] < with_words:  # lhotse leaves such times in cuts that it saves to audio files of their own
            logger.warning("word times fit %d of %d utterances, so that none are taken", fits[way], with_words)
            segments = [replace(s, supervision=fastcopy(s.supervision, alignment=None)) for s in segments]
        pieces[part] = []
        for segment in segments:
            name = segment.supervision.id
            try:
                piece = _piece(segment, segment.origins[way], channel, language)
            except _UnusableError as error:
                skipped.append(Skipped(name, _path_of(segment.cut), str(error)))
            except Exception as error:  # lhotse raises errors of many kinds, which must not end more than this cut
                skipped.append(Skipped(name, _path_of(segment.cut), f"lhotse cannot read it: {error!r}"))
            else:
                pieces[part].append(replace(piece, id=_distinct(name, used)))
    return pieces, skipped


def _undisturbed(
    parts: Mapping[str, Iterable[Cut]], channel: int | None, max_overlap: float
) -> tuple[dict[str, list[_Segment]], list[Skipped]]:
    """Return the segments by part in which no other speaker talks, and the supervisions that were left out."""
    skipped: list[Skipped] = []
    found = [(part, segment) for part, cuts in parts.items() for segment in _readable(cuts, skipped)]
    stored = [_span(segment, channel) for _, segment in found]
    said = [span for _, segment in found for span in segment.spans if says_something(segment.supervision.text)]
    others = disturbances(stored, said, max_overlap)
    kept: dict[str, list[_Segment]] = {part: [] for part in parts}
    for place, (part, segment) in enumerate(found):
        if place in others:
            reason = reason_of(others[place], max_overlap)
            skipped.append(Skipped(segment.supervision.id, _path_of(segment.cut), reason))
        else:
            kept[part].append(segment)
    return kept, skipped


def _readable(cuts: Iterable[Cut], skipped: list[Skipped]) -> Iterator[_Segment]:
    """Yield the segments of the cuts that can be used; the other cuts are added to `skipped`."""
    for cut in cuts:
        try:
            fault, found = _fault_of(cut), _segments(cut)
        except Exception as error:  # a manifest can hold anything
            fault, found = f"lhotse cannot read it: {error!r}", []
        if fault is None:
            yield from found
        else:
            skipped.append(Skipped(cut.id, _path_of(cut), fault))


def _span(segment: _Segment, channel: int | None) -> Span:
    """Return the stretch of a segment that its cut holds, on the channel that is taken."""
    track = segment.track
    chosen = (span for span in segment.spans if isinstance(track, MultiCut) and span.source[1] == channel)
    span = next(chosen, segment.spans[0])
    return replace(span, start=max(span.start, track.start), end=min(span.end, track.end))


def _channels_of(supervision: SupervisionSegment) -> list[int]:
    return [supervision.channel] if isinstance(supervision.channel, int) else list(supervision.channel)


def _distinct(name: str, used: dict[str, int]) -> str:
    """Return a name that is not used yet, adding a number if needed; windows of one utterance share its id."""
    candidate, number = name, used.get(name, 0)
    while candidate in used:
        number += 1
        candidate = f"{name}-{number + 1}"
    used[name] = number
    used.setdefault(candidate, 0)
    return candidate


def _tracks_of(cut: Cut) -> list[tuple[MonoCut | MultiCut, float]]:
    """Return the cuts of one recording each that a cut consists of, with the seconds at which they begin in it."""
    if not isinstance(cut, MixedCut):
        return [] if isinstance(cut, PaddingCut) else [(cut, 0.0)]
    heard = (track for track in cut.tracks if not track.mute)
    return [(track.cut, track.offset) for track in heard if not isinstance(track.cut, PaddingCut)]


def _path_of(cut: Cut) -> str:
    sources = [s for part, _ in _tracks_of(cut) if part.recording for s in part.recording.sources]
    return next((str(s.source) for s in sources if s.type == "file"), cut.id)


def _fault_of(cut: Cut) -> str | None:
    """Return the reason why nothing of a cut can be used; None if something can."""
    parts = [part for part, _ in _tracks_of(cut)]
    if not any(part.supervisions for part in parts):
        return "there is no transcript: the cut has no supervision"
    if any(part.recording is None for part in parts):
        return "there is no audio: the cut has features alone"
    kinds = {source.type for part in parts for source in part.recording.sources}
    if "command" in kinds:
        return "audio is what a command writes, and commands are not run: store their output in files"
    if isinstance(cut, MixedCut) and any(isinstance(part, MultiCut) and len(part.channel) > 1 for part in parts):
        return "mixed recordings must be of one channel each"
    return None


def _segments(cut: Cut) -> list[_Segment]:
    found = []
    for part, offset in _tracks_of(cut):
        for s in part.supervisions:
            supervision, origins = s.with_offset(offset), (offset - part.start, offset, offset + s.start)
            fits = tuple(_words_fit(supervision, origin) for origin in origins)
            channels = [part.channel] if isinstance(part, MonoCut) else _channels_of(s)
            place = (str(s.speaker or ""), part.start + s.start, part.start + s.end)
            spans = [Span(s.id, (part.recording and part.recording.id, channel), *place) for channel in channels]
            found.append(_Segment(cut, part, supervision, origins, fits, spans))
    return found


def _words_fit(supervision: SupervisionSegment, origin: float) -> bool:
    """Return whether a supervision has words that all lie within it if their times count from `origin`."""
    words, first, last = _tier(supervision, _WORD_TIERS), supervision.start - SLACK, supervision.end + SLACK
    return bool(words) and all(first <= word.start + origin and word.end + origin <= last for word in words)


def _tier(supervision: SupervisionSegment, names: tuple[str, ...], shift: float = 0.0) -> list[AlignedWord]:
    alignment = supervision.alignment or {}
    items: list[AlignmentItem] = next((alignment[name] for name in names if name in alignment), [])
    moved = [item.with_offset(shift) for item in items]
    return [AlignedWord(i.symbol, i.start, i.end, i.score) for i in moved if not is_silence(i.symbol)]


def _piece(segment: _Segment, origin: float, channel: int | None, language: str) -> CutUtterance:
    cut, supervision = segment.cut, segment.supervision
    if isinstance(cut, MixedCut):
        _refuse_others(segment)
    else:
        cut = _of_one_channel(cut, supervision, channel)
    cut = cut.drop_supervisions().drop_features()
    start, end = max(0.0, supervision.start), min(cut.duration, supervision.end)
    if end <= start:
        raise _UnusableError("supervision lies outside of its cut")
    text: str | None = supervision.text
    if not isinstance(text, str | None):
        raise _UnusableError(f"text must be a string, but is {text!r} instead")
    in_part = start - supervision.start > SLACK or supervision.end - end > SLACK
    if in_part:
        words = _tier(supervision, _WORD_TIERS, origin - supervision.start)
        text, start, end = _whole_words(supervision, words, start, end, supervision.language or language)
    elif len(segment.cut.supervisions) == 1 and start <= SLACK and end >= cut.duration - SLACK:
        start, end = 0.0, cut.duration
    if (start, end) != (0.0, cut.duration):
        if isinstance(cut, MixedCut) and cut.transforms:  # lhotse drops them as it truncates
            raise _UnusableError("a mixed cut with transforms of its own must be one utterance as a whole")
        cut = cut.truncate(offset=round(start, 8), duration=round(end - start, 8), preserve_id=True)
    words, phones = (_tier(supervision, tier, origin - start) for tier in (_WORD_TIERS, _PHONE_TIERS))
    if in_part:
        words, phones = (_inside(items, 0.0, end - start) for items in (words, phones))
    customs = (supervision.custom or {}, segment.track.custom or {})
    style = next((str(c[name]) for c in customs for name in _STYLE_FIELDS if c.get(name)), "")
    return CutUtterance(supervision.id, cut, supervision, text, tuple(words), tuple(phones), style)


def _of_one_channel(cut: MonoCut | MultiCut, supervision: SupervisionSegment, channel: int | None) -> MonoCut:
    said_on = _channels_of(supervision)
    if isinstance(cut, MonoCut):
        if cut.channel not in said_on and cut.recording.num_channels > 1:
            raise _UnusableError(f"cut is of channel {cut.channel}, but its supervision of {_listed(said_on)}")
        return cut
    if len(said_on) > 1 and channel is None:
        raise _UnusableError(f"utterance must be of one channel, but is of {_listed(said_on)}: choose with --channel")
    wanted = said_on[0] if len(said_on) == 1 else channel
    if wanted not in said_on or wanted not in cut.channel:
        raise _UnusableError(f"channel must be one of {_listed(cut.channel)}, but is {wanted} instead")
    return MonoCut(cut.id, cut.start, cut.duration, wanted, recording=cut.recording)


def _listed(channels: Iterable[int]) -> str:
    return ", ".join(map(str, channels))


def _refuse_others(segment: _Segment) -> None:
    """Refuse speech that is mixed with other transcribed speech, since its audio would say more than its text."""
    own = segment.supervision
    for other in _segments(segment.cut):
        common = min(own.end, other.supervision.end) - max(own.start, other.supervision.start)
        if other.track is not segment.track and common > SLACK:
            raise _UnusableError(f"speech must be of one utterance, but is mixed with that of {other.supervision.id}")


def _whole_words(
    supervision: SupervisionSegment, words: Sequence[Word], start: float, end: float, language: str
) -> tuple[str, float, float]:
    """Find the words that lie wholly between two times of a cut, and times that separate them from the other words.

    Args:
        supervision: supervision of the cut.
        words: words of the supervision, with times in seconds from its start.
        start: earlier time in seconds of the cut.
        end: later time in seconds of the cut.
        language: language of the words.

    Returns:
        The text of the words, and the start and end in seconds of the cut that hold them and no others.
    """
    first, last = start - supervision.start, end - supervision.start
    held = f"cut holds {last - first:.2f} of {supervision.duration:.2f} s of the utterance"
    if not words:
        raise _UnusableError(f"{held}, and there are no word times to tell what is said in them")
    tokens = written_tokens(clean_transcript(supervision.text or ""), language)
    try:
        spoken = spoken_times([word for _, said in tokens for word in said], words, language)
        timed = token_times(tokens, spoken, supervision.duration)
    except AlignmentError as error:
        raise _UnusableError(f"{held}, and its word times do not tell what is said in them: {error}") from error
    for token in timed:
        if token.start < first - 1e-3 and token.end > first:
            first = token.end
        elif token.start < last and token.end > last + 1e-3:
            last = token.start
    inside = _inside(timed, first, last)
    if not inside:
        raise _UnusableError(f"{held}, and no whole word of it")
    return " ".join(token.text for token in inside), first + supervision.start, last + supervision.start


def _inside(words: Iterable[AlignedWord | Word], first: float, last: float) -> list[Any]:
    return [word for word in words if word.start >= first - 1e-3 and word.end <= last + 1e-3]


def utterances_of(
    parts: Mapping[str, Iterable[Cut]],
    language: str = "en",
    channel: int | None = None,
    scratch: str | Path | None = None,
    max_overlap: float = MAX_OVERLAP,
) -> tuple[dict[str, list[Utterance]], list[Skipped]]:
    """Make utterances of lhotse cuts, with their words and phones where they are aligned.

    Args:
        parts: cuts by part of a corpus.
        language: language of supervisions that do not name theirs.
        channel: channel to take of utterances that are on several channels; None leaves these out.
        scratch: folder whose files are temporary, so that their audio is stored in the corpus; None if there is none.
        max_overlap: longest time in seconds for which another speaker may talk in an utterance.

    Returns:
        The utterances by part, and the supervisions that were left out.
    """
    pieces, skipped = pieces_of(parts, channel, max_overlap, language)
    folder = None if scratch is None else Path(scratch).resolve()
    found: dict[str, list[Utterance]] = {part: [] for part in pieces}
    for part, piece in ((part, piece) for part, of_part in pieces.items() for piece in of_part):
        try:
            found[part].append(_utterance(piece, language, folder))
        except Exception as error:  # a manifest can hold anything
            skipped.append(Skipped(piece.id, _path_of(piece.cut), f"lhotse cannot read it: {error!r}"))
    return found, skipped


def _utterance(piece: CutUtterance, language: str, scratch: Path | None) -> Utterance:
    supervision, cut = piece.supervision, piece.cut
    custom = _plain(supervision.custom or {}) | ({"style": piece.style} if piece.style else {})
    utterance = Utterance(
        piece.id,
        Path(_path_of(cut)),
        piece.text,
        str(supervision.speaker or ""),
        str(supervision.language or language),
        words=piece.words,
        phones=piece.phones,
        custom=custom or None,
        cut=cut,
    )
    if not isinstance(cut, MonoCut) or not all(isinstance(t, Resample) for t in transforms_of(cut)):
        return utterance
    source = next((s for s in cut.recording.sources if cut.channel in s.channels), cut.recording.sources[0])
    if source.type != "file":
        return utterance
    whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-3
    return replace(  # the file is used unchanged, so it need not be converted and is checked more strictly
        utterance,
        path=Path(source.source),
        start=cut.start,
        duration=None if whole else cut.duration,
        file_duration=cut.recording.duration if whole else None,
        channel=source.channels.index(cut.channel) if len(source.channels) > 1 else None,
        stays=scratch is None or not Path(source.source).resolve().is_relative_to(scratch),
        cut=None,
    )


def _plain(custom: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that JSON can hold; arrays and recordings belong to the original cut and are of no use here."""
    kept = {}
    for name, value in custom.items():
        try:
            json.dumps(value)
        except TypeError:
            continue
        kept[name] = value
    return kept
