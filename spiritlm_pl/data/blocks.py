"""Training blocks on disk: one folder per stream, with `manifest.json` and memory-mapped safetensors files.

The manifest names every block with its size and SHA-256, the vocabulary, and the sources of the tokens. A block is
checked when it is opened, so that a truncated, changed or missing one raises an error that names it. Files get their
names only when they are complete, the manifest last. The folder may be in object storage: see `spiritlm_pl.storage`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from spiritlm_pl.data.documents import Document, Documents
from spiritlm_pl.runtime.array_files import save_arrays
from spiritlm_pl.runtime.checksums import check_file, check_types, checked_bytes, recorded
from spiritlm_pl.runtime.provenance import atomic_path, code_version, file_sha256
from spiritlm_pl.storage.places import Place, place
from spiritlm_pl.vocabulary import Vocabulary

MANIFEST = "manifest.json"
FORMAT = 1
TEXT_FINGERPRINT = "text_fingerprint"  # key in the sources, for the value of `TextTokenizer.fingerprint`
CONVERSATION = "conversation"  # kind of documents of which only some tokens are learnt, see `conversation_stream`
DOCUMENT_KINDS = ("text", "speech", "aligned")
STREAM_KINDS = (*DOCUMENT_KINDS, CONVERSATION)
DTYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I64": np.int64}
ARRAYS = ("tokens", "text_counts", "speech_counts", "word_counts", "keys")


@dataclass(frozen=True, kw_only=True)
class BlockEntry:
    """Entry of one block in the manifest.

    Attributes:
        file: name of the block's file.
        bytes: size of the file in bytes.
        sha256: checksum of the file, in hexadecimal.
        documents: number of documents in the block.
        words: number of words; a document of one modality counts as one word.
        text_tokens: number of text tokens.
        speech_tokens: number of speech tokens.
    """

    file: str
    bytes: int
    sha256: str
    documents: int
    words: int
    text_tokens: int
    speech_tokens: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of a folder of blocks.

    Attributes:
        kind: kind of its documents: text, speech or aligned.
        vocabulary: layout of the token ids.
        blocks: entries of the blocks, in order.
        sources: names and hashes of the files from which the blocks were made.
        sha256: checksum of the manifest file, which identifies all the data, since the manifest holds each block's
            checksum.
    """

    kind: str
    vocabulary: Vocabulary
    blocks: tuple[BlockEntry, ...]
    sources: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def num_documents(self) -> int:
        """Number of documents in all blocks."""
        return sum(block.documents for block in self.blocks)

    @property
    def num_tokens(self) -> int:
        """Number of text and speech tokens in all blocks, without modality tokens."""
        return sum(block.text_tokens + block.speech_tokens for block in self.blocks)


def stream_folder(kind: str, source: str | None = None) -> str:
    """Return the name of the folder of a stream's blocks within a split.

    Args:
        kind: kind of the documents: text, speech or aligned.
        source: name of the text source whose documents these are; None for those without a source of their own.
    """
    return kind if source is None else f"{kind}-{source}"


def streams_of(folder: Path) -> list[str]:
    """Return the names of the streams that a split has blocks of."""
    named = (path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    return sorted(name for name in named if name.partition("-")[0] in STREAM_KINDS)


def replace_streams(folder: Path, fresh: Path, splits: Sequence[str], only: str | None = None) -> None:
    """Put new blocks in place; streams of these splits that were not built again go.

    Args:
        folder: folder of the splits.
        fresh: folder of the new ones, on the same disk, where the old ones are moved to.
        splits: names of the splits.
        only: name of the stream that is replaced, while others stay; None for all streams.
    """
    for split in splits:
        names = {*streams_of(fresh / split), *streams_of(folder / split)} if only is None else {only}
        for name in names:
            new, old = fresh / split / name, folder / split / name
            if old.exists():
                old.rename(fresh / f"{split}-{name}.old")
            if new.exists():
                old.parent.mkdir(parents=True, exist_ok=True)
                new.rename(old)


def token_dtype(vocabulary: Vocabulary) -> np.dtype[Any]:
    """Return uint16 where all ids fit, else uint32."""
    return np.dtype(np.uint16 if vocabulary.num_rows <= 1 << 16 else np.uint32)


def write_block(
    folder: Path, number: int, documents: Documents | Sequence[Document], vocabulary: Vocabulary
) -> BlockEntry:
    """Write documents as one block, a file of training data, and return its entry for the manifest.

    Args:
        folder: folder of the blocks.
        number: number of the block, from 0, which gives the name of the file.
        documents: tokenised documents of the block.
        vocabulary: layout of the token ids.
    """
    table = documents if isinstance(documents, Documents) else Documents.from_documents(documents)
    return write_arrays(
        folder,
        number,
        {name: getattr(table, name) for name in ARRAYS},
        vocabulary,
        documents=len(table),
        words=len(table.text_counts),
        text_tokens=int(table.text_counts.sum()),
        speech_tokens=int(table.speech_counts.sum()),
    )


def write_arrays(
    folder: Path, number: int, arrays: Mapping[str, npt.NDArray[Any]], vocabulary: Vocabulary, **counts: int
) -> BlockEntry:
    """Write the arrays of a block, and return its entry for the manifest.

    Args:
        folder: folder of the blocks.
        number: number of the block, from 0, which gives the name of the file.
        arrays: arrays by their names; token ids are stored in as few bytes as the vocabulary allows.
        vocabulary: layout of the token ids.
        counts: further values of the entry.
    """
    path = folder / f"block-{number:05d}.safetensors"
    with atomic_path(path) as temporary:
        save_arrays({**arrays, "tokens": arrays["tokens"].astype(token_dtype(vocabulary))}, temporary)
    return BlockEntry(file=path.name, bytes=path.stat().st_size, sha256=file_sha256(path), **counts)


def write_manifest(
    folder: Path, kind: str, vocabulary: Vocabulary, blocks: Iterable[BlockEntry], sources: dict[str, Any]
) -> Manifest:
    """Write `manifest.json`, which must come after all blocks, and return it.

    Args:
        folder: folder of the blocks.
        kind: kind of the documents: text, speech or aligned.
        vocabulary: layout of the token ids.
        blocks: entries of the blocks, in order.
        sources: names and hashes of the files from which the blocks were made.
    """
    assert kind in STREAM_KINDS
    description = {
        "format": FORMAT,
        "kind": kind,
        "vocabulary": vocabulary.to_dict(),
        "blocks": [asdict(block) for block in blocks],
        "sources": sources,
        "code_version": code_version(),
    }
    with recorded(folder, MANIFEST), atomic_path(folder / MANIFEST) as path:
        path.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return read_manifest(folder)


def read_manifest(folder: str | Place) -> Manifest:
    """Read the manifest of a folder of blocks, on a disk or in object storage.

    Raises:
        FileNotFoundError: if the folder has no manifest.
        ValueError: if the manifest cannot be read.
    """
    path = place(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"blocks must be a folder with {MANIFEST} (made by spiritlm build-blocks), but {folder} has none"
        )
    data = checked_bytes(path)
    try:
        description = json.loads(data)
        if description["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, but is {description['format']} instead")
        if description["kind"] not in STREAM_KINDS:
            raise ValueError(f"kind must be one of {', '.join(STREAM_KINDS)}, but is {description['kind']!r} instead")
        return Manifest(
            kind=description["kind"],
            vocabulary=Vocabulary.from_dict(description["vocabulary"]),
            blocks=tuple(_entry(block) for block in description["blocks"]),
            sources=_checked_sources(description["sources"]),
            sha256=sha256(data).hexdigest(),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"manifest must be one of spiritlm build-blocks, but {path} is not: {error}") from None


def _entry(values: dict[str, Any]) -> BlockEntry:
    check_types(values, {name: str if name in ("file", "sha256") else int for name in BlockEntry.__annotations__})
    return BlockEntry(**values)


def _checked_sources(sources: dict[str, Any]) -> dict[str, Any]:
    """Return the sources of a manifest after a look at those values that are read later on."""
    if not isinstance(sources.get(TEXT_FINGERPRINT, ""), str):
        raise ValueError(f"{TEXT_FINGERPRINT} must be a string, but is {sources[TEXT_FINGERPRINT]!r} instead")
    if type(seconds := sources.get("seconds", 0.0)) not in (int, float) or not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be at least 0, but is {seconds!r} instead")
    return sources


def open_block(folder: str | Place, entry: BlockEntry) -> Documents:
    """Check a block's size and checksum and map it into memory; one in object storage is fetched first.

    Raises:
        FileNotFoundError: if the block is missing.
        ValueError: if its size, checksum or format is not that of the manifest.
    """
    return Documents(**open_arrays(folder, entry, ARRAYS))


def open_arrays(folder: str | Place, entry: BlockEntry, names: Sequence[str]) -> dict[str, Any]:
    """Open the arrays of a block that have these names, with the checks of `open_block`."""
    path = place(folder) / entry.file
    if not isinstance(path, Path):
        with path.open_checked(entry.bytes, entry.sha256) as file:
            return _arrays(path, file, names)
    check_file(path, entry.bytes, entry.sha256, "; build the blocks again")
    return _arrays(path, path, names)


def _arrays(path: Place, source: Path | BinaryIO, names: Sequence[str]) -> dict[str, Any]:
    try:
        return mapped(source, names)
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"block {path} must be a safetensors file of {', '.join(names)}: {error}") from None


def mapped(source: Path | BinaryIO, names: Sequence[str] = ARRAYS) -> dict[str, Any]:
    """Map arrays of a safetensors file, by its path or open, into memory, read-only.

    A lock that is held on an open file holds as long as the arrays, since a map keeps the open file.

    Args:
        source: path of the file, or the file.
        names: names of the arrays.
    """
    with safe_open(source if isinstance(source, Path) else source.name, framework="numpy"):  # checks the header
        pass
    memory = np.memmap(source, dtype=np.uint8, mode="r")
    header_bytes = int(memory[:8].view(np.uint64)[0])
    header = json.loads(memory[8 : 8 + header_bytes].tobytes())
    arrays = {}
    for name in names:
        begin, end = header[name]["data_offsets"]
        raw = memory[8 + header_bytes + begin : 8 + header_bytes + end]
        arrays[name] = raw.view(DTYPES[header[name]["dtype"]])
    return arrays
