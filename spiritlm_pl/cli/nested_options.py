"""Options of classes that a configuration names: which one was probably meant, and where it stands."""

from collections.abc import Sequence
from difflib import get_close_matches
from pkgutil import resolve_name

from jsonargparse import ArgumentParser

from spiritlm_pl.runtime.foreign_texts import OF_NONE, UNKNOWN_IN_CLASS

OF_PARSERS = ("help", "print_shtab")
OF_CLASSES = ("init_args", "class_path")  # what stands beside the options of a class in a configuration


def nested_advice(text: str, words: Sequence[str]) -> str | None:
    """Describe an option that a class of the configuration does not have; None if the error is another one.

    Args:
        text: the parser's own text of the error.
        words: words of the command line, of which one may have the option.
    """
    found = [*UNKNOWN_IN_CLASS.finditer(text)]
    if not found or _has_alternatives(text):
        return None
    kind, name = found[-1]["kind"], found[-1]["named"] or found[-1]["named_at"]  # of the innermost class
    typed = next((word.partition("=")[0] for word in words if _ends_with(word.partition("=")[0], name)), name)
    before = typed.removesuffix(name)
    known = _options(kind)
    near = _nearest(name, known)
    meant = f"did you mean {before}{near}?" if near else f"it has {', '.join(known)}"
    return f"{typed} is not an option of {kind}; {meant}"


def _has_alternatives(text: str) -> bool:
    """Whether a value could have been of several classes, of which the one that was meant is not known."""
    reasons = [line for line in text.splitlines() if line.lstrip().startswith("- ")]
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
