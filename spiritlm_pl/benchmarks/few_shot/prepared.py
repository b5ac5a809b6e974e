"""Corpora of `spiritlm prepare`, such as those of lhotse's recipes and manifests, and tables of recordings."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from spiritlm_pl.benchmarks.few_shot.examples import Corpus, Example, Split
from spiritlm_pl.benchmarks.readers.files import unique_name
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, named, read_info
from spiritlm_pl.corpora.plain_tables import Table, broken_row, column_names, read_table


def find_prepared(folder: Path) -> Corpus | None:
    """Return the corpus of `spiritlm prepare` in a folder; None if there is none."""
    info = read_info(folder)
    if info is None:
        return None
    splits = {split: partial(_of_cuts, folder, split) for split in SPLITS if info["utterances"].get(split)}
    return Corpus("corpus", splits, ["test"] if "test" in splits else [], "train" if "train" in splits else None)


def _of_cuts(folder: Path, split: str) -> Split:
    examples, skipped = [], []
    for cut in load_cuts(folder, split):
        text = (cut.supervisions[0].text or "").strip() if cut.supervisions else ""
        if text:
            examples.append(Example(cut.id, cut, text, language=cut.supervisions[0].language or ""))
        else:
            skipped.append(Skipped(cut.id, str(folder), f"cut {cut.id} must have a text, but has none"))
    return Split(examples, skipped)


def find_table(folder: Path, value: str) -> Corpus | None:
    """Return the corpus of a table with the columns path, split and that of what is asked for; None if there is none.

    Args:
        folder: folder of the table, which paths in it are relative to.
        value: column of what is asked for: text or label.

    Raises:
        ValueError: if the folder has several such tables.
    """
    needed = ("path", value, "split")
    places = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    tables = [path for path in places if set(needed) <= set(column_names(path))]
    if len(tables) > 1:
        several = ", ".join(path.name for path in tables)
        raise ValueError(f"{folder} must hold one table with {', '.join(needed)}, but holds {several}")
    if not tables:
        return None
    table = read_table(tables[0], needed)
    names = sorted({row.cells["split"] for row in table.rows if named(row.cells["split"])})
    tests = [name for name in names if name.lower().startswith("test")]
    trains = [name for name in names if name.lower().startswith("train")]
    splits = {name: partial(_of_table, table, name, value) for name in names}
    return Corpus("table", splits, tests, next(iter(trains), None))


def _of_table(table: Table, split: str, value: str) -> Split:
    examples: list[Example] = []
    skipped = list(table.broken)
    seen: dict[str, int] = {}
    for row in table.rows:
        if row.cells["split"] != split:
            if not named(row.cells["split"]):
                skipped.append(broken_row(table.path, row.line, "it has no split"))
            continue
        path = table.path.parent / row.cells["path"]
        missing = [name for name in ("path", value) if not named(row.cells[name])]
        if missing:
            skipped.append(broken_row(table.path, row.line, f"it has no {', '.join(missing)}"))
        elif not path.is_file():
            skipped.append(broken_row(table.path, row.line, f"{path} is missing"))
        else:
            name = unique_name(row.cells["path"], seen)
            label = row.cells[value] if value == "label" else row.cells.get("label", "")
            examples.append(Example(name, path, row.cells.get("text", ""), label))
    return Split(examples, skipped)


def chosen(names: Sequence[str], known: Sequence[str], option: str) -> None:
    """Raise a ValueError if a split that an option names is not there."""
    for name in names:
        if name not in known:
            raise ValueError(f"{option} must be among {', '.join(known)}, but is {name!r} instead")
