"""lhotse manifests on disk, read item by item: files, folders of manifests, and Shar folders.

Items that cannot be read are left out with the reason. A file that ends too early, so that an unknown number of items
is lost, and a file of another kind are refused.
"""

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.cut import Cut, MixedCut, MonoCut, MultiCut
from lhotse.serialization import deserialize_item, extension_contains, load_json, load_yaml, open_best
from lhotse.utils import fastcopy

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.runtime.found import found_at

Parts = dict[str, list[Cut]]
_MANIFEST = re.compile(r"(.*?)(cuts|recordings|supervisions)(.*)\.(jsonl|json|yaml)(\.gz)?")
_SHARD = re.compile(r"cuts\.(.+)\.jsonl(\.gz)?")
# errors that gzip, json and yaml raise for damaged files
_DAMAGE = (ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, AssertionError, zlib.error)


def read_manifests(
    source: str | Path, supervisions: str | Path | None = None, scratch: str | Path | None = None
) -> tuple[Parts, list[Skipped]]:
    """Read the cuts of manifests by part of a corpus, and list the items that were left out.

    Args:
        source: a manifest of cuts; one of recordings, together with `supervisions`; a Shar folder; or a folder with
            manifests of cuts, or with pairs such as x_recordings_train.jsonl.gz and x_supervisions_train.jsonl.gz.
        supervisions: a manifest of supervisions, needed if `source` is one of recordings; else None.
        scratch: folder to which the audio of a Shar folder is written; None does not read this audio.

    Raises:
        FileNotFoundError: if a file is missing, or a folder has no manifests.
        ValueError: if a file is damaged or of another kind, or a folder has manifests of several kinds.
    """
    source = Path(source)
    if not source.is_dir():
        cuts, skipped = _read_pair(source, supervisions)
        return {"": cuts}, skipped
    if supervisions is not None:
        raise ValueError(f"supervisions must be None if the manifest is a folder, but are {supervisions} instead")
    shards = {match[1]: path for path in sorted(source.iterdir()) if (match := _SHARD.fullmatch(path.name))}
    if shards:
        return _read_shar(source, shards, None if scratch is None else Path(scratch))
    return _read_folder(source)


def _read_folder(folder: Path) -> tuple[Parts, list[Skipped]]:
    found: dict[str, dict[str, Path]] = {"cuts": {}, "recordings": {}, "supervisions": {}}
    for path in sorted(folder.iterdir()):
        match = _MANIFEST.fullmatch(path.name)
        if match:
            part = "-".join(piece.strip("_-.") for piece in (match[1], match[3]) if piece.strip("_-."))
            found[match[2]][part] = path
    cuts, recordings, supervisions = found.values()
    if not cuts and not recordings:
        raise FileNotFoundError(
            "manifest must be a file, a Shar folder, a Kaldi folder, or a folder with lhotse's manifests "
            f"(*cuts*.jsonl.gz, or *recordings*.jsonl.gz and *supervisions*.jsonl.gz), but {folder} has none of them"
        )
    if cuts and recordings:
        first = f"{next(iter(cuts.values())).name} and {next(iter(recordings.values())).name}"
        raise ValueError(
            f"manifest must be of cuts or of recordings, but {folder} has {first}: name the one that is meant"
        )
    if not cuts and set(recordings) != set(supervisions):
        lone = min(set(recordings) ^ set(supervisions))
        path = recordings.get(lone) or supervisions[lone]
        raise ValueError(f"manifests must come in pairs of recordings and supervisions, but {path} is alone instead")
    parts: Parts = {}
    skipped: list[Skipped] = []
    for part, path in (cuts or recordings).items():
        parts[part], left_out = _read_pair(path, None if cuts else supervisions[part])
        skipped += left_out
    return parts, skipped


def _read_pair(path: Path, supervisions: str | Path | None) -> tuple[list[Cut], list[Skipped]]:
    items, skipped = _read_items(path)
    if isinstance(items[0], Cut):
        return items, skipped
    others, left_out = (
        ([], []) if supervisions is None else _read_items(Path(supervisions), "supervisions must be a file")
    )
    if isinstance(items[0], Recording) and others and isinstance(others[0], SupervisionSegment):
        cuts, lost = cuts_of(items, others, str(supervisions))
        return cuts, [*skipped, *left_out, *lost]
    kinds = " with ".join(type(group[0]).__name__ if group else "None" for group in (items, others))
    raise ValueError(f"manifest must be of cuts, or of recordings with --supervisions, but is of {kinds} instead")


def cuts_of(
    recordings: Iterable[Recording], supervisions: Iterable[SupervisionSegment], path: str
) -> tuple[list[Cut], list[Skipped]]:
    """Make one cut for each recording, with its supervisions.

    Args:
        recordings: recordings to make cuts of, as a whole each.
        supervisions: supervisions of the recordings.
        path: path of the supervisions, to report those that are left out.

    Returns:
        The cuts, and the supervisions that belong to none of the recordings.
    """
    of_recording: dict[str, list[SupervisionSegment]] = defaultdict(list)
    for supervision in supervisions:
        of_recording[supervision.recording_id].append(supervision)
    cuts = {}
    for recording in recordings:
        cut = recording.to_cut()
        cut.supervisions = of_recording.get(recording.id, [])
        cuts[recording.id] = cut
    lost = [s for name, group in of_recording.items() if name not in cuts for s in group]
    return list(cuts.values()), [Skipped(s.id, path, f"there is no recording {s.recording_id}") for s in lost]


def _check_types(item: Cut | Recording | SupervisionSegment) -> None:
    """Check values that lhotse takes as they are, and that are used ahead of the utterance that they belong to.

    Raises:
        TypeError: if one is of another type.
    """
    if isinstance(item, SupervisionSegment):
        _of_type("recording_id", item.recording_id, str)
        return
    cuts = [track.cut for track in item.tracks] if isinstance(item, MixedCut) else [item]
    recordings = [cut if isinstance(cut, Recording) else getattr(cut, "recording", None) for cut in cuts]
    found = [recording for recording in recordings if recording is not None]
    for recording in found:
        _of_type("id of a recording", recording.id, str)
        for name in ("sampling_rate", "num_samples"):
            _of_type(f"{name} of a recording", getattr(recording, name), int)
        if type(recording.duration) not in (int, float):
            raise TypeError(f"duration of a recording must be a number, but is {recording.duration!r}")
        if recording.channel_ids is not None:
            _of_type("channel_ids of a recording", recording.channel_ids, list)
            for channel in recording.channel_ids:
                _of_type("channel of a recording", channel, int)
    for source in (source for recording in found for source in recording.sources):
        _of_type("type of a source", source.type, str)
        _of_type("channels of a source", source.channels, list)
        for channel in source.channels:
            _of_type("channel of a source", channel, int)


def _of_type(name: str, value: object, kind: type) -> None:
    if type(value) is not kind:
        raise TypeError(f"{name} must be of type {kind.__name__}, but is {value!r}")


def _read_items(path: Path, rule: str = "manifest must be a file or folder") -> tuple[list[Any], list[Skipped]]:
    """Read the items of a manifest, which are all of the kind of the first; there is at least one."""
    if not path.is_file():
        raise FileNotFoundError(f"{rule}, but {found_at(path)}")
    items: list[Any] = []
    skipped: list[Skipped] = []
    kinds: tuple[type, ...] = (Cut, Recording, SupervisionSegment)
    try:
        for number, data in enumerate(_raw_items(path), start=1):
            name = f"item {number}"
            try:
                fields = json.loads(data) if isinstance(data, str) else data
                name = str(fields["id"])
                item = deserialize_item(fields)
                if not isinstance(item, kinds):
                    raise TypeError(f"it is a {type(item).__name__}")
                _check_types(item)
            except Exception as error:  # lhotse raises errors of many kinds, which must not end more than this item
                skipped.append(Skipped(name, str(path), f"it cannot be read: {error!r}"))
                continue
            kinds = tuple(kind for kind in kinds if isinstance(item, kind))
            items.append(item)
    except _DAMAGE as error:
        raise ValueError(f"manifest must be a lhotse manifest, but {path} is not ({error!r})") from error
    if not items:
        first = f": {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise ValueError(f"manifest must be a lhotse manifest, but {path} is not (nothing in it can be read{first})")
    return items, skipped


def _raw_items(path: Path) -> Iterator[Any]:
    if extension_contains(".jsonl", path):
        with open_best(path) as stream:
            yield from (line for line in stream if line.strip())
    elif extension_contains(".json", path) or extension_contains(".yaml", path):
        yield from load_json(path) if extension_contains(".json", path) else load_yaml(path)
    else:
        raise ValueError("its name must end in .jsonl, .json or .yaml, or with .gz after it")


def _read_shar(folder: Path, shards: dict[str, Path], scratch: Path | None) -> tuple[Parts, list[Skipped]]:
    """Read the cuts of a Shar folder, writing their audio to files, so that memory holds one cut's audio at a time."""
    cuts: list[Cut] = []
    skipped: list[Skipped] = []
    for shard, path in shards.items():
        described, left_out = _read_items(path)
        skipped += left_out
        audio = [folder / f"recording.{shard}{suffix}" for suffix in (".tar", ".tar.gz", ".jsonl", ".jsonl.gz")]
        present = next((file for file in audio if file.is_file()), None)
        if scratch is None or present is None:
            cuts += described
            continue
        read: set[str] = set()
        reason = "the archive ends before it"  # lhotse reads only as many as are in both files, without an error
        try:
            for cut in CutSet.from_shar(fields={"cuts": [str(path)], "recording": [str(present)]}):
                cuts.append(_with_files(cut, scratch, f"{shard}-{len(read)}"))
                read.add(cut.id)
        except Exception as error:  # tar and lhotse raise errors of many kinds; no more can be read of the archive
            reason = f"lhotse cannot read the archive: {error!r}"
        skipped += [Skipped(cut.id, str(present), reason) for cut in described if cut.id not in read]
    return {"": cuts}, skipped


def _with_files(cut: Cut, folder: Path, name: str) -> Cut:
    """Return the cut with the audio that it holds in memory written to files of a folder."""
    if not isinstance(cut, MonoCut | MultiCut) or cut.recording is None:
        return cut
    sources = []
    for number, source in enumerate(cut.recording.sources):
        if source.type == "memory":
            path = folder / f"{name}-{number}"
            path.write_bytes(source.source)
            source = fastcopy(source, type="file", source=str(path))
        sources.append(source)
    return fastcopy(cut, recording=fastcopy(cut.recording, sources=sources))
