"""Files of a corpus from elsewhere: found in linked folders as well, and read in whichever encoding they have."""

import codecs
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import regex

LONGEST_NAME = 200  # bytes of a file's name without suffix; file systems take 255 in all
# UTF-32 comes first, since its byte order mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def files_below(folder: str | Path) -> list[Path]:
    """Return the files of a folder at any depth, in order of their paths; linked folders are entered, each folder once.

    Raises:
        OSError: if a folder cannot be listed.
    """
    entered: set[Path] = set()

    def enter(place: Path) -> Iterator[Path]:
        if (real := place.resolve()) in entered:  # it is a link to a folder that was entered already
            return
        entered.add(real)
        entries = sorted(place.iterdir())
        yield from (entry for entry in entries if entry.is_file())
        for inner in sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.is_symlink()):
            yield from enter(inner)

    return sorted(enter(Path(folder)))


def decode_text(content: bytes, fallback: str | None = None) -> str:
    r"""Decode the contents of a text file; newlines become "\n".

    The encoding is that of the byte order mark. Without a mark it is UTF-16 if about every other byte is 0, else UTF-8.

    Args:
        content: bytes of the file.
        fallback: encoding to use if the bytes are not valid UTF-8; None raises an error instead.

    Raises:
        ValueError: if the bytes are valid in none of these encodings.
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding is None:
        zeros = [content[start::2].count(0) for start in (0, 1)]
        wide = len(content) > 1 and max(zeros) > len(content) // 4 and min(zeros) * 4 < max(zeros)
        encoding = ("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le") if wide else "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if fallback is None or encoding != "utf-8":
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(f"not UTF-8 or UTF-16 (byte {content[error.start]:#04x} in line {line})") from error
        text = content.decode(fallback)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: str | Path) -> str:
    """Read a text file in any of the encodings of `decode_text`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is in no known encoding; the message names the file.
    """
    try:
        return decode_text(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from error


def path_id(path: str | Path) -> str:
    """Return the id of an utterance by its file: the parts of its path without suffix, joined by dashes."""
    path = Path(path)
    return "-".join(part for part in path.with_suffix("").parts if part not in ("/", "..", "."))


def plain_name(name: str, other: str = "_") -> str:
    """Return a name that can be a file's: letters of any script with their marks, digits, and the signs . _ -

    Args:
        name: any text to turn into a name.
        other: text that replaces each run of other characters.
    """
    return regex.sub(r"[^\p{L}\p{M}\p{N}._-]+", other, name)


def short_name(name: str) -> str:
    """Return a name that file systems accept; a longer one is replaced by its end and a hash of the whole."""
    encoded = name.encode()
    if len(encoded) <= LONGEST_NAME:
        return name
    end = encoded[-(LONGEST_NAME - 9) :].decode(errors="ignore")
    return f"{end}-{sha256(encoded).hexdigest()[:8]}"
