"""Store of a corpus's F0 beside the corpus: extracted once, read by every later stage.

A folder `<corpus>/f0/<name>` holds `<split>-00000.parquet ...` (one row an utterance) and `info.json` with the
extractor and the mean F0 of every speaker, in Hz over the voiced frames of the training split. A part is written under
a temporary name and renamed when complete. Later runs keep it if its utterances and settings are the same and the files
that it skipped have not changed.

Shapes: F frames, 200 a second.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import AudioError, load_waveform
from spiritlm_pl.corpora.cut_index import CutIndex
from spiritlm_pl.corpora.manifest import SKIPPED_FILE, SPLITS, write_jsonl
from spiritlm_pl.data.batching import by_length
from spiritlm_pl.data.corpus_store import file_state
from spiritlm_pl.data.parts import Part, plan_corpus
from spiritlm_pl.f0.contour_index import ContourIndex, StoredContour, f0_folder, readable
from spiritlm_pl.f0.extractors import computes_in_bfloat16, make_extractor
from spiritlm_pl.f0.frames import BATCH_SECONDS, SAMPLE_RATE, F0Extractor, num_frames
from spiritlm_pl.runtime.checksums import CHECKSUMS, checked, listed, read_object, recorded, values_of
from spiritlm_pl.runtime.claims import only_writer
from spiritlm_pl.runtime.devices import check_device
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.parallel import parallel_map
from spiritlm_pl.runtime.provenance import atomic_path, code_version

INFO_FILE = "info.json"
FINGERPRINT, LEFT_OUT = b"spiritlm_f0", b"spiritlm_skipped"
ROW_GROUP = 20  # utterances that are read together
SCHEMA = pa.schema([("id", pa.string()), ("f0", pa.list_(pa.float32())), ("voiced", pa.list_(pa.bool_()))])


@dataclass(frozen=True, kw_only=True)
class F0Info:
    """Description of the F0 stored for one corpus.

    Attributes:
        extractor: settings of the extractor that made it.
        speaker_means: mean F0 in Hz of each speaker, by name.
        utterances: number of utterances that have F0.
        skipped: number of utterances that could not be used.
        code_version: version of the code that extracted it.
    """

    extractor: dict[str, Any]
    speaker_means: dict[str, float]
    utterances: int
    skipped: int
    code_version: str


def _fingerprint(part: Part, settings: Mapping[str, Any]) -> bytes:
    utterances = list(zip(part.ids, part.cuts.durations.tolist(), strict=True))
    return hashlib.sha256(json.dumps([dict(settings), utterances], sort_keys=True).encode()).digest()


def _part_path(folder: Path, part: Part) -> Path:
    return folder / f"{part.split}-{part.index:05d}.parquet"


@cache
def _extractor(kind: str, device: str, half: bool) -> F0Extractor:
    """Return the extractor of this process, made at the first call."""
    return make_extractor(kind, device, half, "extractor")


@dataclass(frozen=True)
class _Job:
    """Extraction of F0 from some utterances at once, in any process."""

    kind: str
    device: str
    half: bool

    def __call__(self, cuts: Sequence[MonoCut]) -> list[StoredContour | Skipped]:
        read = [_waveform(cut) for cut in cuts]
        waveforms = [found for found in read if isinstance(found, Tensor)]
        if not waveforms:
            return [found for found in read if isinstance(found, Skipped)]
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        batch = pad_sequence(waveforms, batch_first=True).to(self.device)
        f0, voiced = _extractor(self.kind, self.device, self.half)(batch, lengths)
        rows = zip(f0.cpu(), voiced.cpu(), strict=True)
        return [found if isinstance(found, Skipped) else _contour(found, *next(rows)) for found in read]


def _waveform(cut: MonoCut) -> Tensor | Skipped:
    path = cut.recording.sources[0].source
    try:
        return load_waveform(cut, SAMPLE_RATE)
    except AudioError as error:
        return Skipped(cut.id, path, str(error))


def _contour(waveform: Tensor, f0: Tensor, voiced: Tensor) -> StoredContour:
    frames = num_frames(len(waveform))
    return StoredContour(f0[:frames].numpy(), voiced[:frames].numpy())


def _batches(cuts: Sequence[MonoCut], device: str) -> list[list[int]]:
    """Group utterances by their places: one in a batch on a CPU, whose cores share them, and more on other devices."""
    if torch.device(device).type == "cpu":
        return [[place] for place in range(len(cuts))]
    return by_length([cut.duration for cut in cuts], BATCH_SECONDS)


def extract_part(
    part: Part, total: int, kind: str, device: str, num_jobs: int | None, half: bool = False
) -> tuple[dict[str, StoredContour], list[Skipped]]:
    """Extract the contours of one part.

    Args:
        part: the part to extract.
        total: number of parts of its split.
        kind: name of the extractor, as `make_extractor` takes it.
        device: device to compute on.
        num_jobs: number of processes; None for one per core.
        half: compute in bfloat16.

    Returns:
        The contours by utterance, and the utterances that could not be used.
    """
    title = f"F0 of {part.split}" + (f", part {part.index + 1} of {total}" if total > 1 else "")
    cuts = list(part.cuts)
    batches = _batches(cuts, device)
    groups = [[cuts[place] for place in batch] for batch in batches]
    results: dict[str, StoredContour | Skipped] = {}
    with _one_thread():
        for group, several in zip(groups, parallel_map(_Job(kind, device, half), groups, num_jobs, title), strict=True):
            results.update(zip([cut.id for cut in group], several, strict=True))
    ordered = {cut.id: results[cut.id] for cut in cuts}
    contours = {name: found for name, found in ordered.items() if isinstance(found, StoredContour)}
    return contours, [found for found in ordered.values() if isinstance(found, Skipped)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, as worker processes do: sums over other numbers of threads differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_part(path: Path, found: Mapping[str, StoredContour], skipped: Sequence[Skipped], key: bytes) -> None:
    columns = {name: [getattr(contour, name) for contour in found.values()] for name in ("f0", "voiced")}
    left_out = [asdict(item) | {"state": file_state(item.path)} for item in skipped]
    schema = SCHEMA.with_metadata({FINGERPRINT: key, LEFT_OUT: json.dumps(left_out).encode()})
    for name in (INFO_FILE, CHECKSUMS):  # they return once all parts match the corpus
        path.with_name(name).unlink(missing_ok=True)
    with atomic_path(path) as temporary:
        table = pa.table({"id": list(found), **columns}, schema=schema)
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)


def _skipped_in(path: Path) -> list[dict[str, Any]]:
    """Read the skipped utterances of a part, each with the state of its file when it was skipped."""
    return list(json.loads((pq.read_schema(path).metadata or {}).get(LEFT_OUT, b"[]")))


def _finished(path: Path, fingerprint: bytes, known: dict[Path, str]) -> bool:
    try:
        same = (pq.read_schema(checked(path, known)).metadata or {}).get(FINGERPRINT) == fingerprint
        return same and all(file_state(item["path"]) == item["state"] for item in _skipped_in(path))
    except (OSError, ValueError, pa.ArrowException):
        return False


def _known(folder: Path) -> dict[Path, str] | None:
    """Return the checksums of all parts; None if their list is damaged, as then no part can be trusted."""
    try:
        return listed(folder)
    except ValueError:
        return None


def extract_corpus(
    corpus: str | Path,
    name: str,
    kind: str,
    *,
    device: str = "cpu",
    half: bool = False,
    num_jobs: int | None = None,
    part_size: int = 1000,
    overwrite: bool = False,
) -> F0Info:
    """Extract the F0 of a corpus where it is missing.

    Args:
        corpus: path of the corpus folder.
        name: name under which the F0 is stored.
        kind: name of the extractor, as `make_extractor` takes it.
        device: device to compute on.
        half: compute in bfloat16 where the device has it, with an extractor that can.
        num_jobs: number of processes, which does not change the result; None for one per core, but one on a GPU.
        part_size: number of utterances in one file of the store.
        overwrite: replace the F0 of another extractor that has this name.

    Returns:
        The description that is stored as `info.json`.

    Raises:
        ValueError: if F0 of this name exists from another extractor, or if no recording of the corpus can be used,
            which points to a missing disk rather than to broken files. F0 extracted before is kept.
    """
    if torch.device(check_device(device)).type != "cpu":
        num_jobs = 1
    made = _extractor(kind, device, half)  # fails before any process starts
    settings = {"extractor": kind} | ({"half": True} if half and computes_in_bfloat16(made) else {})
    plan = plan_corpus([corpus], part_size=part_size)
    folder = f0_folder(corpus, name)
    if not overwrite and (folder / INFO_FILE).is_file():
        earlier = read_f0_info(corpus, name).extractor
        if earlier != settings:
            raise ValueError(
                f"name must be another one for another extractor, but {folder} holds the F0 of {_told(earlier)} "
                f"instead of {_told(settings)} (--overwrite replaces it)"
            )
    with only_writer(folder, "corpus"):
        held, known, totals = [], _known(folder), Counter(part.split for part in plan.parts)
        for part in plan.parts:
            path, key = _part_path(folder, part), _fingerprint(part, settings)
            if known is None or not _finished(path, key, known):
                found, skipped = extract_part(part, totals[part.split], kind, device, num_jobs, half)
                if found:
                    _write_part(path, found, skipped, key)
                else:
                    held.append((path, skipped, key))
        if len(held) == len(plan.parts):
            raise ValueError(f"corpus must have recordings, but none can be used ({held[0][1][0].reason})")
        for path, skipped, key in held:
            _write_part(path, {}, skipped, key)
        paths = [_part_path(folder, part) for part in plan.parts]
        for path in set(folder.glob("*.parquet")) - set(paths):
            path.unlink()
        left_out = [item for path in paths for item in _skipped_in(path)]
        write_jsonl(folder / SKIPPED_FILE, [{key: item[key] for key in ("id", "path", "reason")} for item in left_out])
        info = F0Info(
            extractor=settings,
            speaker_means=speaker_means(corpus, name),
            utterances=len(plan.cuts) - len(left_out),
            skipped=len(left_out),
            code_version=code_version(),
        )
        names = [path.name for path in paths]
        with recorded(folder, *names, INFO_FILE), atomic_path(folder / INFO_FILE) as path:
            path.write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    return info


def _told(extractor: Mapping[str, Any]) -> str:
    """Return the settings of an extractor as messages say them."""
    return str(extractor.get("extractor")) + (" in bfloat16" if extractor.get("half") else "")


def speaker_means(corpus: str | Path, name: str) -> dict[str, float]:
    """Compute the mean F0 in Hz of each named speaker over the voiced frames of the training split."""
    cuts = CutIndex(corpus, "train")
    sums: dict[str, list[float]] = {}
    for utterance, contour in _read(f0_folder(corpus, name), "train"):
        row = cuts.names.find(utterance)
        speaker = "" if row is None else cuts.speaker_names[cuts.speakers[row]]
        if contour.voiced.any() and speaker:
            total = sums.setdefault(speaker, [0.0, 0.0])
            total[0] += float(contour.f0[contour.voiced].sum(dtype=np.float64))
            total[1] += float(contour.voiced.sum())
    return {speaker: total / frames for speaker, (total, frames) in sorted(sums.items())}


def _read(folder: Path, split: str) -> Iterator[tuple[str, StoredContour]]:
    known = listed(folder)
    for path in sorted(folder.glob(f"{split}-*.parquet")):
        try:
            table = pq.read_table(checked(path, known), use_threads=False).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise readable(path, error) from error
        for row in range(table.num_rows):
            f0, voiced = (np.array(table[column][row].values) for column in ("f0", "voiced"))
            yield table["id"][row].as_py(), StoredContour(f0, voiced)


def read_f0_info(corpus: str | Path, name: str) -> F0Info:
    """Read the description of the F0 stored under a name.

    Raises:
        FileNotFoundError: if the F0 of this corpus is missing or its extraction is unfinished.
    """
    path = f0_folder(corpus, name) / INFO_FILE
    if not Path(corpus).is_dir():
        raise FileNotFoundError(f"corpus must be a folder of `spiritlm prepare`, but {found_at(corpus)}")
    if not path.is_file():
        command = f"spiritlm extract-f0 {corpus} --name {name}"
        raise FileNotFoundError(
            f"F0 must have been extracted (`{command}`, with its --extractor), but {found_at(path)}"
        )
    with values_of(path):
        info = F0Info(**read_object(path))
        return replace(info, speaker_means={name: float(mean) for name, mean in info.speaker_means.items()})


def skipped_f0(corpus: str | Path, name: str) -> dict[str, str]:
    """Return the utterances without F0 by id, each with the reason.

    Raises:
        FileNotFoundError: if the F0 of this corpus is missing or its extraction is unfinished.
    """
    read_f0_info(corpus, name)
    lines = (f0_folder(corpus, name) / SKIPPED_FILE).read_text(encoding="utf-8").split("\n")
    rows = (json.loads(line) for line in lines if line)
    return {row["id"]: row["reason"] for row in rows}


def load_f0(corpus: str | Path, name: str, split: str) -> tuple[ContourIndex, dict[str, float]]:
    """Open the contours of a split by utterance, and read the mean F0 in Hz of every speaker.

    Raises:
        FileNotFoundError: if the F0 of this corpus is missing or its extraction is unfinished.
        ValueError: if a part is damaged, or there is no split of that name.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, but is {split!r} instead")
    info = read_f0_info(corpus, name)
    return ContourIndex(f0_folder(corpus, name), split), info.speaker_means
