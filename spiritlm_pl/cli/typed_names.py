"""Names of arguments in messages, as a user types them: `--num-jobs must ...` in place of `num_jobs must ...`.

Only what a message begins with is taken for an argument, or what follows `vocoder 'x' does not fit: `. Where a file
holds something wrong, its path stands first, as in `own.yaml: text must ...`: its fields may have names of arguments.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

BETWEEN = re.compile(r", | and | or | \+ ")
NAMES = rf"\w+(?:(?:{BETWEEN.pattern})\w+)*"
FIRST = r"(?:\w+ .*? does not fit: )?"
RULE = re.compile(rf"(?P<before>{FIRST})(?P<names>{NAMES})(?= must )", re.DOTALL)


def spelt(message: str, typed: Mapping[str, str]) -> str:
    """Return a message with the names that its rule is about as they are typed; as it is, if one of them is not known.

    Args:
        message: message such as `num_jobs must be at least 1, but is 0 instead`.
        typed: how each argument is typed, by its name.
    """
    found = RULE.match(message)
    if found is None or not all(name in typed for name in BETWEEN.split(found["names"])):
        return message
    names = re.sub(r"\w+", lambda word: typed.get(word[0], word[0]), found["names"])
    return found["before"] + names + message[found.end() :]


@contextmanager
def settings_spelt(config: Mapping[str, Any]) -> Iterator[None]:
    """Name arguments in errors as settings of a trainer's configuration: `--data.init_args.corpora must ...`.

    Args:
        config: configuration of the subcommand, with `model`, `data` and `trainer`.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (spelt(error.args[0], settings_of(config)),)
        raise


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return how settings are typed, by their names; those that several parts of a configuration have are left out.

    Of a list of callbacks, options reach the last one alone.

    Args:
        config: configuration of a trainer's subcommand.
    """
    trainer = config.get("trainer") or {}
    found = [(name, f"--trainer.{name}") for name in trainer]
    for part in ("model", "data"):
        found += [(name, f"--{part}.init_args.{name}") for name in _arguments(config.get(part))]
    callbacks = trainer.get("callbacks") or []
    *others, last = callbacks if isinstance(callbacks, list) and callbacks else [callbacks or {}]
    for callback in others:
        kind = str(callback.get("class_path", "")).rpartition(".")[2]
        found += [(name, f"{name} of the callback {kind}") for name in _arguments(callback)]
    found += [(name, f"--trainer.callbacks.init_args.{name}") for name in _arguments(last)]
    counts = Counter(name for name, _ in found)
    return {name: typed for name, typed in found if counts[name] == 1}


def _arguments(part: Any) -> Mapping[str, Any]:
    return (part or {}).get("init_args") or {}
