"""Pieces of files, for readers that share the work: a file and a range in it.

Pieces depend on the files alone, and so do the documents of each piece and their keys.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from spiritlm_pl.corpora.text_files.files import Piece, TextFile, for_each
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.tables import table_sizes

PIECE_BYTES = 1 << 26


def pieces(files: Sequence[TextFile], options: TextOptions, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Cut files into pieces of about equal size, as far as they can be cut; compressed files cannot.

    Nor are Arrow files of object storage, the sizes of whose batches only the whole file tells.

    Args:
        files: files of a source of texts.
        options: what a document is.
        piece_bytes: size of a piece in bytes.

    Raises:
        OSError: if a table is damaged.
    """
    return list(chain.from_iterable(for_each(files, lambda file: [*_pieces_of(file, options, piece_bytes)])))


def _pieces_of(file: TextFile, options: TextOptions, piece_bytes: int) -> Iterator[Piece]:
    whole = file.compression is not None or (file.kind == "text" and options.documents == "file")
    whole = whole or (file.kind == "arrow" and not isinstance(file.path, Path))
    if whole or file.size <= piece_bytes:
        yield Piece(file=file)
    elif file.kind in ("text", "json"):
        for begin in range(0, file.size, piece_bytes):
            end = begin + piece_bytes
            yield Piece(file=file, begin=begin, end=end if end < file.size else None)
    else:
        sizes = table_sizes(file)
        begin = 0
        for end in range(1, len(sizes) + 1):
            if end == len(sizes) or sum(sizes[begin : end + 1]) > piece_bytes:
                yield Piece(file=file, begin=begin, end=end)
                begin = end
