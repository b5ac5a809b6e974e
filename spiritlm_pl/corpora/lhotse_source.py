"""lhotse manifests, and corpora that lhotse has a recipe for (LibriSpeech, MLS, VoxPopuli, ...).

Cuts keep the word times that a corpus brings. Parts that a corpus calls train, dev or test stay so.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lhotse import CutSet, RecordingSet, SupervisionSet, load_manifest, recipes
from lhotse.cut import Cut, MonoCut

from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.manifest import SPLITS, Word

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
        ValueError: if the files are of other kinds.
    """
    for path in (cuts_or_recordings, supervisions):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"manifest must be a file, but {path} is missing instead")
    first = load_manifest(cuts_or_recordings)
    if isinstance(first, CutSet):
        return first
    second = load_manifest(supervisions) if supervisions is not None else None
    if isinstance(first, RecordingSet) and isinstance(second, SupervisionSet):
        return CutSet.from_manifests(recordings=first, supervisions=second)
    raise ValueError(
        "manifest must be of cuts, or of recordings with --supervisions, "
        f"but is {type(first).__name__} with {type(second).__name__} instead"
    )


def _is_covered(cut: Cut) -> bool:
    """Whether a cut is one transcribed segment, and no longer than that."""
    if len(cut.supervisions) != 1:
        return False
    only = cut.supervisions[0]
    return bool(only.start <= SLACK and only.end >= cut.duration - SLACK)


def one_supervision_each(cuts: CutSet) -> Iterator[MonoCut]:
    """Cuts as they are where one supervision covers them; else each supervision cut out.

    Raises:
        ValueError: if a cut is of several channels or mixed.
    """
    for cut in cuts:
        parts = [cut] if _is_covered(cut) else cut.trim_to_supervisions(keep_overlapping=False)
        for part in parts:
            if not isinstance(part, MonoCut):
                raise ValueError(f"cuts must be of one channel, but {cut.id} is a {type(part).__name__} instead")
            yield part


def utterances_of(cuts: CutSet, prefix: str = "") -> list[Utterance]:
    """One utterance for each supervision of mono cuts, with its words and phones where they are aligned.

    Raises:
        ValueError: if audio is not kept in files.
    """
    result = []
    for cut in one_supervision_each(cuts):
        supervision, source = cut.supervisions[0], cut.recording.sources[0]
        if source.type != "file":
            raise ValueError(f"audio must be in files, but {cut.recording.id} is of type {source.type!r} instead")
        whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-3
        result.append(
            Utterance(
                prefix + supervision.id,
                Path(source.source),
                supervision.text or "",
                supervision.speaker or "unknown",
                (supervision.language or "en"),
                cut.start,
                None if whole else cut.duration,
                _tier(supervision.alignment, _WORD_TIERS),
                _tier(supervision.alignment, _PHONE_TIERS),
                supervision.custom,
            )
        )
    return result


def _tier(alignment: Mapping[str, Any] | None, names: tuple[str, ...]) -> tuple[Word, ...]:
    items = next((alignment[name] for name in names if name in alignment), ()) if alignment else ()
    return tuple(Word(item.symbol, item.start, item.start + item.duration) for item in items if item.symbol.strip())


def parts_to_splits(parts: Mapping[str, CutSet]) -> dict[str, list[Utterance]] | None:
    """Utterances by split where every part's name tells its split and train is there; else None."""
    named = {part: split_of_part(part) for part in parts}
    if None in named.values() or "train" not in named.values():
        return None
    result: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    for part, split in named.items():
        assert split is not None
        result[split] += utterances_of(parts[part])
    return result
