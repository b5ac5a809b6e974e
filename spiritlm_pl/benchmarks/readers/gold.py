"""Pairs of a `gold.csv` with right and wrong rows, whose recordings lie beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from spiritlm_pl.benchmarks.items import ChoiceItem, Labels, Reading
from spiritlm_pl.benchmarks.readers.cells import is_right
from spiritlm_pl.benchmarks.readers.files import audio_by_stem, listed, unique_name
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.manifest import named
from spiritlm_pl.corpora.plain_tables import Row, broken_row, read_table
from spiritlm_pl.generation.types import Piece, Speech, Text

Mode: TypeAlias = Literal["speech", "text"]
MODES: tuple[Mode, ...] = ("speech", "text")
_Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GoldFormat:
    """Columns of a table of pairs.

    Args:
        layout: name of the layout.
        key: columns that the right and the wrong row of a pair share, besides the voice.
        columns: further columns that the labels are read from.
        text: column of the text; None if there is none.
        labels: function that reads the labels of a pair from the cells of its right and of its wrong row; a ValueError
            says why the pair cannot be used.
        in_order: whether the official scorer pairs right and wrong rows in the order of the file; rows are so here if
            no two share a key, and a note tells where the order gives other pairs than the key.
    """

    layout: str
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()
    text: str | None
    labels: Callable[[Mapping[str, str], Mapping[str, str]], Labels]
    in_order: bool = False


def check_mode(mode: str) -> None:
    """Raise a ValueError if items can be given in no such mode."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, but is {mode!r} instead")


def read_gold(path: Path, files: Sequence[Path], form: GoldFormat, mode: Mode) -> Reading:
    """Read the pairs of a table.

    Args:
        path: path of `gold.csv`.
        files: files that lie beside it, among them the recordings.
        form: columns of the table.
        mode: "speech" for the recordings, "text" for what is said in them, each text once.

    Raises:
        ValueError: if a column is missing, or no pair can be read.
    """
    wanted = (form.text,) if mode == "text" and form.text else ()
    table = read_table(path, ("filename", *form.key, *form.columns, "correct", *wanted))
    skipped = list(table.broken)
    rows: list[tuple[Row, bool]] = []
    for row in table.rows:
        try:
            rows.append((row, is_right(row.cells["correct"])))
        except ValueError as error:
            skipped.append(broken_row(path, row.line, str(error)))
    source = _Source(path, audio_by_stem(files), form, mode)
    groups = _groups(rows, form)
    if () in groups and skipped:
        raise ValueError(
            f"rows of {path} are paired in their order, so that each must be there, but {skipped[0].reason}"
        )
    pairs: list[tuple[Row, Row]] = []
    for ours, theirs in groups.values():
        if len(ours) == len(theirs):
            pairs += zip(ours, theirs, strict=True)
        else:
            skipped.append(source.unequal(ours, theirs))
    pairs.sort(key=lambda pair: min(pair[0].line, pair[1].line))
    items: list[ChoiceItem] = []
    seen: dict[str, int] = {}
    said: set[_Key] = set()
    for right, wrong in pairs:
        name = source.name(right)
        if form.text and mode == "text":
            if (texts := (name, right.cells[form.text], wrong.cells[form.text])) in said:
                continue  # in another voice
            said.add(texts)
        item_id = unique_name(name, seen)
        try:
            items.append(source.item(item_id, right, wrong))
        except ValueError as error:
            skipped.append(Skipped(item_id, str(path), f"pair {item_id} of {path} cannot be used: {error}"))
    if not items:
        why = f": {skipped[0].reason}" if skipped else ""
        raise ValueError(f"{path} must name pairs that can be read, but none of its {len(pairs)} can{why}")
    notes = _order_note(path, rows, pairs) if form.in_order else []
    return Reading(items, form.layout, skipped, [*notes, *source.extra(rows)])


def _groups(rows: Sequence[tuple[Row, bool]], form: GoldFormat) -> dict[_Key, tuple[list[Row], list[Row]]]:
    """Return the right and the wrong rows of each key; all rows with the key () if they are paired in their order."""
    groups: dict[_Key, tuple[list[Row], list[Row]]] = {}
    for row, right in rows:
        key = (row.cells.get("voice", ""), *(row.cells[name] for name in form.key))
        groups.setdefault(key, ([], []))[0 if right else 1].append(row)
    if form.in_order and groups and not any(right and wrong for right, wrong in groups.values()):
        return {(): ([row for row, right in rows if right], [row for row, right in rows if not right])}
    return groups


def _order_note(path: Path, rows: Sequence[tuple[Row, bool]], pairs: Sequence[tuple[Row, Row]]) -> list[str]:
    """Return a note if pairing the right with the wrong rows in their order would give other pairs."""
    right, wrong = ([row.line for row, kind in rows if kind is wanted] for wanted in (True, False))
    ours = {(one.line, other.line) for one, other in pairs}
    others = sum(pair not in ours for pair in zip(right, wrong, strict=False))
    if not others:
        return []
    return [
        f"{path} has right and wrong rows in different orders: pairs are found by their columns, and a scorer that "
        f"pairs rows in order, as the official one does, would form {others} other pairs"
    ]


@dataclass(frozen=True)
class _Source:
    """What the pairs of a table are made from."""

    path: Path
    audio: Mapping[str, Path]
    form: GoldFormat
    mode: Mode

    def name(self, row: Row) -> str:
        voice = named(row.cells.get("voice")) if self.mode == "speech" else ""
        return "/".join([*([voice] if voice else []), *(row.cells[name] for name in self.form.key)])

    def unequal(self, right: Sequence[Row], wrong: Sequence[Row]) -> Skipped:
        """Return the entry of rows that are no pair."""
        lines = listed([str(row.line) for row in (*right, *wrong)])
        reason = f"a pair must have as many right as wrong rows, but it has {len(right)} right and {len(wrong)} wrong"
        name = self.name([*right, *wrong][0])
        return Skipped(name, str(self.path), f"pair {name} of {self.path} (line {lines}) cannot be used: {reason}")

    def item(self, item_id: str, right: Row, wrong: Row) -> ChoiceItem:
        labels = self.form.labels(right.cells, wrong.cells)
        if right.cells.get("voice") != wrong.cells.get("voice"):
            raise ValueError(f"its rows are of different voices, {right.cells['voice']} and {wrong.cells['voice']}")
        if self.mode == "speech":
            labels = {**labels, "voice": named(right.cells.get("voice")) or None}
        names = (_stem(right), _stem(wrong))
        return ChoiceItem(item_id, (), (self.piece(right),), (self.piece(wrong),), labels, names)

    def piece(self, row: Row) -> Piece:
        if self.mode == "speech":
            found = self.audio.get(_stem(row))
            if found is None:
                raise ValueError(f"{row.cells['filename']} (line {row.line}) has no audio file in {self.path.parent}")
            return Speech(found)
        text = row.cells[self.form.text] if self.form.text else ""
        if text in ("", "nan", "NaN"):  # "none" and "null" are words
            raise ValueError(f"line {row.line} has no {self.form.text or 'text'}")
        return Text(text)

    def extra(self, rows: Sequence[tuple[Row, bool]]) -> list[str]:
        known = {_stem(row) for row, _ in rows}
        left = sorted(stem for stem in self.audio if stem not in known)
        if not left or self.mode == "text":
            return []
        return [f"{self.path.parent} holds {len(left)} audio files that {self.path.name} does not name: {listed(left)}"]


def _stem(row: Row) -> str:
    name = row.cells["filename"].replace("\\", "/").rsplit("/", 1)[-1]
    return name[:-4] if name.lower().endswith(".wav") else name
