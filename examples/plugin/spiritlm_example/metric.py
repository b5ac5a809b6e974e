"""A measurement: `spiritlm evaluate run_lengths UNITS OUT`."""

from spiritlm_pl.cli.evaluate.report import Split, write_report
from spiritlm_pl.data.unit_corpus import UnitCorpus


def run_lengths(units: str, out: str, split: Split = "test") -> None:
    """Measure how long units last, in frames.

    Args:
        units: folder of a tokenised corpus.
        out: JSON file to write.
        split: split to measure on: train, validation or test.
    """
    frames = runs = 0
    for utterance in UnitCorpus(units, split):
        frames += utterance.num_frames
        runs += len(utterance.units)
    write_report(out, {"frames_per_run": frames / max(runs, 1), "runs": runs})
