"""NIST CTM files: the words (or phones) of many recordings with times, one a line.

    file channel start duration word [score ...]

Times are in seconds from the start of the recording; lines that begin with ;; are comments.
Source: the description of the format in NIST's scoring toolkit (sctk).
"""

import math
import re
from pathlib import Path

from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.corpora.word_times import AlignedWord, is_silence

_BLANKS = re.compile(r"[ \t]+")  # a no-break space is part of a word: 10\u00a0000


def _parse_line(fields: list[str]) -> tuple[tuple[str, str], AlignedWord]:
    """Read the fields of a line as (recording, channel) and a word.

    Raises:
        ValueError: if they are no word with times; the message begins after the subject, which the caller adds.
    """
    if len(fields) < 5:
        raise ValueError(f"must have file, channel, start, duration, word, but has {len(fields)} fields instead")
    file, channel, start_field, duration_field, word, *rest = fields
    if word.upper().startswith("<ALT"):
        raise ValueError("must be a word, but is a mark of alternatives instead, which have no single time")
    try:
        start, duration = float(start_field), float(duration_field)
    except ValueError as error:
        raise ValueError(
            f"must have start and duration in seconds, but has {start_field!r} and {duration_field!r} instead"
        ) from error
    if not (math.isfinite(start + duration) and start >= 0 and duration >= 0):
        raise ValueError(f"must have start and duration from 0, but has {start} and {duration} instead")
    score = None
    if rest and rest[0].upper() != "NA":
        try:
            score = float(rest[0])
        except ValueError as error:
            raise ValueError(f"must have a number or NA as score, but has {rest[0]!r} instead") from error
    return (file, channel), AlignedWord(word, start, start + duration, score)


def read_ctm(path: str | Path) -> dict[tuple[str, str], list[AlignedWord]]:
    """Read the words of a CTM file by (recording, channel), in order of time; silences are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line cannot be read; the message names the file and the line.
    """
    found: dict[tuple[str, str], list[AlignedWord]] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = [field for field in _BLANKS.split(line) if field]
        if not fields or fields[0].startswith(";;"):
            continue
        try:
            key, word = _parse_line(fields)
        except ValueError as error:
            raise ValueError(f"line {number} of {path} {error}") from error
        words = found.setdefault(key, [])
        if not is_silence(word.text):
            words.append(word)
    for words in found.values():
        words.sort(key=lambda word: word.start)
    return found
