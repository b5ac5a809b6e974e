"""A measurement: `spiritlm evaluate run_lengths UNITS OUT`."""

from spiritlm_pl.cli.evaluate.report import Split, write_report
from spiritlm_pl.data.corpus_store import UnitCorpus


def run_lengths(units: str, out: str, split: Split = "test") -> None:
    """Measure how long units last, in frames.

    Args:
        units: a tokenised corpus.
        out: JSON file to write.
        split: which split to measure on.
    """
    frames = runs = 0
    for utterance in UnitCorpus(units, split):
        frames += utterance.num_frames
        runs += len(utterance.units)
    write_report(out, {"frames_per_run": frames / max(runs, 1), "runs": runs})
