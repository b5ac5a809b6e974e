"""Options of classes that a configuration names: which one was probably meant, and where it stands."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from jsonargparse import ArgumentParser

from spiritlm_pl.runtime.foreign_texts import UNKNOWN_IN_CLASS

OF_CLASSES = ("init_args", "class_path")  # what stands beside the options of a class in a configuration


def nested_advice(text: str, words: Sequence[str]) -> str | None:
    """Describe an option that a class of the configuration does not have; None if the error is another one.

    Args:
        text: the parser's own text of the error.
        words: words of the command line, of which one may have the option.
    """
    found = [*UNKNOWN_IN_CLASS.finditer(text)]
    if not found:
        return None
    kind, name = found[-1]["kind"], found[-1]["named"] or found[-1]["named_at"]  # of the innermost class
    typed = next((word.partition("=")[0] for word in words if _ends_with(word.partition("=")[0], name)), name)
    before = typed.removesuffix(name)
    near = _nearest(name, _options(kind))
    meant = f"did you mean {before}{near}?" if near else f"it has {', '.join(_options(kind))}"
    return f"{typed} is not an option of {kind}; {meant}"


def _ends_with(option: str, name: str) -> bool:
    return option.startswith("--") and re.split(r"\.", option[2:])[-len(name.split(".")) :] == name.split(".")


def _options(kind: str) -> list[str]:
    """Return the names of the arguments of a class, those of data classes in it with their paths."""
    from jsonargparse._util import import_object

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(import_object(kind), fail_untyped=False)
    return [action.dest for action in parser._actions if action.dest not in ("help", "print_shtab")]


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is nearest to a name, or to its beginning, with the rest of it."""
    whole = get_close_matches(name, known, n=1)
    if whole:
        return whole[0]
    first, dot, rest = name.partition(".")
    near = get_close_matches(first, [*dict.fromkeys(one.partition(".")[0] for one in known), *OF_CLASSES], n=1)
    return f"{near[0]}{dot}{rest}" if near and near[0] != first else None
