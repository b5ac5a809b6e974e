"""Figures of benchmarks in the MLflow run that trained the model."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.lineage import read_note


def log_summary(model: Path, summary: Mapping[str, Any]) -> bool:
    """Log the figures of a summary as metrics `benchmark/NAME/WAY/FIGURE` of the run that made the language model.

    Args:
        model: model folder or folder of a language model.
        summary: summary that `run_benchmark` returned.

    Returns:
        Whether the figures were logged; a tracker that cannot be reached is a warning, as the results are on disk.
    """
    note = next(filter(None, map(read_note, (model / "lm", model))), None) if model.is_dir() else None
    if note is None or note.get("run_id") is None:
        return False
    metrics = {
        f"benchmark/{summary['benchmark']}/{way}/{_plain(figure['name'])}": figure["value"]
        for way, figures in summary["figures"].items()
        for figure in figures
    }
    try:
        from mlflow import MlflowClient

        client = MlflowClient(note["tracking_uri"])
        for name, value in metrics.items():
            client.log_metric(note["run_id"], name, value)
        client.log_dict(note["run_id"], dict(summary), f"benchmarks/{summary['benchmark']}.json")
    except Exception as error:  # of any kind of tracker
        warnings.warn(f"the figures could not be logged to MLflow run {note['run_id']}: {error}", stacklevel=2)
        return False
    return True


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)
