"""What a quickstart makes again, told before it begins, and what it leaves alone: results that are not its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from spiritlm_pl.quickstart.plan import Variant, quickstart_stages
from spiritlm_pl.quickstart.stage import Stage, stage_keys


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
    """Return a line of which settings have changed, and which stages are made again for that; empty if none is.

    Args:
        variant: variant of the quickstart.
        stages: all its stages.
        keys: their keys by their names.
    """
    again = [stage for stage in stages if stage.replaces(keys[stage.name])]
    if not again:
        return ""
    changed: dict[str, str] = {}
    others: dict[tuple[str, Any], Mapping[str, str] | None] = {}  # keys with one setting of an earlier run
    for stage in again:
        for name, value in ((stage.stamp() or {}).get("settings") or {}).items():
            wanted = stage.settings.get(name, value)
            if value == wanted:
                continue
            if (name, value) not in others:
                others[name, value] = _keys(variant, {**stage.settings, name: value})
            keys_before = others[name, value]
            if keys_before is None or keys_before[stage.name] != keys[stage.name]:  # the stage depends on it
                changed.setdefault(name, f"--{name} is {wanted} instead of {value}")
    gone = dict.fromkeys(path for stage in again for path in stage.gone())
    reasons = [*changed.values(), *(f"nothing is at {path} any more" for path in gone)]
    why = ", ".join(reasons) or "settings, configurations or results are others than before"
    titles = "; ".join(stage.title for stage in again)
    return f"{why[0].upper()}{why[1:]}: these stages are made again, and their results replaced: {titles}."


def _keys(variant: Variant, settings: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the keys of all stages with these settings; None where their source is gone."""
    try:
        return stage_keys(quickstart_stages(variant, **settings))
    except ValueError:
        return None
