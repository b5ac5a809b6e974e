"""Records of the tasks of a build, put together: streams, what is left out of them, and what they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.layout import SPLITS
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.blocks import STREAM_KINDS, stream_folder
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.runtime.checksums import read_object
from spiritlm_pl.runtime.provenance import file_sha256


@dataclass(frozen=True)
class BuiltStream:
    """What the tasks have made of a stream.

    Attributes:
        name: folder of the stream below that of all: its split and its own name, such as train/text.
        runs: names of the files of its runs.
        tokens: number of tokens.
        sources: what its manifest says of its inputs.
    """

    name: str
    runs: tuple[str, ...]
    tokens: int
    sources: dict[str, Any]

    @property
    def kind(self) -> str:
        """Kind of its documents: text, speech or aligned."""
        return self.name.partition("/")[2].partition("-")[0]


def built_streams(
    records: Sequence[Mapping[str, Any]],
    corpora: Mapping[str, Sequence[UnitCorpus]],
    texts: Mapping[str | None, TextSource],
    hashes: Mapping[str | None, Mapping[str, str]],
    skipped: Skipped | None = None,
    changed: Skipped | None = None,
) -> list[BuiltStream]:
    """Return the streams that have documents, in the order of splits and of names.

    Args:
        records: records of all tasks, as `TaskReader` returns them.
        corpora: tokenised corpora by split.
        texts: sources of texts by name; None is the name of the source without one.
        hashes: SHA-256 of the files of each source of texts, as `TextSource.hashes` returns them; empty in a process
            that writes no manifests.
        skipped: where to count what was left out of texts; None forgets it.
        changed: where to count what was changed in texts; None forgets it.

    Raises:
        ValueError: if a source of texts has no documents, or nothing has.
    """
    described = {}
    for source_name, source in texts.items():
        source.check_unchanged()  # since its hashes were computed, and its texts read
        folder = stream_folder("text", source_name)
        left_out, altered = (_counted(records, folder, key) for key in ("skipped", "changed"))
        for told, found in ((skipped, left_out), (changed, altered)):
            if told is not None:
                told.merge(found)
        if not any(record["texts"].get(folder) for record in records):
            source.raise_empty(left_out)
        counts = {"left_out": left_out, "changed": altered}
        options: dict[str, Any] = {"field": source.options.field, "documents": source.options.documents}
        options |= {name: dict(sorted(found.counts.items())) for name, found in counts.items()}
        described[folder] = {"text": dict(hashes.get(source_name, {})), "text_options": options}
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in (run for record in records for run in record["runs"]):
        runs.setdefault(run["stream"], []).append(run)
    if not runs:
        raise ValueError("units and text must hold documents of these splits, but hold none")
    streams = []
    for name in sorted(runs, key=_place):
        split, _, folder = name.partition("/")
        sources = dict(described.get(folder, {"text": {}}))
        if folder in STREAM_KINDS:  # not a source of texts with a name
            sources["units"] = {str(one.folder): one.manifest_sha256 for one in corpora[split]}
        if folder != "text" and folder not in described:
            sources["seconds"] = sum(record["seconds"].get(name, 0.0) for record in records)
        files, tokens = tuple(run["file"] for run in runs[name]), sum(run["tokens"] for run in runs[name])
        streams.append(BuiltStream(name, files, tokens, sources))
    return streams


def is_whole(folder: Path, record: Path) -> bool:
    """Whether the record of a part of a build, and the files that it lists, are as they were written.

    Args:
        folder: folder of all streams.
        record: path of the record, beside which runs lie.
    """
    try:
        found = read_object(record)
        files = [(record.parent / run["file"], run["sha256"]) for run in found.get("runs", ())]
        files += [(folder / found["stream"] / block["file"], block["sha256"]) for block in found.get("blocks", ())]
        return all(file_sha256(path) == checksum for path, checksum in files)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _place(name: str) -> tuple[int, str, int, str]:
    """Return the place of a stream among others: by split, then texts before speech and aligned."""
    split, _, folder = name.partition("/")
    orders = [list(SPLITS), [*STREAM_KINDS]]
    split_place, kind_place = (
        order.index(value) if value in order else len(order)
        for order, value in zip(orders, (split, folder.partition("-")[0]), strict=True)
    )
    return split_place, split, kind_place, folder


def _counted(records: Sequence[Mapping[str, Any]], folder: str, key: str) -> Skipped:
    """Add up what the tasks have counted of a source of texts: what is "skipped", or "changed"."""
    found = Skipped()
    for record in records:
        if folder in record[key]:
            found.merge(Skipped(*record[key][folder]))
    return found
