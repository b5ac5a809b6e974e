"""Layout of the help of commands: options in kebab-case, short types and defaults, examples at the end."""

import copy
import textwrap
from argparse import Action
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

METAVARS = {int: "N", float: "X"}
RULES = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "a text"}
LISTS = {str: "a list such as '[a, b]'", int: "a list of whole numbers such as '[1, 2]'"}
MAPPING = "a mapping such as '{name: value}'"


def shown_name(action: Action) -> str:
    """Return the name of an argument as help and messages show it: the first spelling of an option."""
    longest = [name for name in action.option_strings if name.startswith("--") and not name.endswith("+")]
    return longest[0] if longest else (action.option_strings or [action.dest.upper()])[0]


class HelpFormatter(DefaultHelpFormatter):
    """Formatter of the help of every command."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Fill paragraphs; those with indented lines, such as examples, stay as they are."""
        paragraphs = [
            part if any(line.startswith(" ") for line in part.splitlines()) else textwrap.fill(part, width)
            for part in text.split("\n\n")
        ]
        return textwrap.indent("\n\n".join(paragraphs), indent)

    def _format_action_invocation(self, action: Action) -> str:
        if isinstance(action.nargs, str) and action.nargs.startswith("A"):  # subcommands
            return super()._format_action_invocation(action)
        shown = copy.copy(action)
        if action.option_strings:
            short = [name for name in action.option_strings if not name.startswith("--")]
            shown.option_strings = [*short, shown_name(action)]
        elif action.metavar is None:
            shown.metavar = action.dest.upper()
        hint = type_of(action)
        if hint is bool and action.default is False:
            shown.nargs = 0
        elif hint in METAVARS:
            shown.metavar = METAVARS[hint]
        elif get_origin(hint) is Literal:
            shown.metavar = "{" + ",".join(map(str, get_args(hint))) + "}"
        if not action.option_strings and action.nargs is None and shown.metavar != (name := shown_name(action)):
            return f"{name}  {shown.metavar}"  # the name as in the usage, and how its value is written
        return super()._format_action_invocation(shown)

    def _get_help_string(self, action: Action) -> str:
        if not hasattr(action, "_typehint") or ("." in action.dest and type_of(action) not in RULES):
            return super()._get_help_string(action)
        text, default = action.help or "", action.default
        if not action.option_strings or default is None or default is False or "default" in text:
            return text
        told = ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{text.removesuffix('.')} (default: {told.lower() if default is True else told})"

    @staticmethod
    def rule(action: Action) -> str:
        """Describe in a few words which values an argument takes; return an empty text if that takes more."""
        rules = [_rule(hint) for hint in types_of(action)]
        return " or ".join(rules) if all(rules) else ""


def _rule(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    element = list_element(hint)
    if element is not None:
        return LISTS.get(element, LISTS[str])
    if get_origin(hint) is dict:
        return MAPPING
    return RULES.get(hint, "") if isinstance(hint, type) else ""


def list_element(hint: Any) -> Any:
    """Return the type of the elements of a list, or of a tuple of any length; None for another type."""
    inner = get_args(hint)
    if get_origin(hint) is list or (get_origin(hint) is tuple and inner[1:] == (...,)):
        return inner[0]
    return None


def types_of(action: Action) -> tuple[Any, ...]:
    """Return the types of an argument, `None` left out: several of a union."""
    hint = getattr(action, "_typehint", None)
    several = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(one for one in several if one is not type(None))


def type_of(action: Action) -> Any:
    """Return the type of an argument without its `None` alternative; None if the type is not known."""
    hint = getattr(action, "_typehint", None)
    members = [one for one in get_args(hint) if one is not type(None)]
    return members[0] if len(members) == 1 and type(None) in get_args(hint) else hint
