"""Random changes of files: damage of bytes, and changes that keep the form of a text, a table, JSON or YAML."""

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import yaml

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "nan", "a" * 5000, "\0", "\ud800", "../../x", "é\u0301", "[Speech][Hu3]", "<s>", "\u202e", "1e999"),
    *([], {}, [[]], [None], {"": 0}, [{}], {"class_path": "os.system"}, "{", "null", "\n", "0x10", "١٢"),
)
ODD_WORDS = (
    "nan",
    "-1",
    "1e999",
    "inf",
    "0",
    "",
    "\t",
    '"',
    "'",
    "\0",
    "\ufeff",
    "\r",
    ",",
    ";",
    "9" * 400,
    "½",
    "\u2028",
)


def damaged(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Flip one bit, or cut the end off: what disks and broken transfers do. Also return what was done."""
    if not data:
        return b"\0", "one byte more"
    if draw.random() < 0.25:
        size = draw.randrange(len(data))
        return data[:size], f"cut to {size} of {len(data)} bytes"
    # half of the flips are in the first or last part, where headers and footers are
    edge = min(len(data), 256)
    place = draw.choice([draw.randrange(len(data)), draw.randrange(edge), len(data) - 1 - draw.randrange(edge)])
    bit = draw.randrange(8)
    found = bytearray(data)
    found[place] ^= 1 << bit
    return bytes(found), f"bit {bit} of byte {place} of {len(data)}"


def mutated(data: bytes, name: str, draw: random.Random) -> tuple[bytes, str]:
    """Change a file somehow, often within its form; also return what was done."""
    suffix = Path(name).suffix.lower()
    if suffix == ".gz" and draw.random() < 0.7:
        inner, done = mutated(gzip.decompress(data), name[: -len(".gz")], draw)
        return gzip.compress(inner, mtime=0), f"within gzip: {done}"
    ways = [_bytes] if suffix not in FORMS else [_bytes, FORMS[suffix], FORMS[suffix], FORMS[suffix]]
    found, done = draw.choice(ways)(data, draw)
    if draw.random() < 0.2:
        found, more = draw.choice(ways)(found, draw)
        done = f"{done}; {more}"
    return found, done


def _bytes(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    size = len(data)
    start = draw.randrange(size) if size else 0
    if draw.random() < 0.4:
        start = min(start, draw.randrange(64))
    end = min(size, start + draw.choice([1, 2, 4, 16, 100, 4000]))
    middle = data[start:end]
    way = draw.randrange(9)
    if way == 0:
        return b"", "emptied"
    if way == 1:
        return data[:start], f"cut to {start} of {size} bytes"
    if way == 2:
        return data[:start] + data[end:], f"bytes {start} to {end} removed"
    if way == 3:
        return data[:end] + middle + data[end:], f"bytes {start} to {end} repeated"
    if way == 4:
        return data[:start] + draw.randbytes(end - start) + data[end:], f"bytes {start} to {end} random"
    if way == 5:
        return data[:start] + draw.choice([b"\0", b"\xff"]) * (end - start) + data[
            end:
        ], f"bytes {start} to {end} equal"
    if way == 6:
        return data[:start] + draw.randbytes(draw.randrange(1, 50)) + data[start:], f"random bytes put in at {start}"
    if way == 7:
        return draw.randbytes(draw.randrange(1, 3000)), "all random"
    return damaged(data, draw)


def _text(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Change a word, a number, a line or the encoding."""
    text = data.decode("utf-8", errors="replace")
    way = draw.randrange(8)
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    if way == 0:
        encoding = draw.choice(["utf-16", "utf-8-sig", "latin-1", "utf-32", "cp037"])
        return text.encode(encoding, errors="replace"), f"in {encoding}"
    if way == 1:
        lines.pop(at)
        return "\n".join(lines).encode(), f"line {at + 1} removed"
    if way == 2:
        return "\n".join(lines[: at + 1] * 2 + lines[at + 1 :]).encode(), f"the first {at + 1} lines repeated"
    if way == 3:
        draw.shuffle(lines)
        return "\n".join(lines).encode(), "lines shuffled"
    if way == 4:
        return text.replace("\n", draw.choice(["\r\n", "\r", "", "\u2028", "\n\n\n"])).encode(), "other line ends"
    pieces = re.split(r"(\s+|[,;:=\"'\[\]{}|]|-?\d+(?:\.\d+)?)", text)
    places = [place for place, piece in enumerate(pieces) if piece]
    if not places:
        return b"\n", "a line end"
    place, word = draw.choice(places), draw.choice(ODD_WORDS)
    was, pieces[place] = pieces[place], word
    return "".join(pieces).encode(errors="replace"), f"{was[:20]!r} became {word[:20]!r}"


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Return all places of a tree, each as its parent and its key."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found += [(value, key), *_spots(child)]
    return found


def changed_tree(tree: Any, draw: random.Random) -> tuple[Any, str]:
    """Change one place of a tree of JSON values; also return what was done."""
    spots = _spots(tree)
    if not spots or draw.random() < 0.03:
        value = draw.choice(ODD_VALUES)
        return value, f"all became {value!r:.40}"
    parent, key = draw.choice(spots)
    was = parent[key]
    way = draw.randrange(7)
    if way == 0:
        del parent[key]
        return tree, f"{key} removed"
    if way == 1 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
        return tree, f"{key} renamed"
    if way == 2 and isinstance(was, int | float) and not isinstance(was, bool):
        parent[key] = draw.choice([was * 1000, -was, was + 1, was - 1, was + 0.5, str(was)])
    elif way == 3:
        parent[key] = draw.choice([[was], {"value": was}, [was, was], str(was)])
    elif way == 4 and isinstance(was, str) and was:
        cut = draw.randrange(len(was))
        parent[key] = draw.choice([was[:cut], was[cut:], was + was, was.upper(), was[:cut] + "\0" + was[cut:]])
    elif way == 5:
        other_parent, other = draw.choice(spots)
        if other in (other_parent if isinstance(other_parent, dict) else range(len(other_parent))):
            parent[key] = json.loads(json.dumps(other_parent[other], default=str))
    else:
        parent[key] = draw.choice(ODD_VALUES)
    return tree, f"{key}: {was!r:.40} became {parent[key]!r:.40}"


def _plain(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass" if len(text) % 2 else "replace")


def _json(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    try:
        tree, done = changed_tree(json.loads(data), draw)
        return _plain(json.dumps(tree, ensure_ascii=draw.random() < 0.7)), done
    except (ValueError, RecursionError):
        return _text(data, draw)


def _json_lines(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    lines = data.splitlines()
    if not lines:
        return _text(data, draw)
    at = draw.randrange(len(lines))
    lines[at], done = _json(lines[at], draw)
    return b"\n".join(lines) + b"\n", f"line {at + 1}: {done}"


def _yaml(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    try:
        tree, done = changed_tree(yaml.safe_load(data), draw)
        return _plain(yaml.safe_dump(tree, allow_unicode=True)), done
    except (ValueError, yaml.YAMLError):
        return _text(data, draw)


FORMS = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".yaml": _yaml,
    **dict.fromkeys((".txt", ".csv", ".tsv", ".ctm", ".textgrid", ".md", ".stories"), _text),
}
