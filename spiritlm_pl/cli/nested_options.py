"""Options of classes and lists that a configuration has: which one was probably meant, and where it stands."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pkgutil import resolve_name

from jsonargparse import ArgumentParser

from spiritlm_pl.runtime.foreign_texts import OF_NONE, UNKNOWN_IN_CLASS

OF_ITEM = re.compile(r"(?P<list>--[A-Za-z][\w.-]*?)(?:\.\d+|\[\d+\])(?P<rest>(?:\.[A-Za-z_][\w.-]*)?)")
OF_PARSERS = ("help", "print_shtab")
OF_CLASSES = ("init_args", "class_path")  # what stands beside the options of a class in a configuration


def nested_advice(text: str, words: Sequence[str]) -> str | None:
    """Describe an option that a class of the configuration does not have; None if the error is another one.

    Args:
        text: the parser's own text of the error.
        words: words of the command line, of which one may have the option.
    """
    found = [*UNKNOWN_IN_CLASS.finditer(text)]
    bases = _bases({one["kind"] for one in found})
    found = [one for one in found if one["kind"] not in bases]
    if not found or _has_alternatives(text, bases):
        return None
    kind, name = found[-1]["kind"], found[-1]["named"] or found[-1]["named_at"]  # of the innermost class
    typed = next((word.partition("=")[0] for word in words if _ends_with(word.partition("=")[0], name)), name)
    before = typed.removesuffix(name)
    known = _options(kind)
    near = _nearest(name, known)
    meant = f"did you mean {before}{near}?" if near else f"it has {', '.join(known)}"
    return f"{typed} is not an option of {kind}; {meant}"


def item_advice(option: str) -> str | None:
    """Say how to change an item of a list, where an option has its number; None if it has none.

    Args:
        option: option as it was typed, without its value, such as `--trainer.callbacks.0.init_args.folder`.
    """
    found = OF_ITEM.fullmatch(option)
    if found is None:
        return None
    if not found["rest"]:
        return f"a list is given as a whole, as in {found['list']} '[a, b]'"
    return (
        f"{found['list']}{found['rest']} changes the last item of a list, and another one is changed in a file that "
        "has the whole list, given as a further --config"
    )


def _bases(kinds: set[str]) -> set[str]:
    """Return the classes of which others are subclasses: the parser tries a list's items, then one of its type."""
    classes = {kind: resolve_name(kind) for kind in kinds}
    return {
        kind
        for kind, one in classes.items()
        if any(isinstance(other, type) and one is not other and one in other.__mro__ for other in classes.values())
    }


def _has_alternatives(text: str, bases: set[str]) -> bool:
    """Whether a value could have been of several classes, of which the one that was meant is not known.

    Args:
        text: the parser's own text of the error.
        bases: classes that are not meant.
    """
    lines = [line for line in text.splitlines() if not any(f"class_path '{kind}'" in line for kind in bases)]
    reasons = [line for line in lines if line.lstrip().startswith("- ")]
    depths = [len(line) - len(line.lstrip()) for line in reasons if OF_NONE not in line]
    return depths != sorted({*depths})


def _ends_with(option: str, name: str) -> bool:
    parts = name.split(".")
    return option.startswith("--") and option[2:].split(".")[-len(parts) :] == parts


def _options(kind: str) -> list[str]:
    """Return the names of the arguments of a class, those of data classes in it with their paths."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(resolve_name(kind), fail_untyped=False)
    return [action.dest for action in parser._actions if action.dest.rpartition(".")[2] not in OF_PARSERS]


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is nearest; where it is the beginning that is unknown, with the rest as it is."""
    first, dot, rest = name.partition(".")
    beginnings = [*dict.fromkeys(one.partition(".")[0] for one in known), *OF_CLASSES]
    if first in beginnings:
        near = get_close_matches(name, known, n=1)
        return near[0] if near else None
    near = get_close_matches(first, beginnings, n=1)
    return f"{near[0]}{dot}{rest}" if near else None
