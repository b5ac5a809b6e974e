"""What a stage ran, as its stamp keeps it, so that a later run can name what differs: commands and configurations."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.configs import config_files, config_folder

Recipe = dict[str, Any]  # as JSON has it: "commands", and "configs" with their values by name
MOST = 3  # differences that are named
LENGTH = 60  # characters of a value that are shown


def recipe_of(commands: Sequence[Sequence[str]], configs: Iterable[str]) -> Recipe:
    """Return the commands, and the values of the configurations that they name with all parts of these.

    Args:
        commands: commands in the order in which they run.
        configs: names of their configurations.
    """
    found = {_name(path): values for name in configs for path, values in config_files(name).items()}
    plain: Recipe = json.loads(json.dumps({"commands": commands, "configs": found}, default=str))
    return plain


def differences(before: Recipe, now: Recipe) -> list[str]:
    """Return what is another now, such as `trainer.max_steps of lm/base_quickstart is 400 instead of 500`."""
    found = []
    for number in range(max(len(before["commands"]), len(now["commands"]))):
        one, other = (recipe["commands"][number : number + 1] or [[]] for recipe in (before, now))
        gone, added = ([word for word in a[0] if word not in b[0]] for a, b in ((one, other), (other, one)))
        if gone or added:
            found.append(f"`{(other[0] or one[0])[0]}` has {_words(added)} instead of {_words(gone)}")
    values, wanted = (dict(_flat(recipe["configs"])) for recipe in (before, now))
    for key in dict.fromkeys((*values, *wanted)):
        if values.get(key) != wanted.get(key):
            config, _, setting = key.partition(":")
            new, old = (one.get(key, "left out")[:LENGTH] for one in (wanted, values))
            found.append(f"{setting} of {config} is {new} instead of {old}")
    return found


def shortened(found: Iterable[str]) -> list[str]:
    """Return the first of some differences, each once, and how many more there are."""
    each = list(dict.fromkeys(found))
    return [*each[:MOST], *([f"{len(each) - MOST} more values are others"] if len(each) > MOST else [])]


def _name(path: Path) -> str:
    """Return the name of a shipped configuration, such as `lm/base_quickstart`, or the path of another file."""
    root = config_folder().resolve()
    return str(path.relative_to(root).with_suffix("")) if path.is_relative_to(root) else str(path)


def _flat(values: object, name: str = "") -> Iterable[tuple[str, str]]:
    """Yield name and text of all single values, with the names of what they are in, after that of the configuration."""
    inner: Iterable[tuple[Any, Any]] | None
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else None
    if inner is None or not values:
        yield name, json.dumps(values)
        return
    for key, value in inner:
        yield from _flat(value, f"{name}{'' if not name else '.' if ':' in name else ':'}{key}")


def _words(words: Sequence[str]) -> str:
    return " ".join(words)[:LENGTH] or "nothing"
