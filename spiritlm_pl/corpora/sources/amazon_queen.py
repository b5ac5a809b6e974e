"""Acted English dialogue: the voices of the adventure game Flight of the Amazon Queen, from its Debian package.

It has some 3,700 clips, 160 minutes, of about 60 characters, as MP3 at 11 kHz. All files lie in the archive `queen.1c`:
a table (a 16-byte header that ends with the number of files; 12 bytes of name, a byte, offset and size of each,
big-endian), then the files. A dialogue `NAME.DOG` has, after 20 bytes, 15 words of header (the third is the dialogue's
key, the 12th where the other character's lines begin, the 13th where they end), then lines: number, length, text. A
code such as `*02` in a line (a gesture) ends a clip. The file of a clip is named after key, line, side (J for Joe, P
for the other) and place in the line: `020006P1.SB`.
"""

import hashlib
import re
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.debian import PackageError, licence_notice, package_files
from spiritlm_pl.corpora.ingest import Rules, Utterance, drop_other_audio, ingest
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, replaced_corpus, save_corpus, word_alignment
from spiritlm_pl.corpora.replacing import check_corpus
from spiritlm_pl.corpora.splitting import check_fractions, split_by_transcript

PACKAGE = "flight-of-the-amazon-queen"
ARCHIVE = "queen.1c"
NOTICE = "copyright"
ARCHIVE_SHA256 = "cc91960d133fcd4173eda4bac304e80d2bbdbaa085640287ab9e0507bd603f67"
SAMPLE_RATE = 11_025  # Hz
LICENCE = "freeware, (C) John Passfield and Steven Stamatiadis; see LICENCE.txt"
HERO = "joe"

_MAGIC = b"QTBL"
_TABLE, _ENTRY = 15, struct.Struct(">12sBII")
_DIALOGUE, _HEADER = 20, struct.Struct(">15H")
_GESTURE = re.compile(r"\*(?:XY\d\d\(\d+,\d+\)|[A-Z]{2}|\d\d)")


@dataclass(frozen=True)
class Line:
    """The words of one clip.

    Attributes:
        clip: name of the clip's file.
        text: words that are said.
        speaker: character who says them.
        dialogue: name of the dialogue.
    """

    clip: str
    text: str
    speaker: str
    dialogue: str


def read_archive(data: bytes) -> dict[str, bytes]:
    """Read the files of `queen.1c` by name.

    Raises:
        PackageError: if it is another file, or damaged.
    """
    if not data.startswith(_MAGIC):
        raise PackageError(f"{ARCHIVE} must begin with {_MAGIC.decode()}, but begins with {data[:4]!r} instead")
    try:
        (count,) = struct.unpack_from(">H", data, _TABLE - 2)
        entries = [_ENTRY.unpack_from(data, _TABLE + index * _ENTRY.size) for index in range(count)]
    except struct.error as error:
        raise PackageError(f"{ARCHIVE} must be whole, but ends in its table ({error})") from error
    files = {}
    for name, _, offset, size in entries:
        if offset + size > len(data):
            raise PackageError(f"{ARCHIVE} must be whole, but ends before {name.decode('latin-1')}")
        files[name.rstrip(b"\0").decode("latin-1")] = data[offset : offset + size]
    return files


def _strings(body: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the numbers and texts of the records between two places; bytes that are no record are skipped."""
    place = start
    while place + 3 < end:
        number, length = struct.unpack_from(">HB", body, place)
        text = body[place + 3 : place + 3 + length]
        if length > 1 and len(text) == length and all(32 <= byte < 127 for byte in text):
            yield number, text.decode("ascii")
            place += 3 + length + (length + 1) % 2
        else:
            place += 2


def dialogue_lines(name: str, data: bytes) -> Iterator[Line]:
    """Yield the lines of one dialogue of the package, one for each clip of audio.

    Args:
        name: name of the dialogue's file in the package.
        data: content of that file.
    """
    body = data[_DIALOGUE:]
    if len(body) < _HEADER.size:
        raise PackageError(f"dialogue must be whole, but {name} has {len(data)} bytes instead")
    header = _HEADER.unpack_from(body)
    key, middle, end = header[2], header[11], header[12]
    character = re.sub(r"\d*\.DOG$", "", name).lower()
    for side, speaker, first, last in (("J", HERO, _HEADER.size, middle), ("P", character, middle, end)):
        for number, text in _strings(body, first, last):
            for place, part in enumerate(_GESTURE.split(text), start=1):
                if words := part.strip():
                    yield Line(f"{key:02d}{number:04X}{side}{place:X}.SB", words, speaker, name.removesuffix(".DOG"))


def acted_style(text: str) -> str:
    """Return how a line is spoken as far as its punctuation tells: exclaim, ask or say."""
    if "!" in text:
        return "exclaim"
    return "ask" if "?" in text else "say"


def script(files: Mapping[str, bytes]) -> list[Line]:
    """Return all clips that have both a file and words, in the order of their names."""
    found = {
        line.clip: line
        for name, data in sorted(files.items())
        if name.endswith(".DOG")
        for line in dialogue_lines(name, data)
    }
    return [found[name] for name in sorted(found) if name in files]


def lines_of(lines: Sequence[Line], characters: Sequence[str] | None) -> list[Line]:
    """Return the lines of some characters, or all lines.

    Args:
        lines: lines of all characters.
        characters: names of the characters; None for all.

    Raises:
        ValueError: if one of them has no lines.
    """
    if characters is None:
        return list(lines)
    known = {line.speaker for line in lines}
    for name in characters:
        if name not in known:
            raise ValueError(f"characters must be among {', '.join(sorted(known))}, but one is {name!r} instead")
    return [line for line in lines if line.speaker in characters]


def _read_source(source: Path | None) -> tuple[bytes, str]:
    """Read `queen.1c` and the licence notice."""
    if source is not None and source.is_dir() and (archives := list(source.rglob(ARCHIVE))):
        notices = [path.read_text(errors="replace", encoding="utf-8") for path in sorted(source.rglob(NOTICE))]
        return archives[0].read_bytes(), next(iter(notices), "")
    files = package_files([PACKAGE], source)
    archive = next((data for name, data in files.items() if name.endswith(f"/{ARCHIVE}")), None)
    if archive is None:
        raise PackageError(f"package must hold {ARCHIVE}, but {PACKAGE} does not")
    return archive, licence_notice(files)


def prepare_amazon_queen(
    out: str | Path,
    *,
    source: str | Path | None = None,
    any_version: bool = False,
    characters: Sequence[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    align: Callable[[str], object],
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a corpus folder of the dialogues; a clip that does not align with its line is dropped.

    Args:
        out: path of the corpus folder to write.
        source: path of a folder with the .deb file, or with its unpacked contents; None fetches it with apt-get.
        any_version: whether to accept a package whose archive differs from that of the tested version.
        characters: characters whose lines are taken; None for all.
        seed: seed of the random splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: number of processes; None for one per core.
        align: function that adds word times to the corpus in a folder, and gives none to clips that do not align.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.

    Raises:
        PackageError: if the package cannot be fetched or read.
        ValueError: if its archive is not that of the tested version, a character is not in it, or the folder has a
            corpus of other settings, without `overwrite`.
    """
    check_fractions(validation_fraction, test_fraction)
    out = Path(out)
    description: dict[str, Any] = {
        "name": out.name,
        "source": f"Debian package {PACKAGE}",
        "licence": LICENCE,
        "arguments": {
            "seed": seed,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
            "characters": None if characters is None else list(characters),
        },
    }
    check_corpus(out, description["source"], description["arguments"], overwrite)  # before the package is fetched
    data, notice = _read_source(Path(source) if source else None)
    found = hashlib.sha256(data).hexdigest()
    if found != ARCHIVE_SHA256 and not any_version:
        raise ValueError(
            f"{ARCHIVE} must have SHA-256 {ARCHIVE_SHA256} (package 1.0.0-9), but has {found} instead; "
            "--any-version true takes it as it is"
        )
    description["arguments"]["archive_sha256"] = found
    check_corpus(out, description["source"], description["arguments"], overwrite)
    files = read_archive(data)
    with tempfile.TemporaryDirectory() as folder, replaced_corpus(out):
        utterances = []
        for line in lines_of(script(files), characters):
            path = Path(folder) / f"{line.clip.removesuffix('.SB')}.mp3"
            path.write_bytes(files[line.clip])
            custom = {"dialogue": line.dialogue, "style": acted_style(line.text)}
            utterances.append(Utterance(f"queen-{path.stem}", path, line.text, line.speaker, custom=custom))
        cuts, skipped = ingest(utterances, out, Rules(min_sample_rate=SAMPLE_RATE), num_jobs)
    skipped = [replace(row, path=Path(row.path).name) for row in skipped]
    (out / "LICENCE.txt").write_text(notice, encoding="utf-8")
    splits = split_by_transcript(cuts, validation_fraction, test_fraction, seed)
    with tempfile.TemporaryDirectory() as folder:  # `out` must look unfinished until clips are dropped
        save_corpus(folder, splits, **description)
        align(folder)
        splits = {split: list(load_cuts(folder, split)) for split in SPLITS}
    lost = [cut for members in splits.values() for cut in members if not word_alignment(cut)]
    skipped += [Skipped(cut.id, cut.id.removeprefix("queen-"), "clip does not align with its line") for cut in lost]
    kept = {split: [cut for cut in members if word_alignment(cut)] for split, members in splits.items()}
    info = save_corpus(out, kept, **description, skipped=skipped)
    drop_other_audio(out, (cut for members in kept.values() for cut in members), utterances)
    return info
