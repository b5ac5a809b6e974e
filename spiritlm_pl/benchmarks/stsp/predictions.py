"""Prediction files of STSP: `id` and `pred` a line, written, and scored against references without a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.items import AnswerLine, Figure
from spiritlm_pl.benchmarks.readers.files import listed, unique_name
from spiritlm_pl.benchmarks.stsp.archive import own_id, read_rows
from spiritlm_pl.benchmarks.stsp.figures import pair_figures
from spiritlm_pl.benchmarks.stsp.items import predicted, reference_label
from spiritlm_pl.benchmarks.stsp.labels import OTHER, LabelMap
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.corpora.manifest import write_jsonl


def write_predictions(folder: Path, lines: Sequence[AnswerLine]) -> list[Path]:
    """Write a file of predictions for each manifest or corpus, and return their paths; `pred` is null for no answer.

    Args:
        folder: folder to write to.
        lines: judged answers.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        row = {"id": line.labels["own_id"], "pred": predicted(line) or None}
        rows.setdefault(str(line.labels["corpus"]), []).append(row)
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[str, int] = {}
    files = {corpus: folder / f"{unique_name(plain_name(corpus), seen)}.jsonl" for corpus in rows}
    for corpus, found in rows.items():
        write_jsonl(files[corpus], found)
    return list(files.values())


def read_pairs(references: Path, predictions: Path, names: LabelMap) -> tuple[list[tuple[str, str]], list[str]]:
    """Read references and predictions, and pair them by their ids, which are compared as text.

    Args:
        references: manifest with `id`, and `sentiment` or `emotion`.
        predictions: file with `id` and `pred`; null or an empty text is no answer, which is wrong.
        names: map from names to labels.

    Returns:
        Labels of references and predictions, and the ids of references without a prediction.

    Raises:
        ValueError: if a row is broken, an id comes twice, a prediction is of no reference, or none is of any.
    """
    labels = _by_id(references, lambda row: _reference(row, names))
    found = _by_id(predictions, lambda row: _prediction(row, names))
    extra = [name for name in found if name not in labels]
    if extra:
        raise ValueError(f"{predictions} must have ids of {references}, but has others: {listed(extra)}")
    pairs = [(label, found[name]) for name, label in labels.items() if name in found]
    if not pairs:
        raise ValueError(f"{predictions} must have a prediction, but has none")
    return pairs, [name for name in labels if name not in found]


def score_predictions(references: Path, predictions: Path, names: LabelMap) -> tuple[list[Figure], list[str]]:
    """Return the figures of a prediction file, and the ids of references that it lacks.

    `all` is over the predictions that are there; `missing_as_wrong` counts a missing one as wrong.

    Raises:
        ValueError: as `read_pairs`.
    """
    pairs, missing = read_pairs(references, predictions, names)
    figures = pair_figures(pairs, sorted({one for pair in pairs for one in pair} - {"", OTHER}))
    if missing:
        whole = pair_figures(pairs + [(label, "") for label in _labels_of(missing, references, names)], [])[0]
        figures.insert(1, Figure("missing_as_wrong", whole.value, whole.low, whole.high, whole.count))
    return figures, missing


def _labels_of(wanted: Sequence[str], references: Path, names: LabelMap) -> list[str]:
    labels = _by_id(references, lambda row: _reference(row, names))
    return [labels[name] for name in wanted]


def _by_id(file: Path, read: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in read_rows(file):
        try:
            if isinstance(row, ValueError):
                raise row
            name = str(own_id(row))
            if name in found:
                raise ValueError(f"id {name} comes twice")
            found[name] = read(row)
        except ValueError as error:
            raise ValueError(f"line {number} of {file}: {error}") from None
    if not found:
        raise ValueError(f"{file} must hold a JSON object with an id a line, but is empty")
    return found


def _reference(row: Mapping[str, Any], names: LabelMap) -> str:
    label, told = reference_label(row, names)
    if label is None:
        raise ValueError(f"{names.kind} must have a label, but is {told}: map it by --labels")
    return label


def _prediction(row: Mapping[str, Any], names: LabelMap) -> str:
    if "pred" not in row:
        raise ValueError("pred is missing")
    if row["pred"] in (None, ""):
        return ""
    label = names.label(row["pred"])
    if label is None:
        raise ValueError(f"pred must have a label, but is {row['pred']!r}: map it by --labels")
    return label
