"""Size of a quickstart: what is too small for any training, and what was too small when a stage has failed."""

from spiritlm_pl.quickstart.plan import Variant, variables
from spiritlm_pl.quickstart.stage import Stage
from spiritlm_pl.runtime.limits import check_budget

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


def too_small_line(variant: Variant, failed: Stage | None, budget: float, stories: int) -> str:
    """Return a line that says that the units have collapsed, which lets later stages fail; empty if they have not.

    Of a stage that does not read the units it says nothing: there may be those of an earlier size.

    Args:
        variant: variant of the quickstart.
        failed: stage that has failed, once all that it needs was finished; None if no stage has.
        budget: factor of its numbers of training steps.
        stories: its number of stories.
    """
    units = f"{variables(variant)['units']}/stories"
    if failed is None or units not in failed.reads:
        return ""
    from spiritlm_pl.data.unit_corpus import UnitCorpus  # once the first stages do not wait
    from spiritlm_pl.evaluation.codes import code_report
    from spiritlm_pl.quickstart.report import COLLAPSED

    try:
        found = code_report(UnitCorpus(units, "validation"))["kinds"]["units"]
    except Exception:  # whatever is wrong with the units, what has ended the stage is told
        return ""
    if found["use"] >= COLLAPSED:
        return ""
    return (
        f"budget and stories must be large enough for units that tell sounds apart, but with --budget {budget:g} "
        f"--stories {stories} only {found['used']} of {found['size']} units occur in the stories kept for validation: "
        "give more of either"
    )
