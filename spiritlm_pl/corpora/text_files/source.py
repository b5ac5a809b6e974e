"""A source of texts: files of one kind of text, which a language model reads as one stream."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from spiritlm_pl.corpora.text_files.files import TABLES, Piece, TextFile, for_each
from spiritlm_pl.corpora.text_files.finding import find_files
from spiritlm_pl.corpora.text_files.lines import DAMAGE, decompressed, is_damage, lines_between, raw
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.pieces import PIECE_BYTES, pieces
from spiritlm_pl.corpora.text_files.readers import LONGEST_OBJECT, Text, texts_of
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.tables import check_column
from spiritlm_pl.runtime.provenance import file_sha256

TRIED_LINES = 100  # lines of a file of JSON lines, one of which must have the field
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16 and UTF-32
SIGNS: dict[str | None, bytes | tuple[bytes, ...]] = {  # first bytes of compressed files
    None: b"",
    "gzip": b"\x1f\x8b",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ",
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([number]) + b"\x2a\x4d\x18" for number in range(0x50, 0x60))),
}
LONGEST_SIGN = 5
MOST_HASHES = 1_000  # files that are named one by one


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Files that were found and looked into, and what their documents are.

    Attributes:
        name: paths and patterns of the files, for messages.
        files: the files, in order of their paths.
        options: what a document is.
    """

    name: str
    files: tuple[TextFile, ...]
    options: TextOptions

    def pieces(self, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
        """Cut the files into pieces of about equal size, each of which can be read alone by `texts`."""
        return pieces(self.files, self.options, piece_bytes)

    def texts(self, piece: Piece, skipped: Skipped) -> Iterator[Text]:
        """Yield key and text of every document of a piece; count what is left out in `skipped`."""
        return texts_of(piece, self.options, skipped)

    def all_texts(self, skipped: Skipped) -> Iterator[Text]:
        """Yield key and text of all documents, one file after the other.

        Raises:
            FileNotFoundError: if a file is gone at the end.
            ValueError: if there is none, or a file has changed meanwhile.
        """
        empty = True
        for file in self.files:
            for text in self.texts(Piece(file=file), skipped):
                empty = False
                yield text
        self.check_unchanged()
        if empty:
            self.raise_empty(skipped)

    def raise_empty(self, skipped: Skipped) -> None:
        """Raise the error of a source without documents.

        Raises:
            ValueError: always.
        """
        why = f" (left out: {'; '.join(skipped.lines())})" if skipped.total else ""
        raise ValueError(f"text must hold words, but there are none in {self.name}{why}")

    def check_unchanged(self) -> None:
        """Compare sizes and times of the files with those that were found first.

        Raises:
            FileNotFoundError: if a file is gone.
            ValueError: if a file has changed.
        """
        for_each(self.files, TextFile.check_unchanged)

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its path; those of very many files are joined to one.

        An object of a store has the store's own mark of its contents instead, since it would be fetched twice.
        """
        found = {
            str(file.path): file_sha256(file.path) if isinstance(file.path, Path) else f"version {file.changed}"
            for file in self.files
        }
        if len(found) <= MOST_HASHES:
            return found
        joined = hashlib.sha256("".join(f"{path}\0{hash}\n" for path, hash in found.items()).encode()).hexdigest()
        return {f"{len(found)} files, {next(iter(found))} and so on": joined}


def open_source(patterns: Sequence[str], options: TextOptions) -> TextSource:
    """Find the files of a source, and look into each whether it is what its name says.

    Args:
        patterns: paths of files and folders, and patterns, as for `find_files`.
        options: what a document is.

    Raises:
        FileNotFoundError: if there is no such file, or a pattern or folder has none.
        ValueError: if a file is of another format than its name says, or has no such field.
    """
    files = find_files(patterns)
    for_each(files, partial(_check, field=options.field))
    return TextSource(name=", ".join(patterns), files=tuple(files), options=options)


def _check(file: TextFile, field: str) -> None:
    if file.kind in TABLES:
        check_column(file, field)
    else:
        _check_beginning(file, field)


def _check_beginning(file: TextFile, field: str) -> None:
    """Check the first lines of a file.

    Raises:
        ValueError: if they show that it is no text, is compressed otherwise, or has no such field.
    """
    number = TRIED_LINES if file.kind == "json" else 1
    try:
        with raw(file) as stored:
            beginning = stored.read(LONGEST_SIGN)
            if beginning and not beginning.startswith(SIGNS[file.compression]):
                raise ValueError(f"text must be a {file.compression} file as its name says, but {file.path} is not")
            stored.seek(0)
            stream = decompressed(file, stored)
            lines = [line for _, line in islice(lines_between(stream, 0, None, LONGEST_OBJECT), number)]
    except DAMAGE as error:
        if not is_damage(error):
            raise
        return  # readers count it
    first = lines[0] if lines else b""
    if first is not None and (first.startswith(WIDE_MARKS) or b"\0" in first):
        raise ValueError(f"text must be UTF-8, but {file.path} is binary or in another encoding instead")
    if file.kind == "json":
        _check_field(file, [line for line in lines if line and not line.isspace()], field)


def _check_field(file: TextFile, lines: list[bytes], field: str) -> None:
    """Check that some of the first lines of JSON lines have the field."""
    if lines and lines[0].lstrip().startswith(b"["):
        raise ValueError(
            f"text must be JSON with one object a line, but {file.path} is one list: write a line for each"
        )
    found: set[str] = set()
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.update(value)
    if lines and not found:
        raise ValueError(f"text must be JSON with one object a line, but the first lines of {file.path} have none")
    if lines and field not in found:
        names = ", ".join(sorted(found))
        raise ValueError(f"text_field must be a field of the data, but {file.path} has {names}, not {field!r}")
