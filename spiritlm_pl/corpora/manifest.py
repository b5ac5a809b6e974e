"""The corpus folder, which `spiritlm prepare` writes and every stage reads.

    <corpus>/cuts_{train,validation,test}.jsonl.gz   lhotse cuts, one utterance each
    <corpus>/corpus.json                             name, source, licence, counts, arguments, code version
    <corpus>/skipped.jsonl                           utterances that were left out, with the reasons
    <corpus>/alignment.json, unaligned.jsonl         what `spiritlm align` has done, and utterances without times
    <corpus>/audio/                                  audio that was made or converted, by relative paths

A cut has one supervision with the text, the speaker and, once aligned, the times of words (and phones) in
seconds from the start of the cut. Time that no phone covers is silence.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.serialization import decode_json_line, deserialize_item
from lhotse.supervision import AlignmentItem
from lhotse.utils import fastcopy

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.layout import ALIGNED, ALIGNMENT_FILE, UNALIGNED_FILE
from spiritlm_pl.corpora.layout import INFO_FILE as INFO_FILE
from spiritlm_pl.corpora.layout import SKIPPED_FILE as SKIPPED_FILE
from spiritlm_pl.corpora.layout import SPLITS as SPLITS
from spiritlm_pl.corpora.layout import read_info as read_info
from spiritlm_pl.runtime.found import lacks
from spiritlm_pl.runtime.provenance import atomic_path, code_version

UNKNOWN_SPEAKER = "unknown"


@dataclass(frozen=True)
class Word:
    """A word (or phone) of an utterance with its times in seconds from the start of the cut."""

    text: str
    start: float
    end: float


def cuts_path(folder: str | Path, split: str) -> Path:
    """Return the path of the manifest of one split.

    Raises:
        ValueError: if there is no split of that name.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, but is {split!r} instead")
    return Path(folder) / f"cuts_{split}.jsonl.gz"


def _replace_source(cut: MonoCut, root: Path, absolute: bool) -> MonoCut:
    """Make audio paths below `root` absolute, or relative to it; keep others."""
    sources = []
    for source in cut.recording.sources:
        path = Path(source.source)
        if source.type == "file" and absolute and not path.is_absolute():
            source = fastcopy(source, source=str(root / path))
        elif source.type == "file" and not absolute and path.resolve().is_relative_to(root.resolve()):
            source = fastcopy(source, source=str(path.resolve().relative_to(root.resolve())))
        elif source.type == "file" and not absolute:
            source = fastcopy(source, source=str(path.resolve()))
        sources.append(source)
    return fastcopy(cut, recording=fastcopy(cut.recording, sources=sources))


def checked_path(folder: str | Path, split: str) -> Path:
    """Return the path of the manifest of one split of a finished corpus.

    Raises:
        FileNotFoundError: if the folder is no corpus, or an unfinished one.
        ValueError: if there is no split of that name.
    """
    path = cuts_path(folder, split)
    if not path.is_file():
        raise FileNotFoundError(f"corpus must be a folder of `spiritlm prepare` with {path.name}, but {lacks(folder)}")
    if not (Path(folder) / INFO_FILE).is_file():
        raise FileNotFoundError(
            f"corpus must be finished, but {folder} has no {INFO_FILE}: run the interrupted `spiritlm prepare` again"
        )
    return path


def damaged(path: Path, error: Exception) -> ValueError:
    """Return the error of a manifest that cannot be read."""
    return ValueError(f"manifest must be intact, but {path} is damaged instead ({error!r})")


def manifest_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a manifest.

    Raises:
        ValueError: if the file is damaged.
    """
    with gzip.open(path) as stream:
        try:
            yield from stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise damaged(path, error) from error


def iterate_cuts(folder: str | Path, split: str) -> Iterator[MonoCut]:
    """Yield the cuts of one split, with absolute audio paths, while the manifest is read.

    Raises:
        FileNotFoundError: if the folder is no corpus, or an unfinished one.
        ValueError: if the file is damaged or there is no split of that name.
    """
    path, root = checked_path(folder, split), Path(folder).resolve()
    for line in manifest_lines(path):
        yield parsed_cut(line, path, root)


def parsed_cut(line: bytes, path: Path, root: Path) -> MonoCut:
    """Return the cut of a line of a manifest, with absolute audio paths.

    Args:
        line: the line, as bytes.
        path: path of the manifest, for the error.
        root: absolute path of the corpus folder.

    Raises:
        ValueError: if the line is damaged.
    """
    try:
        return _replace_source(deserialize_item(decode_json_line(line)), root, absolute=True)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise damaged(path, error) from error


def load_cuts(folder: str | Path, split: str) -> CutSet:
    """Load the cuts of one split into memory, with absolute audio paths.

    Raises:
        FileNotFoundError: if the folder is no corpus, or an unfinished one.
        ValueError: if the file is damaged or there is no split of that name.
    """
    return CutSet.from_cuts(iterate_cuts(folder, split))


def write_cuts(folder: str | Path, split: str, cuts: Iterable[MonoCut]) -> int:
    """Write the cuts of one split and return their number; an unfinished write leaves the previous file."""
    root, count = Path(folder), 0
    with (
        atomic_path(cuts_path(folder, split)) as path,
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0) as stream,
    ):
        for cut in cuts:
            line = json.dumps(_replace_source(cut, root, absolute=False).to_dict(), ensure_ascii=False)
            stream.write(line.encode() + b"\n")
            count += 1
    return count


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write dataclasses or mappings as JSON, one object a line; file names that are no valid text are escaped."""
    with atomic_path(path) as temporary:
        plain = (row if isinstance(row, Mapping) else asdict(row) for row in rows)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plain)
        temporary.write_text(lines, encoding="utf-8", errors="backslashreplace")


def save_corpus(
    folder: str | Path,
    cuts: Mapping[str, Iterable[MonoCut]],
    *,
    name: str,
    source: str,
    licence: str,
    arguments: Mapping[str, Any] | None = None,
    skipped: Iterable[Skipped] = (),
) -> dict[str, Any]:
    """Write a corpus folder; `corpus.json` is written last, so a folder that has it is complete.

    Reports of `spiritlm align` on a corpus that is replaced are removed.

    Args:
        folder: path of the corpus folder, created if missing.
        cuts: cuts by split name; splits that are left out are written empty.
        name: name of the corpus.
        source: description of where its audio comes from.
        licence: licence of the audio, in words.
        arguments: values that the corpus was made with (seed, counts, voices), to tell whether it must be made again.
        skipped: utterances that were left out.

    Returns:
        The contents of `corpus.json`.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    for stale in (INFO_FILE, ALIGNMENT_FILE, UNALIGNED_FILE):
        (root / stale).unlink(missing_ok=True)
    left_out = list(skipped)
    write_jsonl(root / SKIPPED_FILE, left_out)
    counts, seconds, aligned = {}, {}, 0
    for split in SPLITS:
        members = list(cuts.get(split, ()))
        aligned += sum(bool(word_alignment(cut)) for cut in members)
        counts[split] = write_cuts(root, split, members)
        seconds[split] = round(sum(cut.duration for cut in members), 2)
    info = {
        "name": name,
        "source": source,
        "licence": licence,
        "utterances": counts,
        "seconds": seconds,
        ALIGNED: aligned,
        "skipped": len(left_out),
        "arguments": dict(arguments or {}),
        "code_version": code_version(),
    }
    write_info(root, info)
    return info


def write_info(folder: str | Path, info: Mapping[str, Any]) -> None:
    """Write `corpus.json` of a corpus folder."""
    with atomic_path(Path(folder) / INFO_FILE) as path:
        path.write_text(json.dumps(info, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


@contextmanager
def replaced_corpus(folder: str | Path) -> Iterator[None]:
    """Mark a folder as no corpus while its audio is made anew; if no utterance is usable, restore the old corpus."""
    path = Path(folder) / INFO_FILE
    before = path.read_bytes() if path.is_file() else None
    path.unlink(missing_ok=True)
    try:
        yield
    except ValueError:
        if before is not None:
            path.write_bytes(before)
        raise


def make_cut(
    cut_id: str,
    path: str | Path,
    *,
    sample_rate: int,
    num_samples: int,
    text: str,
    speaker: str,
    language: str = "en",
    words: Iterable[Word] = (),
    phones: Iterable[Word] = (),
    custom: Mapping[str, Any] | None = None,
) -> MonoCut:
    """Make a cut over a whole mono file.

    Args:
        cut_id: id of the cut, its recording and its supervision.
        path: path of the audio file.
        sample_rate: sample rate of the file in Hz.
        num_samples: number of samples of the file.
        text: transcript of the cut.
        speaker: name of the speaker; empty if it is not known.
        language: language of the transcript, as a code such as "en".
        words: words with times in seconds.
        phones: phones with times in seconds.
        custom: further fields of the supervision; None for none.
    """
    duration = num_samples / sample_rate
    recording = Recording(
        id=cut_id,
        sources=[AudioSource(type="file", channels=[0], source=str(path))],
        sampling_rate=sample_rate,
        num_samples=num_samples,
        duration=duration,
    )
    supervision = SupervisionSegment(
        id=cut_id,
        recording_id=cut_id,
        start=0.0,
        duration=duration,
        text=text,
        speaker=speaker,
        language=language,
        custom=dict(custom) if custom else None,
    )
    cut = MonoCut(id=cut_id, start=0.0, duration=duration, channel=0, recording=recording, supervisions=[supervision])
    return with_alignment(cut, words, phones)


def with_alignment(cut: MonoCut, words: Iterable[Word], phones: Iterable[Word] = ()) -> MonoCut:
    """Return a copy of the cut with these words and phones in place of its own."""
    alignment = {kind: [_to_item(word) for word in items] for kind, items in (("word", words), ("phone", phones))}
    present = {kind: items for kind, items in alignment.items() if items} or None
    return fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], alignment=present)])


def _to_item(word: Word) -> AlignmentItem:
    start, end = round(word.start, 4), round(word.end, 4)  # both are rounded, so that adjacent words stay adjacent
    return AlignmentItem(word.text, start, round(end - start, 4), getattr(word, "score", None))


def _alignment(cut: MonoCut, kind: str) -> list[Word]:
    items = (cut.supervisions[0].alignment or {}).get(kind, [])
    return [Word(item.symbol, item.start, round(item.start + item.duration, 4)) for item in items]


def named(name: str | None) -> str:
    """Return a name without spaces around it; empty for the names that tools write for none (nan, None, NULL, N/A)."""
    stripped = (name or "").strip()
    return "" if stripped == "NA" or stripped.lower() in ("nan", "none", "null", "n/a", "<na>") else stripped


def speaker_of(cut: MonoCut) -> str:
    """Return the name of an utterance's speaker, "unknown" if it has none."""
    return cut.supervisions[0].speaker or UNKNOWN_SPEAKER


def style_of(cut: MonoCut) -> str:
    """Return the name of an utterance's style (`custom["style"]`), empty if it has none."""
    return style_in(cut.supervisions[0].custom)


def style_in(custom: Mapping[str, Any] | None) -> str:
    """Return the name of a style among the further fields of a supervision, empty if there is none."""
    return str((custom or {}).get("style") or "")


def word_alignment(cut: MonoCut) -> list[Word]:
    """Return the words of a cut in order, with times; empty if it was not aligned."""
    return _alignment(cut, "word")


def phone_alignment(cut: MonoCut) -> list[Word]:
    """Return the phones of a cut in order, with times; empty if the aligner gave none."""
    return _alignment(cut, "phone")
