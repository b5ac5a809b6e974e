"""Size of a quickstart: what is too small for any training, and what was too small when a stage has failed."""

from spiritlm_pl.quickstart.plan import Variant, variables
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


def too_small_line(variant: Variant, budget: float, stories: int) -> str:
    """Return a line that says that the units have collapsed, which lets later stages fail; empty if they have not.

    Args:
        variant: variant of the quickstart.
        budget: factor of its numbers of training steps.
        stories: its number of stories.
    """
    from spiritlm_pl.data.unit_corpus import UnitCorpus  # once the first stages do not wait
    from spiritlm_pl.evaluation.codes import code_report
    from spiritlm_pl.quickstart.report import COLLAPSED

    try:
        found = code_report(UnitCorpus(f"{variables(variant)['units']}/stories", "validation"))["kinds"]["units"]
    except (FileNotFoundError, ValueError):  # it has failed before there were units, or has none
        return ""
    if found["use"] >= COLLAPSED:
        return ""
    return (
        f"budget and stories must be large enough for units that tell sounds apart, but with --budget {budget:g} "
        f"--stories {stories} only {found['used']} of {found['size']} units occur in the stories kept for validation: "
        "give more of either"
    )
