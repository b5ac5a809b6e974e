"""lhotse manifests, and corpora that lhotse has a recipe for (LibriSpeech, MLS, VoxPopuli, ...).

Cuts keep the word times that a corpus brings. Parts that a corpus calls train, dev or test stay so.
"""

import inspect
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lhotse import CutSet, RecordingSet, SupervisionSet, load_manifest, recipes
from lhotse.cut import Cut, MonoCut, MultiCut
from lhotse.supervision import AlignmentItem, SupervisionSegment
from lhotse.utils import fastcopy

from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.manifest import SPLITS, Word
from spiritlm_pl.corpora.word_times import AlignedWord, is_silence

SLACK = 0.05  # seconds by which a manifest may round
_WORD_TIERS = ("word", "words")
_PHONE_TIERS = ("phone", "phones", "phoneme", "phonemes")


def recipe_names() -> list[str]:
    """Corpora that lhotse knows."""
    return sorted(name.removeprefix("prepare_") for name in dir(recipes) if name.startswith("prepare_"))


def split_of_part(part: str) -> str | None:
    """Split that a part of a corpus stands for by its name: dev-clean is validation; None if it says nothing."""
    name = part.lower()
    for split, marks in (("validation", ("dev", "valid")), ("test", ("test", "eval")), ("train", ("train",))):
        if any(mark in name for mark in marks):
            return split
    return None


def run_recipe(
    name: str, corpus_dir: str | Path, options: Mapping[str, Any] | None, scratch: str | Path
) -> dict[str, CutSet]:
    """Cuts by part of a corpus on disk.

    Args:
        name: of a recipe of lhotse, such as librispeech, mls or voxpopuli.
        corpus_dir: the corpus as it was downloaded.
        options: further arguments of `lhotse.recipes.prepare_<name>`.
        scratch: folder for what the recipe writes (manifests, annotations that it fetches), unless the options
            name another `output_dir`; must stay until the cuts are read.

    Raises:
        ValueError: if there is no such recipe, it does not take these options, or finds nothing.
        FileNotFoundError: if there is no such folder.
    """
    prepare: Callable[..., Any] | None = getattr(recipes, f"prepare_{name}", None)
    if prepare is None:
        raise ValueError(f"recipe must be one of lhotse ({', '.join(recipe_names())}), but is {name!r} instead")
    if not Path(corpus_dir).is_dir():
        raise FileNotFoundError(f"corpus_dir must be a folder, but {corpus_dir} is missing instead")
    allowed = inspect.signature(prepare).parameters
    unknown = set(options or {}) - set(allowed)
    if unknown:
        raise ValueError(f"options must be among {', '.join(allowed)}, but are {', '.join(sorted(unknown))} instead")
    try:
        written = {"output_dir": scratch} if "output_dir" in allowed else {}
        manifests = prepare(corpus_dir=corpus_dir, **written | dict(options or {}))
    except AssertionError as error:
        raise ValueError(f"corpus_dir must be laid out as {name} is, but {corpus_dir} is not ({error})") from error
    parts = dict(_find_parts("", manifests))
    if not parts:
        raise ValueError(f"corpus_dir must be laid out as {name} is, but nothing was found in {corpus_dir}")
    return parts


def _find_parts(name: str, manifests: Mapping[str, Any]) -> list[tuple[str, CutSet]]:
    """Flatten {part: {...}} or {language: {part: {...}}} down to recordings with supervisions."""
    if "recordings" in manifests and "supervisions" in manifests:
        recordings, supervisions = manifests["recordings"], manifests["supervisions"]
        return [(name, CutSet.from_manifests(recordings=recordings, supervisions=supervisions))]
    found = []
    for key, inner in manifests.items():
        if isinstance(inner, Mapping):
            found += _find_parts(f"{name}-{key}" if name else str(key), inner)
    return found


def read_manifest(cuts_or_recordings: str | Path, supervisions: str | Path | None = None) -> CutSet:
    """Cuts of a manifest of cuts, or of one of recordings with one of supervisions.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the files are damaged or of other kinds.
    """
    for path in (cuts_or_recordings, supervisions):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"manifest must be a file, but {path} is missing instead")
    first = _load(cuts_or_recordings)
    if isinstance(first, CutSet):
        return first
    second = _load(supervisions) if supervisions is not None else None
    if isinstance(first, RecordingSet) and isinstance(second, SupervisionSet):
        return CutSet.from_manifests(recordings=first, supervisions=second)
    raise ValueError(
        "manifest must be of cuts, or of recordings with --supervisions, "
        f"but is {type(first).__name__} with {type(second).__name__} instead"
    )


def _load(path: str | Path) -> Any:
    try:
        return load_manifest(path)
    # whatever lhotse, gzip and json make of damage
    except (ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, AssertionError, zlib.error) as error:
        raise ValueError(f"manifest must be one of lhotse, but {path} is not ({error!r})") from error


def _is_covered(cut: Cut) -> bool:
    """Whether a cut is one transcribed segment, and no longer than that."""
    if len(cut.supervisions) != 1:
        return False
    only = cut.supervisions[0]
    return bool(only.start <= SLACK and only.end >= cut.duration - SLACK)


def one_supervision_each(cuts: Iterable[Cut]) -> list[MonoCut]:
    """Cuts as they are where one supervision covers them; else each supervision cut out.

    Words and phones come out with times from the start of their cut. By lhotse's definition they are in time of
    the recording and stay so when a cut is cut out, but some corpora count from the cut or from the segment:
    what fits most utterances is taken to be meant for all.

    Raises:
        ValueError: if a cut is mixed, has no recording, or has an utterance of several channels.
    """
    parts: list[MonoCut] = []
    origins: list[tuple[float, float, float]] = []  # of times in the recording, the cut, the segment; seconds
    for cut in cuts:
        if not isinstance(cut, MonoCut | MultiCut) or cut.recording is None:
            raise ValueError(f"cuts must be of one recording, but {cut.id} is a {type(cut).__name__} instead")
        covered = isinstance(cut, MonoCut) and _is_covered(cut)
        for part in [cut] if covered else [_cut_out(cut, supervision) for supervision in cut.supervisions]:
            parts.append(part)
            origins.append((part.start, part.start - cut.start, 0.0))
    fits = [sum(map(_fits, parts, column)) for column in zip(*origins, strict=True)] or [0]
    best = fits.index(max(fits))
    return [_shifted(part, -origin[best]) for part, origin in zip(parts, origins, strict=True)]


def _cut_out(cut: MonoCut | MultiCut, supervision: SupervisionSegment) -> MonoCut:
    """One supervision of a cut as a cut of its own; lhotse's own would lose those that end a little late."""
    channel = cut.channel if isinstance(cut, MonoCut) else supervision.channel
    if not isinstance(channel, int):
        raise ValueError(f"utterances must be of one channel, but {supervision.id} is of {channel} instead")
    return MonoCut(
        id=supervision.id,
        start=max(0.0, round(cut.start + supervision.start, 8)),
        duration=supervision.duration,
        channel=channel,
        recording=cut.recording,
        supervisions=[fastcopy(supervision, start=0.0)],
    )


def _fits(cut: MonoCut, origin: float) -> bool:
    """Whether a cut has words, all of them within it if their times count from `origin`."""
    words = _tier(cut, _WORD_TIERS)
    first, last = origin - SLACK, origin + cut.duration + SLACK
    return bool(words) and all(first <= word.start and word.end <= last for word in words)


def _shifted(cut: MonoCut, seconds: float) -> MonoCut:
    """The cut with its words and phones moved."""
    (supervision,) = cut.supervisions
    if seconds == 0 or not supervision.alignment:
        return cut
    moved = {kind: [item.with_offset(seconds) for item in items] for kind, items in supervision.alignment.items()}
    return fastcopy(cut, supervisions=[fastcopy(supervision, alignment=moved)])


def aligned_words(cut: MonoCut) -> list[Word]:
    """Words of a cut of `one_supervision_each`; empty where it was not aligned."""
    return _tier(cut, _WORD_TIERS)


def aligned_phones(cut: MonoCut) -> list[Word]:
    """Phones of a cut of `one_supervision_each`; empty where there are none."""
    return _tier(cut, _PHONE_TIERS)


def _tier(cut: MonoCut, names: tuple[str, ...]) -> list[Word]:
    alignment: Mapping[str, list[AlignmentItem]] = cut.supervisions[0].alignment or {}
    items = next((alignment[name] for name in names if name in alignment), [])
    return [AlignedWord(i.symbol, i.start, i.end, i.score) for i in items if not is_silence(i.symbol)]


def utterances_of(cuts: Iterable[Cut], language: str = "en") -> list[Utterance]:
    """One utterance for each supervision, with its words and phones where they are aligned.

    Args:
        cuts: of one corpus.
        language: of supervisions that do not name theirs.

    Raises:
        ValueError: if audio is not kept in files, or an utterance is of several channels.
    """
    result = []
    for cut in one_supervision_each(cuts):
        supervision = cut.supervisions[0]
        source = next((s for s in cut.recording.sources if cut.channel in s.channels), cut.recording.sources[0])
        if source.type != "file":
            raise ValueError(f"audio must be in files, but {cut.recording.id} is of type {source.type!r} instead")
        whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-3
        result.append(
            Utterance(
                supervision.id,
                Path(source.source),
                supervision.text or "",
                supervision.speaker or "",
                supervision.language or language,
                cut.start,
                None if whole else cut.duration,
                source.channels.index(cut.channel) if len(source.channels) > 1 else None,
                tuple(aligned_words(cut)),
                tuple(aligned_phones(cut)),
                supervision.custom,
            )
        )
    return result


def parts_to_splits(parts: Mapping[str, CutSet], language: str = "en") -> dict[str, list[Utterance]] | None:
    """Utterances by split where every part's name tells its split and train is there; else None."""
    named = {part: split_of_part(part) for part in parts}
    if None in named.values() or "train" not in named.values():
        return None
    result: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    for part, split in named.items():
        assert split is not None
        result[split] += utterances_of(parts[part], language)
    return result
