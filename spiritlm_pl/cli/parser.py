"""One parser for every command: a function's signature gives the options, its docstring the help.

An option may be spelt `--num-jobs` or `--num_jobs`; help shows the first. A name with dots is a path into the
configuration and is shown as it is spelt there (`--trainer.max_steps`). A switch may stand alone (`--overwrite`), and
so may the only element of a list (`--text a.txt` for `--text '[a.txt]'`).
"""

import json
import re
from argparse import Action, ArgumentError
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import Parameter, getdoc, signature
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser

from spiritlm_pl.cli.configs import check_configs
from spiritlm_pl.cli.help import HelpFormatter, list_element, shown_name, types_of
from spiritlm_pl.cli.nested_options import item_advice, nested_advice
from spiritlm_pl.cli.typed_names import spelt
from spiritlm_pl.runtime.claims import only_writer
from spiritlm_pl.runtime.foreign_texts import MISSING, UNKNOWN_KEY, WRONG_VALUE

TRUTH_VALUES = ("true", "false", "yes", "no", "1", "0", "null")
PRINT_CONFIG = "--print_config"
PRINT_CONFIG_HELP = (
    "Print the configuration that all other options give, and exit. Flags, with commas between them, leave out what is "
    "as by default (skip_default) or was not set (skip_unset)."
)
LOOK = "command_look"  # name of the attribute in which `look` keeps the settings of a command's function
WRITES = "command_writes"  # name of the attribute in which `writes` keeps an argument of a command's function
APPENDS_TO = "appends_to"  # attribute of an option that adds to another argument: the name of that one
PLAIN = {str, int, float, bool, Path}  # types of values that have nothing below them
OPTION = re.compile(r"--?[A-Za-z][^\s=]*")
NONE_WITHIN = re.compile(r"^(--[^\s=]+\.[^\s=]+)=None$")
# Option that an earlier version had -> its present name.
OLDER_OPTIONS = {"--speaker-judge": "--speaker-classifier", "--style-judge": "--style-classifier"}
# What other trainers call the option that goes on from a checkpoint, and ours.
GO_ON, LAST_CHECKPOINT = ("--resume", "--continue"), "--ckpt-path"

Function = TypeVar("Function", bound=Callable[..., None])


@dataclass(frozen=True, kw_only=True)
class Look:
    """Settings of a command's parser beyond the parameters of its function: help groups and further options.

    Args:
        groups: titles of groups in the help, each with the names of the parameters that are listed in it.
        add: function that adds further options to the first group, which it is given; None for no further options.
    """

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    add: Callable[[Any], None] | None = None


def look(**settings: Any) -> Callable[[Function], Function]:
    """Decorate the function of a command with the settings of `Look`."""

    def decorate(function: Function) -> Function:
        setattr(function, LOOK, Look(**settings))
        return function

    return decorate


def writes(argument: str, *, new: bool = True) -> Callable[[Function], Function]:
    """Decorate the function of a command that writes to a folder, which no other command may write to meanwhile.

    Args:
        argument: name of the function's argument that gives the folder.
        new: whether the command makes the folder; if not, it must be there.
    """

    def decorate(function: Function) -> Function:
        setattr(function, WRITES, (argument, new))
        return function

    return decorate


class BothSpellings:
    """Mix-in that lets a parser accept `--kebab-case` beside `--snake_case`; it precedes the parser's class."""

    def add_argument(self, *names: str, **settings: Any) -> Action:
        """Add an argument under both spellings of its name."""
        others = [name.replace("_", "-") for name in names if name.startswith("--") and "_" in name]
        action: Action = super().add_argument(*names, *others, **settings)  # type: ignore[misc]  # of a parser
        action.option_strings = sorted(action.option_strings, key=lambda name: "_" in name and "." not in name)
        if PRINT_CONFIG in names:
            action.help = PRINT_CONFIG_HELP
        return action

    def parse_args(self, args: Sequence[str] | None = None, *given: Any, **settings: Any) -> Any:
        """Parse words; `None` for a value within another stands for null.

        jsonargparse (4.53) hands a null on to the parser of a class as this word, which that takes for a text.
        """
        words = None if args is None else [NONE_WITHIN.sub(r"\1=null", word) for word in args]
        return super().parse_args(words, *given, **settings)  # type: ignore[misc]  # of a parser


class CommandParser(BothSpellings, ArgumentParser):  # type: ignore[misc]  # of the mix-in, which has no base
    """Parser of one command, which raises an `ArgumentError` for wrong arguments."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings of `jsonargparse.ArgumentParser`."""
        super().__init__(**{**parser_settings(), **settings})

    def _get_values(self, action: Action, words: list[str]) -> Any:
        """Read the words of an argument, of which one that stands for a list may be its only element."""
        return super()._get_values(action, [as_list(action, word) for word in words])


def parser_settings() -> dict[str, Any]:
    """Return the settings that every parser of this project shares."""
    return {"formatter_class": HelpFormatter, "exit_on_error": False, "allow_abbrev": False}


def command_parser(function: Callable[..., None], program: str) -> CommandParser:
    """Build the parser of a command.

    Parameters without a default are positional; `*name` takes any number of positional words.

    Args:
        function: function that carries out the command; its docstring may hold a section `Examples:`.
        program: words by which the command is called, such as `spiritlm align`.
    """
    description, shown = help_texts(function)
    epilog = f"examples:\n{shown}" if shown else None
    parser = CommandParser(prog=program, description=description, epilog=epilog)
    parser.add_argument("--config", action="config", help="a YAML file with options of this command")
    found: Look = getattr(function, LOOK, Look())
    grouped: list[str | int] = [name for names in found.groups.values() for name in names]
    common: dict[str, Any] = {"as_group": False, "as_positional": True, "sub_configs": True}
    parser.add_function_arguments(function, skip={*grouped}, **common)
    variadic = variadic_name(function)
    if variadic is not None:
        parser.add_argument(variadic, nargs="*", type=str, help=argument_help(function, variadic))
    groups = [parser.add_argument_group(title) for title in found.groups]
    names: set[str | int] = {*signature(function).parameters}
    for number, (group, own) in enumerate(zip(groups, found.groups.values(), strict=True)):
        if number == 0 and found.add is not None:
            found.add(group)
        group.add_function_arguments(function, skip=names - {*own}, **common)
    typed = {f"`{action.dest}`": shown_name(action) for action in parser._actions}
    parser.description = _as_typed(description, typed)
    for action in parser._actions:
        action.help = _as_typed(action.help or "", typed) or action.help
    positional = [action.dest.upper() for action in parser._actions if not action.option_strings]
    if variadic is not None:
        positional[-1] = f"[{positional[-1]} ...]"
    parser.usage = " ".join(["%(prog)s", "[options]", *positional])
    return parser


def _as_typed(text: str, typed: Mapping[str, str]) -> str:
    """Return a text of a docstring, which names arguments as Python has them, with the names that a user types."""
    return re.sub(r"`\w+`", lambda name: typed.get(name[0], name[0]), text)


def run_command(function: Callable[..., None], parser: CommandParser, words: Sequence[str]) -> None:
    """Parse the words of a command line and call the command's function.

    Args:
        function: function that carries out the command.
        parser: parser that `command_parser` built for the function.
        words: what follows the command on the command line.

    Raises:
        ArgumentError: if the command has no such option, or an option does not take the given value.
    """
    _check_once(parser, words)
    check_configs(words)
    values = parser.instantiate(parsed(parser, parser, words)).as_dict()  # vars() would mark names such as "items"
    values.pop("config", None)
    if values.get("num_jobs") is not None and values["num_jobs"] < 1:  # before a command reads or fetches anything
        raise ArgumentError(None, f"--num-jobs must be at least 1, but is {values['num_jobs']} instead")
    variadic = variadic_name(function)
    names = [*signature(function).parameters]
    first = [] if variadic is None else [values.pop(name) for name in names[: names.index(variadic)]]
    further = () if variadic is None else values.pop(variadic)
    try:
        with _alone(function, values):
            function(*first, *further, **values)
    except (ValueError, OSError) as error:
        _spell_argument(error, parser, words)
        raise


def _alone(function: Callable[..., None], values: Mapping[str, Any]) -> AbstractContextManager[object]:
    """Return a context in which no other command writes to the folder that this one writes to.

    Raises:
        ValueError: if there is a file in its place, which a command would find when its work is done.
    """
    name, new = getattr(function, WRITES, (None, False))
    if name is not None and Path(values[name]).is_file():
        raise ValueError(f"{name} must be a folder, but {values[name]} is a file")
    return nullcontext() if name is None else only_writer(values[name], name, new=new)


def _check_once(parser: CommandParser, words: Sequence[str]) -> None:
    """Refuse a list that is given in two options, of which only the last would count.

    Raises:
        ArgumentError: if one is.
    """
    given = set()
    for word in words:
        action = parser._option_string_actions.get(word.partition("=")[0])
        if action is None or not any(map(_listable, types_of(action))):
            continue
        if action.dest in given:
            raise ArgumentError(None, f"{shown_name(action)} must be given once, but is given twice: write '[a, b]'")
        given.add(action.dest)


def _spell_argument(error: Exception, parser: CommandParser, words: Sequence[str]) -> None:
    """Name the arguments that an error is about as they are typed: a message may begin with `num_jobs must`.

    Where other options add to an argument (`APPENDS_TO`), those that were typed are named.
    """
    if len(error.args) != 1 or not isinstance(error.args[0], str):
        return
    given = {word.partition("=")[0] for word in words}
    typed = {}
    for action in parser._actions:
        adding = [one for one in parser._actions if one is action or getattr(one, APPENDS_TO, None) == action.dest]
        chosen = [one for one in adding if given.intersection(one.option_strings)] or [action]
        typed[action.dest] = " and ".join(map(shown_name, chosen))
    error.args = (spelt(error.args[0], typed),)


def parsed(parser: ArgumentParser, own: ArgumentParser, words: Sequence[str], before: Sequence[str] = ()) -> Any:
    """Parse words; errors name the option that was probably meant.

    Args:
        parser: parser that the words are given to.
        own: parser that has the options: that of a subcommand, or `parser` itself.
        words: options and values as on the command line.
        before: words to put before `words`: the name of the subcommand, if there is one.
    """
    try:
        return parser.parse_args([*before, *spelt_out(own, words)])
    except ArgumentError as error:
        raise ArgumentError(None, explained(error, own, words)) from error


def variadic_name(function: Callable[..., None]) -> str | None:
    """Return the name of the parameter that takes any number of words; None if there is none."""
    found = [one.name for one in signature(function).parameters.values() if one.kind is Parameter.VAR_POSITIONAL]
    return found[0] if found else None


def help_texts(function: Callable[..., None]) -> tuple[str, str]:
    """Return description and examples of a docstring: the text before its sections, and its section `Examples:`."""
    lines = (getdoc(function) or "").splitlines()
    sections: dict[str, list[str]] = {"": []}
    name = ""
    for line in lines:
        if re.fullmatch(r"[A-Z][a-z]+:", line):
            name = line[:-1]
        sections.setdefault(name, []).append(line)
    examples = "\n".join(line[2:] for line in sections.get("Examples", [])[1:]).rstrip()
    return "\n".join(sections[""]).strip(), examples


def argument_help(function: Callable[..., None], name: str) -> str:
    """Return the help of a parameter from the docstring; an empty text if the docstring does not describe it."""
    found = re.search(rf"^    {name}: (.+?)(?=\n    \S|\n\n|\Z)", getdoc(function) or "", re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def spelt_out(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """Add the value to switches without one: `--overwrite` becomes `--overwrite=true`.

    Args:
        parser: parser whose options tell which words are switches.
        words: what follows the command on the command line.
    """
    switches = {name for action in parser._actions if is_switch(action) for name in action.option_strings}
    kebab = PRINT_CONFIG.replace("_", "-")
    words = [PRINT_CONFIG + word.removeprefix(kebab) if word.partition("=")[0] == kebab else word for word in words]
    return [
        f"{word}=true" if word in switches and value.lower() not in TRUTH_VALUES else word
        for word, value in pairwise([*words, ""])
    ]


def is_switch(action: Action) -> bool:
    """Whether an option takes only true and false, or null besides."""
    hint = getattr(action, "_typehint", None)
    return hint is bool or {*get_args(hint)} == {bool, type(None)}


def as_list(action: Action, word: str) -> str:
    """Put an element that stands alone into a list, where an argument takes lists, or lists by names, and no text.

    Args:
        action: argument that the word is given for.
        word: word of the command line; a list is left as it is.
    """
    hints = types_of(action)
    inner = [get_args(hint)[1] for hint in hints if get_origin(hint) is dict]
    if not any(map(_listable, (*hints, *inner))) or any(hint in (str, Path) for hint in hints):
        return word
    try:
        value = yaml.safe_load(word)
    except yaml.YAMLError:
        value = word
    if isinstance(value, dict) and any(map(_listable, inner)):
        return json.dumps({name: one if isinstance(one, list) else [one] for name, one in value.items()})
    if isinstance(value, list | dict | None) or not any(map(_listable, hints)):
        return word
    texts = any(list_element(hint) is str for hint in hints)
    return json.dumps([word if texts else value])


def _listable(hint: Any) -> bool:
    return list_element(hint) in (str, int, float)


def options_of(parser: ArgumentParser) -> dict[str, Action]:
    """Return every name that a parser takes as an option."""
    return dict(parser._option_string_actions)


def explained(error: ArgumentError, parser: ArgumentParser, words: Sequence[str]) -> str:
    """Describe the error in a command line: an unknown option, else a wrong value, else the parser's own message."""
    known = options_of(parser)
    program = parser.prog.replace(" [options]", "")
    for word in words[: words.index("--")] if "--" in words else words:
        found = OPTION.match(word)
        if found is None:
            continue
        item = item_advice(found[0])
        if item is not None and is_known(found[0].partition("[")[0], known):
            return f"{found[0]} is not an option of {program}; {item}"
        if not is_known(found[0], known):
            return f"{found[0]} is not an option of {program}; {advice(found[0], known, program)}"
    nested = nested_advice(str(error), words)
    if nested is not None:
        return nested
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ArgumentError) and cause.argument_name and cause.argument_name.startswith("-"):
            return f"{cause.argument_name.split('/')[0]}: {cause.message}"
        cause = cause.__cause__
    missing = str(error).removeprefix(MISSING).split(", ") if str(error).startswith(MISSING) else []
    missing = [name.rpartition(".")[2] for name in missing]  # those of a subcommand begin with it
    names = [shown_name(one) for one in parser._actions if one.dest in missing and one.nargs != "*"]
    if names:
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        return f"{', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]} must be given: {usage}"
    wrong = WRONG_VALUE.match(str(error))
    action = next((one for one in parser._actions if wrong and one.dest == wrong["key"]), None)
    if wrong and action is not None and "\n" not in wrong["value"]:
        rule = HelpFormatter.rule(action)
        return f"{shown_name(action)} must be {rule}, but is {wrong['value']} instead" if rule else str(error)
    for older, present in OLDER_OPTIONS.items():  # as a key of the command's configuration
        if f"'{_key(older)}'" in str(error) and present in known:
            return f"{error}; it is now {_key(present)}"
    unknown = UNKNOWN_KEY.match(str(error))
    if unknown is not None:
        return f"{unknown['key']} is not a setting of {program}; {advice('--' + unknown['key'], known, program)}"
    return str(error)


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def is_known(name: str, known: Mapping[str, Action]) -> bool:
    """Whether a name is an option, or a path below an option that holds a class, a list or a mapping."""
    if name.removesuffix("+") in known:
        return True
    above = name.rpartition(".")[0]
    while above and above not in known:
        above = above.rpartition(".")[0]
    return bool(above) and hasattr(known[above], "_typehint") and not {*types_of(known[above])} <= PLAIN


def advice(name: str, known: Mapping[str, Action], program: str) -> str:
    """Name the option that was probably meant, or the help that lists all."""
    renamed = OLDER_OPTIONS.get(name.replace("_", "-"))
    if renamed in known:
        return f"it is now {renamed}"
    if name.replace("_", "-").startswith(GO_ON) and LAST_CHECKPOINT in known:
        return f"{LAST_CHECKPOINT} last goes on from the newest checkpoint"
    plain = name.lstrip("-")
    shown = {shown_name(action).lstrip("-"): shown_name(action) for action in known.values()}
    near = get_close_matches(plain if "." in plain else plain.replace("_", "-"), shown, n=1)
    return f"did you mean {shown[near[0]]}?" if near else f"{program} --help lists them"
