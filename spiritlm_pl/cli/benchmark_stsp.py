"""`spiritlm benchmark stsp-score`: predictions of sentiments scored against references, without a model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal


def score_stsp(
    references: Path,
    predictions: Path,
    label: Literal["sentiment", "emotion"] = "sentiment",
    labels: dict[str, str | None] | None = None,
    out: Path | None = None,
) -> None:
    """Score a file of predicted sentiments (STSP) against references, without a model.

    Both are JSON lines. References have `id`, and `sentiment` or `emotion`, as the archive's manifests; predictions
    have `id` and `pred`, as `spiritlm benchmark run` writes them to OUT/stsp/predictions. Ids are compared as text.

    Examples:
        spiritlm benchmark stsp-score stsp_data/manifest/emov/emov.test.jsonl results/mine/stsp/predictions/emov.jsonl
        spiritlm benchmark stsp-score emov.test.jsonl mine.jsonl --label emotion --labels '{joy: amused}'

    Args:
        references: manifest with the right labels.
        predictions: file with the predicted labels; null or an empty text is no answer, which is wrong.
        label: sentiment (happy and amused are positive, angry and sad negative, default neutral), or emotion as named.
        labels: further names with their labels, such as {joy: positive}; null for a name that is never right.
        out: JSON file for the figures, with a picture of the confusion matrix beside it; the terminal alone if left
            out.

    Raises:
        ValueError: if a row is broken or has no label, an id comes twice, or a prediction is of no reference.
    """
    from spiritlm_pl.benchmarks.stsp.figures import confusion
    from spiritlm_pl.benchmarks.stsp.labels import LabelMap
    from spiritlm_pl.benchmarks.stsp.predictions import read_pairs, score_predictions
    from spiritlm_pl.evaluation.interval import Estimate
    from spiritlm_pl.evaluation.tables import Figures, cell
    from spiritlm_pl.runtime.provenance import atomic_path

    names = LabelMap(label, labels or {})
    figures, missing = score_predictions(references, predictions, names)
    rows = [
        [one.name, str(one.count), cell(Estimate(one.value, one.low, one.high, one.count), ".1f")] for one in figures
    ]
    notes = [f"{len(missing)} references have no prediction: {', '.join(missing[:3])} ..."] if missing else []
    table = Figures(f"{predictions} against {references}", ["figure", "count", "%"], rows, notes)
    table.show()
    if out is not None:
        found = {"figures": [asdict(figure) for figure in figures], "missing": missing}
        with atomic_path(out) as path:
            path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        pairs, _ = read_pairs(references, predictions, names)
        confusion(pairs, predictions.name).savefig(out.with_suffix(".png"), dpi=130)
