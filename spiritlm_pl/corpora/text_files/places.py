"""Places of documents in files of text, as messages tell them.

While a file is read, its bytes or rows are what is known, as a reader may begin in its middle. The number of a line is
counted for the few places that are shown, unless that would take long.
"""

import re

from spiritlm_pl.corpora.text_files.files import TABLES, TextFile, described_file
from spiritlm_pl.corpora.text_files.lines import BUFFER, DAMAGE, opened
from spiritlm_pl.storage.places import Place, is_url, place

MOST_BYTES, MOST_REMOTE_BYTES = 1 << 28, 1 << 24  # before a line whose number is counted, on a disk and in a store
_BYTE = re.compile(r"(?P<path>.+), byte (?P<byte>\d+)", re.DOTALL)


def at_byte(path: Place | str, byte: int) -> str:
    """Describe a place in a file of lines by the number of bytes before it, decompressed."""
    return f"{path}, byte {byte}"


def at_row(path: Place | str, row: int) -> str:
    """Describe a row of a table, of which the first has the number 0."""
    return f"{path}, row {row}"


def at_place(file: TextFile, place: int) -> str:
    """Describe the place of a document of a file: its byte or its row."""
    return (at_row if file.kind in TABLES else at_byte)(file.path, place)


def with_line(where: str) -> str:
    """Return a place as file and number of the line, such as "a.jsonl:2", if it tells a byte that is not far away."""
    found = _BYTE.fullmatch(where)
    if found is None or int(found["byte"]) > (MOST_REMOTE_BYTES if is_url(found["path"]) else MOST_BYTES):
        return where
    left, number = int(found["byte"]), 1
    try:
        with opened(described_file(place(found["path"]))) as stream:
            while left > 0 and (part := stream.read(min(left, BUFFER))):
                number += part.count(b"\n")
                left -= len(part)
    except (*DAMAGE, ValueError):
        return where
    return where if left else f"{found['path']}:{number}"
