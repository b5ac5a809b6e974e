"""What a quickstart makes again, told before it begins, and what it leaves alone: results that are not its own."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from spiritlm_pl.quickstart.plan import Variant, quickstart_stages
from spiritlm_pl.quickstart.recipe import differences, recipe_of, shortened
from spiritlm_pl.quickstart.stage import Stage, stage_keys

Plan: TypeAlias = dict[str, tuple[Stage, str]]  # stages and their keys by their names


def check_own(stages: Sequence[Stage], keys: Mapping[str, str]) -> None:
    """Refuse results of finished stages that another command has replaced, whose figures would be taken for theirs.

    Args:
        stages: all stages of the quickstart.
        keys: their keys by their names.

    Raises:
        ValueError: if there is one.
    """
    for stage in stages:
        stamp = stage.stamp()
        if stamp is None or stamp["key"] != keys[stage.name]:  # nothing that is kept
            continue
        gone = stage.gone()
        for path in stage.changed():
            if path in stage.makes and path not in gone:
                more = " and ".join((path, *stage.run_folders))
                raise ValueError(
                    f"{path} must be what the quickstart has made there ({stage.title}), but another command has "
                    f"replaced it since: move {more} elsewhere, and the stage is made again"
                )


def changes_line(variant: Variant, stages: Sequence[Stage], keys: Mapping[str, str]) -> str:
    """Return a line of what has changed, and which stages are made again or begin anew for that; empty if none does.

    What has changed are settings of the quickstart, else values of configurations and words of commands, else results.

    Args:
        variant: variant of the quickstart.
        stages: all its stages.
        keys: their keys by their names.
    """
    again = [stage for stage in stages if stage.replaces(keys[stage.name])]
    if not again:
        return ""
    plans: dict[tuple[Any, ...], Plan | None] = {}  # by their settings, which are those of an earlier run

    def planned(settings: Mapping[str, Any]) -> Plan | None:
        values = tuple(settings.values())
        if values not in plans:
            plans[values] = _plan(variant, settings)
        return plans[values]

    options: dict[str, str] = {}
    recipes: list[str] = []
    for stage in again:
        stamp = stage.stamp() or {}
        earlier = {name: value for name, value in (stamp.get("settings") or {}).items() if name in stage.settings}
        for name, value in earlier.items():
            if value == stage.settings[name]:
                continue
            plan = planned({**stage.settings, name: value})
            if plan is None or plan[stage.name][1] != keys[stage.name]:  # the stage depends on it
                options.setdefault(name, f"--{name} is {stage.settings[name]} instead of {value}")
        plan = planned({**stage.settings, **earlier}) if "recipe" in stamp else None
        if plan is not None:  # what the settings do not explain
            then = plan[stage.name][0]
            recipes += differences(stamp["recipe"], recipe_of(then.commands, then.configs))
    gone = dict.fromkeys(path for stage in again for path in stage.gone())
    reasons = [*options.values(), *shortened(recipes), *(f"nothing is at {path} any more" for path in gone)]
    if not reasons:
        others = dict.fromkeys(path for stage in again for path in stage.changed())
        reasons = [f"{path} is another than before" for path in others]
    why = ", ".join(reasons) or "settings, configurations or results are others than before"
    first = why[0].upper() if why.startswith(("nothing is", "settings, ")) else why[0]  # names stay as they are
    finished = "; ".join(stage.title for stage in again if stage.stamp() is not None)
    begun = "; ".join(stage.title for stage in again if stage.stamp() is None)
    told = [f"these stages are made again, and their results replaced: {finished}"] if finished else []
    told += [f"{'T' if finished else 't'}raining that was begun begins anew: {begun}"] if begun else []
    return f"{first}{why[1:]}: {'. '.join(told)}."


def _plan(variant: Variant, settings: Mapping[str, Any]) -> Plan | None:
    """Return all stages with these settings and their keys by their names; None where their source is gone."""
    try:
        stages = quickstart_stages(variant, **settings)
    except ValueError:
        return None
    keys = stage_keys(stages)
    return {stage.name: (stage, keys[stage.name]) for stage in stages}
