"""Size of a quickstart: what is too small for any training, and what was too small once units or a failure show it."""

from typing import Any

from spiritlm_pl.quickstart.plan import Variant, variables
from spiritlm_pl.quickstart.stage import Stage
from spiritlm_pl.runtime.limits import check_budget

# Budget and stories with which all sounds became one unit, as with 60 stories (synthetic source, one run each).
COLLAPSED_WITH = (0.02, 100)
LEAST_STORIES = 30  # of fewer, `prepare stories` keeps one for validation, where language models choose among two


def check_size(budget: float, stories: int) -> None:
    """Refuse sizes with which no quickstart can end, before the first stage begins.

    Raises:
        ValueError: if there is nothing to train for, or fewer than two stories to validate on.
    """
    check_budget(budget)
    if stories < LEAST_STORIES:
        raise ValueError(
            f"stories must be at least {LEAST_STORIES}, so that two of them are kept for validation, "
            f"but is {stories} instead"
        )


def warning_line(budget: float, stories: int) -> str:
    """Return a line that warns before anything is trained of sizes with which units have collapsed; empty if none is.

    Args:
        budget: factor of the numbers of training steps.
        stories: number of stories.
    """
    least, few = COLLAPSED_WITH
    if budget > least or stories > few:
        return ""
    return (
        f"Warning: --budget {budget:g} and --stories {stories} may be too small: with {least:g} and {few} all sounds "
        "became one unit. Where that happens, the command ends once the units are made."
    )


def check_units(variant: Variant, stage: Stage, budget: float, stories: int) -> str:
    """Look at the units that a stage has made, before the next ones are trained on them for minutes.

    Args:
        variant: variant of the quickstart.
        stage: stage that is finished.
        budget: factor of its numbers of training steps.
        stories: its number of stories.

    Returns:
        A line that says that the units have collapsed; empty if they have not, or the stage makes none.

    Raises:
        ValueError: if there is one unit alone, with which no story can be cut, so that a later stage is sure to fail.
    """
    found = _units(variant) if _place(variant) in stage.makes else None
    line = _line(found, budget, stories)
    if line and found is not None and found["used"] <= 1:
        raise ValueError(line)
    return line


def too_small_line(variant: Variant, failed: Stage | None, budget: float, stories: int) -> str:
    """Return a line that says that the units have collapsed, which lets later stages fail; empty if they have not.

    Of a stage that does not read the units it says nothing: there may be those of an earlier size.

    Args:
        variant: variant of the quickstart.
        failed: stage that has failed, once all that it needs was finished; None if no stage has.
        budget: factor of its numbers of training steps.
        stories: its number of stories.
    """
    if failed is None or _place(variant) not in failed.reads:
        return ""
    return _line(_units(variant), budget, stories)


def _place(variant: Variant) -> str:
    return f"{variables(variant)['units']}/stories"


def _units(variant: Variant) -> dict[str, Any] | None:
    """Return how many units occur in the stories kept for validation; None where this cannot be told."""
    from spiritlm_pl.data.unit_corpus import UnitCorpus  # once the first stages do not wait
    from spiritlm_pl.evaluation.codes import code_report

    try:
        found: dict[str, Any] = code_report(UnitCorpus(_place(variant), "validation"))["kinds"]["units"]
    except Exception:  # whatever is wrong with the units, the stage that reads them tells it
        return None
    return found


def _line(found: dict[str, Any] | None, budget: float, stories: int) -> str:
    from spiritlm_pl.quickstart.report import COLLAPSED

    if found is None or found["use"] >= COLLAPSED:
        return ""
    return (
        "--budget and --stories must be large enough for units that tell sounds apart, but with --budget "
        f"{budget:g} --stories {stories} only {found['used']} of {found['size']} units occur in the stories kept for "
        "validation: give more of either"
    )
