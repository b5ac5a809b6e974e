"""What a quickstart makes again because of other settings than those of the runs before, told before it begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from spiritlm_pl.quickstart.plan import Variant, quickstart_stages
from spiritlm_pl.quickstart.stage import Stage, stage_keys


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
    why = ", ".join(changed.values()) or "settings or configurations are others than before"
    titles = "; ".join(stage.title for stage in again)
    return f"{why[0].upper()}{why[1:]}: these stages are made again, and their results replaced: {titles}."


def _keys(variant: Variant, settings: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the keys of all stages with these settings; None where their source is gone."""
    try:
        return stage_keys(quickstart_stages(variant, **settings))
    except ValueError:
        return None
