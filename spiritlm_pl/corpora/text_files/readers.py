"""Documents of one piece of a file: their places or keys, and their texts, one by one or many at a time.

A key is the file's name and the place of the document in it: the byte at which it starts, or the number of its row. It
is the same however the file is cut into pieces. What cannot be read is left out and counted.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.corpora.text_files.files import TABLES, Piece
from spiritlm_pl.corpora.text_files.flat_texts import LINE_BREAK, WHITE_SPACE, TextBatch
from spiritlm_pl.corpora.text_files.lines import (
    DAMAGE,
    MARK,
    blocks_between,
    follows_blank_line,
    is_damage,
    lines_between,
    opened,
)
from spiritlm_pl.corpora.text_files.options import LONGEST_DOCUMENT, TextOptions
from spiritlm_pl.corpora.text_files.places import at_byte, at_row
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.tables import table_values

Text = tuple[str, str]  # key and text of a document
Found = TypeVar("Found")
BATCH_BYTES = 3 << 22  # of texts that are read together, so that a smallest task is one batch
BATCH_TEXTS = 1 << 18
LONGEST_OBJECT = 4 * LONGEST_DOCUMENT  # bytes of a line of JSON, which escapes characters and has other fields
TOO_LONG = f"longer than {LONGEST_DOCUMENT >> 20} MiB"
DAMAGED = "file damaged from there on"


def texts_of(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[Text]:
    """Yield key and text of every document of a piece.

    Args:
        piece: piece of a file, from `pieces`.
        options: what a document is.
        skipped: where to count what is left out.

    Raises:
        OSError: if the file cannot be read for another reason than its contents.
    """
    for place, text in _places_and_texts(piece, options, skipped):
        yield f"{piece.file.name}:{place}", text


def batches_of(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[TextBatch]:
    """Yield the documents of a piece, as many at a time as memory should hold; the arguments are those of `texts_of`.

    Raises:
        OSError: if the file cannot be read for another reason than its contents.
    """
    if _format(piece, options) == "line":
        yield from _joined(batch for _, batch in _undamaged(_line_batches(piece, skipped), piece, skipped))
        return
    places: list[int] = []
    texts: list[str] = []
    size = 0
    for place, text in _places_and_texts(piece, options, skipped):
        more = len(text) if text.isascii() else len(text.encode())
        if texts and (size + more > BATCH_BYTES or len(texts) == BATCH_TEXTS):
            yield TextBatch.of(places, texts)
            places, texts, size = [], [], 0
        places.append(place)
        texts.append(text)
        size += more
    if texts:
        yield TextBatch.of(places, texts)


def _places_and_texts(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[tuple[int, str]]:
    return _undamaged(_READ[_format(piece, options)](piece, options, skipped), piece, skipped)


def _undamaged(found: Iterator[tuple[int, Found]], piece: Piece, skipped: Skipped) -> Iterator[tuple[int, Found]]:
    """Yield what is found in a piece with its places, until the file turns out to be damaged, which is counted."""
    place = 0
    try:
        for place, one in found:
            yield place, one
    except DAMAGE as error:
        if not is_damage(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        unit = "row" if piece.file.kind in TABLES else "byte"
        skipped.add(DAMAGED, f"{piece.file.path} after {unit} {place} ({reason})")


def _joined(batches: Iterable[TextBatch]) -> Iterator[TextBatch]:
    """Join batches as far as memory should hold them."""
    held: list[TextBatch] = []
    size = number = 0
    for batch in batches:
        more = batch.texts.nbytes
        if held and (size + more > BATCH_BYTES or number + len(batch.texts) > BATCH_TEXTS):
            yield TextBatch.concatenate(held)
            held, size, number = [], 0, 0
        held.append(batch)
        size += more
        number += len(batch.texts)
    if held:
        yield TextBatch.concatenate(held)


def _format(piece: Piece, options: TextOptions) -> str:
    return options.documents if piece.file.kind == "text" else piece.file.kind


def _rows(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield the texts of the rows of a table as they stand there."""
    for row, value in table_values(piece, options.field):
        if (text := _checked(value, at_row(piece.file.path, row), options, skipped)) is not None:
            yield row, text


def _objects(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield the texts of JSON lines as they stand there."""
    for place, line in _whole_lines(piece, skipped, LONGEST_OBJECT):
        if line.isspace():
            continue
        where = at_byte(piece.file.path, place)
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            skipped.add("line that is no JSON", where)
            continue
        if not isinstance(found, dict):
            skipped.add("line that is no JSON object", where)
        elif options.field not in found:
            skipped.add(f"object without field {options.field!r}", where)
        elif (text := _checked(found[options.field], where, options, skipped)) is not None:
            yield place, text


def _lines(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, without white space around them; empty lines are not documents."""
    for _, batch in _line_batches(piece, skipped):
        yield from zip(batch.places.tolist(), batch.texts.to_pylist(), strict=True)


def _line_batches(piece: Piece, skipped: Skipped) -> Iterator[tuple[int, TextBatch]]:
    """Yield the lines of a text file, many at a time, with the place of the last."""
    with opened(piece.file) as stream:
        for place, block in blocks_between(stream, piece.begin, piece.end, LONGEST_DOCUMENT):
            batch = _plain_lines(place, block)
            if batch is None:
                found = [*_lines_one_by_one(place, block, piece, skipped)]
                batch = TextBatch.of([first for first, _ in found], [text for _, text in found])
            if len(batch.places):
                yield int(batch.places[-1]), batch


def _plain_lines(place: int, block: bytes) -> TextBatch | None:
    """Return the lines of a block; None if some may be too long, no UTF-8, or broken by a carriage return."""
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None
    try:
        block.isascii() or block.decode()
    except UnicodeDecodeError:
        return None
    bounds = np.flatnonzero(np.frombuffer(b"\n" + block, np.uint8) == LINE_BREAK)
    if not block.endswith(b"\n"):
        bounds = np.append(bounds, len(block))
    if np.diff(bounds).max() >= LONGEST_DOCUMENT:
        return None
    begins = place + bounds[:-1]
    if not place and block.startswith(MARK):
        bounds[0] = len(MARK)
    lines = pa.Array.from_buffers(pa.large_string(), len(begins), [None, pa.py_buffer(bounds), pa.py_buffer(block)])
    texts = pc.utf8_trim(lines, characters=WHITE_SPACE)
    filled = pc.not_equal(texts, "")
    return TextBatch(begins[filled.to_numpy(zero_copy_only=False)], texts.filter(filled))


def _lines_one_by_one(place: int, block: bytes, piece: Piece, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield the lines of a block, and count those that are left out."""
    for line in BytesIO(block):
        if len(line) > LONGEST_DOCUMENT or (len(line) == LONGEST_DOCUMENT and not line.endswith(b"\n")):
            skipped.add(TOO_LONG, at_byte(piece.file.path, place))
        else:
            start = place
            for part in (line if place else line.removeprefix(MARK)).split(b"\r"):  # which ends a line as well
                text = _decoded(part, at_byte(piece.file.path, start), skipped)
                if text is not None and (text := text.strip()):
                    yield start, text
                start += len(part) + 1
        place += len(line)


def _paragraphs(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield the lines between blank lines, with the line breaks between them, of paragraphs that start in the piece."""
    paragraph = _Paragraph(piece, skipped)
    with opened(piece.file) as stream:
        earlier = piece.begin > 0 and not follows_blank_line(stream, piece.begin)  # in one that an earlier piece has
        for place, line in lines_between(stream, piece.begin, None, LONGEST_DOCUMENT):
            if piece.end is not None and place >= piece.end and not paragraph.length:
                return
            if line is not None and not line.strip():
                yield from paragraph.end()
                earlier = False
            elif not earlier:
                paragraph.add(place, line)
        yield from paragraph.end()


class _Paragraph:
    """Lines of a document that is being read."""

    def __init__(self, piece: Piece, skipped: Skipped) -> None:
        self.path, self.skipped = piece.file.path, skipped
        self.first = self.length = 0
        self.lines: list[bytes] = []

    def add(self, place: int, line: bytes | None) -> None:
        """Add a line; None for one that is too long."""
        if not self.length:
            self.first = place
        self.length += LONGEST_DOCUMENT + 1 if line is None else len(line)
        if line is None or self.length > LONGEST_DOCUMENT:
            self.lines.clear()
        else:
            self.lines.append(line)

    def end(self) -> Iterator[tuple[int, str]]:
        """Yield the paragraph, if there is one, and begin anew."""
        where = at_byte(self.path, self.first)
        if self.length > LONGEST_DOCUMENT:
            self.skipped.add(TOO_LONG, where)
        elif (text := _decoded(b"".join(self.lines), where, self.skipped)) is not None and (text := text.rstrip()):
            yield self.first, text
        self.lines, self.length = [], 0


def _whole(piece: Piece, options: TextOptions, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield a file as one document, without the line breaks around it."""
    with opened(piece.file) as stream:
        content = stream.read(LONGEST_DOCUMENT + 1)
    if len(content) > LONGEST_DOCUMENT:
        skipped.add(TOO_LONG, f"{piece.file.path}")
        return
    text = _decoded(content.removeprefix(MARK), f"{piece.file.path}", skipped)
    if text is not None and (text := text.strip("\n").rstrip()):
        yield 0, text


def _whole_lines(piece: Piece, skipped: Skipped, longest: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a piece that are not too long."""
    with opened(piece.file) as stream:
        for place, line in lines_between(stream, piece.begin, piece.end, longest):
            if line is None:
                skipped.add(TOO_LONG, at_byte(piece.file.path, place))
            else:
                yield place, line


def _decoded(content: bytes, where: str, skipped: Skipped) -> str | None:
    """Return a text with "\\n" for every line break, or None if it is not UTF-8."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        skipped.add("text that is not UTF-8", where)
        return None
    return text.replace("\r\n", "\n") if "\r" in text else text


def _checked(value: object, where: str, options: TextOptions, skipped: Skipped) -> str | None:
    """Return the value of a field if it is a text; count why it is not."""
    if isinstance(value, bytes):
        if (value := _decoded(value, where, skipped)) is None:
            return None
    if not isinstance(value, str):
        skipped.add(f"field {options.field!r} without a text in it", where)
    elif not value or value.isspace():
        skipped.add("empty document", where)
    elif len(value) > LONGEST_DOCUMENT:
        skipped.add(TOO_LONG, where)
    elif not value.isascii() and not _is_unicode(value):
        skipped.add("text with half a surrogate pair", where)
    else:
        return value
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_READ: dict[str, Callable[[Piece, TextOptions, Skipped], Iterator[tuple[int, str]]]] = {
    "line": _lines,
    "blank_line": _paragraphs,
    "file": _whole,
    "json": _objects,
    "parquet": _rows,
    "arrow": _rows,
}
