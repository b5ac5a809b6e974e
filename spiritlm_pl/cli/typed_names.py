"""Names of arguments in messages, as a user types them: `--num-jobs must ...` in place of `num_jobs must ...`.

Only what a message begins with is taken for an argument, or what follows `vocoder 'x' does not fit: `. Where a file
holds something wrong, its path stands first, as in `own.yaml: text must ...`: its fields may have names of arguments.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from spiritlm_pl.runtime.foreign_texts import PARSER_DETAILS

BETWEEN = re.compile(r", | and | or | \+ ")
OF_MANY = ("checkpoint", "config", "dtype")  # such as the checkpoint of `--ckpt-path`
NAME = r"\w+(?:\.\w+)*"  # of a setting within another, as `optimizer.lr`
NAMES = rf"{NAME}(?:(?:{BETWEEN.pattern}){NAME})*"
REASON = re.compile(r"^(?P<mark> *- )(?P<text>.*)$", re.MULTILINE)
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
    names = re.sub(NAME, lambda word: typed.get(word[0], word[0]), found["names"])
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
            typed = settings_of(config)
            text = error.args[0]
            if text.startswith(PARSER_DETAILS):  # the parser's list of reasons, one of which is the rule
                text = REASON.sub(lambda reason: reason["mark"] + spelt(reason["text"], typed), text)
            error.args = (spelt(text, typed),)
        raise


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return how settings are typed, by their names; those that several parts of a configuration have are left out.

    A setting within another is known with any number of those above it, as `optimizer.muon_lr`; by its own name alone
    if no part of the configuration has a setting of this name itself, and it is none that messages have for other
    things (`OF_MANY`). Of a list of callbacks, options reach the last one alone.

    Args:
        config: configuration of a trainer's subcommand.
    """
    trainer = config.get("trainer") or {}
    callbacks = trainer.get("callbacks") or []
    *others, last = callbacks if isinstance(callbacks, list) and callbacks else [callbacks or {}]
    own: list[tuple[str, str]] = []
    within: list[tuple[str, str]] = []
    for callback in others:
        kind = str(callback.get("class_path", "")).rpartition(".")[2]
        own += [(name, f"{name} of the callback {kind}") for name in _arguments(callback)]
    for place, settings in (
        ("trainer", {**trainer, "callbacks": None}),
        ("model.init_args", _arguments(config.get("model"))),
        ("data.init_args", _arguments(config.get("data"))),
        ("trainer.callbacks.init_args", _arguments(last)),
    ):
        for path in _paths(settings):
            typed = f"--{place}.{'.'.join(path)}"
            own += [(path[0], typed)] if len(path) == 1 else []
            within += [(name, typed) for name in _names((*place.split("."), *path))]
    alone = {*OF_MANY, *dict(own)}
    return {**_of_one([pair for pair in within if pair[0] not in alone]), **_of_one(own)}


def _paths(settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the names that lead to each setting, at any depth."""
    for name, value in settings.items():
        yield (str(name),)
        if isinstance(value, Mapping):
            yield from ((str(name), *below) for below in _paths(value))


def _names(path: tuple[str, ...]) -> set[str]:
    """Return the names that a message may have for a setting: its own, with any number of those above it."""
    plain = tuple(name for name in path if name != "init_args")
    return {".".join(names[first:]) for names in (path, plain) for first in range(len(names))}


def _of_one(found: list[tuple[str, str]]) -> dict[str, str]:
    """Keep the names that one setting alone has."""
    counts = Counter(name for name, _ in found)
    return {name: typed for name, typed in found if counts[name] == 1}


def _arguments(part: Any) -> Mapping[str, Any]:
    return (part or {}).get("init_args") or {}
