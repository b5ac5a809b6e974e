"""Layout of the help of commands: options in kebab-case, short types and defaults, examples at the end."""

import copy
import textwrap
from argparse import Action
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

METAVARS = {int: "N", float: "X"}
RULES = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "a text"}


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
        return super()._format_action_invocation(shown)

    def _get_help_string(self, action: Action) -> str:
        if not hasattr(action, "_typehint") or "." in action.dest:
            return super()._get_help_string(action)
        text, default = action.help or "", action.default
        if not action.option_strings or default is None or default is False or "default" in text:
            return text
        told = ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{text.removesuffix('.')} (default: {told.lower() if default is True else told})"

    @staticmethod
    def rule(action: Action) -> str:
        """Describe in a few words which values an argument takes; return an empty text if that takes more."""
        hint = type_of(action)
        if get_origin(hint) is Literal:
            return "one of " + ", ".join(map(str, get_args(hint)))
        return RULES.get(hint, "") if isinstance(hint, type) else ""


def type_of(action: Action) -> Any:
    """Return the type of an argument without its `None` alternative; None if the type is not known."""
    hint = getattr(action, "_typehint", None)
    members = [one for one in get_args(hint) if one is not type(None)]
    return members[0] if len(members) == 1 and type(None) in get_args(hint) else hint
