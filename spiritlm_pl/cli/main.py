"""The `spiritlm` command: hands a subcommand to the function that does it, and prints user errors in one line."""

import os
import re
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from inspect import getdoc
from typing import Any
from unicodedata import category

from spiritlm_pl import __version__
from spiritlm_pl.cli.extras import check_extra, installation_advice
from spiritlm_pl.registry import registered, trust
from spiritlm_pl.runtime.devices import limit_threads
from spiritlm_pl.runtime.foreign_texts import OTHER_TYPE, PARSER_DETAILS
from spiritlm_pl.runtime.interrupts import interrupts_kill

# Subcommand -> (where it lives, what it does); modules are imported only when asked for.
COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("spiritlm_pl.cli.prepare:COMMANDS", "make corpus manifests from recordings or synthetic speech"),
    "align": ("spiritlm_pl.cli.align:align", "add word times to a corpus"),
    "extract-f0": ("spiritlm_pl.cli.extract_f0:extract_f0", "put the F0 of a corpus beside it"),
    "join-tokenizers": ("spiritlm_pl.cli.join_tokenizers:join_tokenizers", "make one expressive tokenizer of three"),
    "train-text-tokenizer": ("spiritlm_pl.cli.train_text_tokenizer:train", "train a SentencePiece tokenizer"),
    "build-blocks": ("spiritlm_pl.cli.build_blocks:build_blocks", "turn unit shards and text into training blocks"),
    "build-conversations": (
        "spiritlm_pl.cli.build_conversations:build_conversations",
        "turn conversations and speech tasks into blocks",
    ),
    "extend-vocab": ("spiritlm_pl.cli.extend_vocab:extend_vocab", "add speech and modality tokens to a base LM"),
    "consolidate": ("spiritlm_pl.cli.consolidate:consolidate", "merge a sharded checkpoint into one LM folder"),
    "merge-adapter": ("spiritlm_pl.cli.merge_adapter:merge_adapter", "put a LoRA adapter into its base model"),
    "export-lm": ("spiritlm_pl.cli.export_lm:export_lm", "write an LM for transformers, vLLM and their like"),
    "import-release": ("spiritlm_pl.cli.import_release:import_release", "published checkpoints as folders of ours"),
    "import-codec": ("spiritlm_pl.cli.import_codec:import_codec", "a neural codec as speech tokenizer and vocoder"),
    "generate": ("spiritlm_pl.cli.generate:generate", "continue text and speech with text or speech"),
    "tokenize": ("spiritlm_pl.cli.batch.tokenize:tokenize", "audio to tokens, as JSON lines"),
    "vocode": ("spiritlm_pl.cli.batch.vocode:vocode", "tokens to audio"),
    "score": ("spiritlm_pl.cli.batch.score:score", "log-likelihoods of hypotheses after their contexts"),
    "serve": ("spiritlm_pl.cli.serve:serve", "a page and an HTTP API to talk with a model"),
    "evaluate": ("spiritlm_pl.cli.evaluate:COMMANDS", "measure what a stage has learnt, on held-out data"),
    "benchmark": ("spiritlm_pl.cli.benchmark:COMMANDS", "published benchmarks: list, run, report"),
    "plan": ("spiritlm_pl.cli.plan:plan", "what a training takes: GPUs, network, checkpoints, data"),
    "quickstart": ("spiritlm_pl.quickstart.run:quickstart", "the whole path in miniature, on real speech"),
    "reproduce": ("spiritlm_pl.reproduce.run:reproduce", "the paper's findings in miniature, with error bars"),
}
NEED_ALL_OF = {
    "quickstart": "train",
    "reproduce": "train",
}  # command -> extra; it works for minutes before it comes to the last of it
TRAINER_SUBCOMMANDS = ("fit", "validate", "test", "predict")
HELP = ("-h", "--help")
USER_ERRORS = (ValueError, OSError, ArgumentError, ModuleNotFoundError, MemoryError)
NOT_SHOWN = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of pairs, separators of lines and paragraphs
RAISED = re.compile(r"^(?:\w+\.)*[A-Z]\w+(?:: |$)", re.MULTILINE)  # in a traceback, ahead of an error's own text
TRACEBACK = "Traceback (most recent call last):"
IN_WORKER = re.compile(
    r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback"
)  # the beginning of torch's text


def commands() -> dict[str, tuple[str, str]]:
    """Return all commands, as in `COMMANDS`, followed by those of other packages, which cannot replace one of ours."""
    try:
        points = registered("commands")
    except ValueError as error:  # of two packages; our own commands work all the same
        warnings.warn(str(error), stacklevel=2)
        return COMMANDS
    others = {
        name.replace("_", "-"): (point.value, f"of {point.dist.name if point.dist else point.value}")
        for name, point in points.items()
    }
    taken = sorted(others.keys() & {*TRAINER_SUBCOMMANDS, *COMMANDS})
    if taken:
        warnings.warn(
            f"commands of other packages are not used where spiritlm has its own: {', '.join(taken)}", stacklevel=2
        )
    return COMMANDS | {name: found for name, found in others.items() if name not in taken}


def usage() -> str:
    """Return the overview that `spiritlm --help` prints."""
    trainer = {
        "fit": "train a stage: spiritlm fit --config lm/base_quickstart",
        "validate": "measure a checkpoint on the validation split",
        "test": "measure a checkpoint on the test split",
        "predict": "run a trained network over a corpus (tokenise it)",
    }
    rows = [*trainer.items(), *((name, text) for name, (_, text) in commands().items())]
    lines = "\n".join(f"  {name:<22}{text}" for name, text in rows)
    return (
        f"spiritlm {__version__}: train language models that speak and write\n\n"
        f"usage: spiritlm COMMAND [options]      spiritlm COMMAND --help\n\n{lines}\n\n"
        "Shipped configurations are found by name: spiritlm fit --config lm/base_7b --print-config\n"
        "Options may be spelt --kebab-case or --snake_case; names with dots are paths into the configuration.\n"
        "Folders may name classes of this package and of installed plugins; of others with --trust CLASS_OR_PACKAGE\n"
        "A full traceback instead of one line: SPIRITLM_TRACEBACK=1 spiritlm ..."
    )


def _load(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    with interrupts_kill():
        return getattr(import_module(module_name), attribute)


def group_usage(program: str, commands: dict[str, Any]) -> str:
    """Return the overview of a command that has commands below it, such as `spiritlm prepare`."""
    rows = [(name.replace("_", "-"), _first_line(target)) for name, target in commands.items()]
    lines = "\n".join(f"  {name:<18}{text}" for name, text in rows)
    from spiritlm_pl.cli.parser import help_texts

    examples = [
        help_texts(target)[1].partition("\n")[0] for target in commands.values() if not isinstance(target, dict)
    ]
    shown = "\n".join([one for one in examples if one][:3])
    return f"usage: {program} WHAT [options]      {program} WHAT --help\n\n{lines}" + (
        f"\n\nexamples:\n{shown}" if shown else ""
    )


def _first_line(target: Any) -> str:
    return "" if isinstance(target, dict) else (getdoc(target) or "").partition("\n")[0]


def find_command(arguments: Sequence[str]) -> tuple[Any, str, list[str]]:
    """Find the function of a command.

    Args:
        arguments: words of the command line, without the program's name.

    Returns:
        The function, or a dictionary of functions where none of them is named; the words that lead to it, such as
        `spiritlm prepare stories`; and the words that are left.

    Raises:
        ValueError: if the command is unknown; names the nearest one.
    """
    command, rest = arguments[0], [*arguments[1:]]
    found = COMMANDS if command in COMMANDS else commands()
    if command not in found:
        known = (*TRAINER_SUBCOMMANDS, *found)
        raise ValueError(
            f"command must be one of {', '.join(known)}, but is {command!r} instead{_meant(command, known)}"
        )
    if command in NEED_ALL_OF:
        check_extra(NEED_ALL_OF[command], command)
    target, program = _load(found[command][0]), f"spiritlm {command}"
    while isinstance(target, dict) and rest and not rest[0].startswith("-"):
        names = {name.replace("_", "-"): name for name in target}
        given = rest[0].replace("_", "-")
        if given not in names:
            raise ValueError(
                f"{program} must be followed by one of {', '.join(names)}, but {rest[0]} follows{_meant(given, names)}"
            )
        target, program, rest = target[names[given]], f"{program} {given}", rest[1:]
    return target, program, rest


def _meant(name: str, known: Sequence[str] | dict[str, str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def run(arguments: list[str]) -> None:
    """Run one command in this process; errors come through as exceptions.

    Args:
        arguments: words of the command line, without the program's name.

    Raises:
        ValueError: if the command is unknown.
    """
    if arguments[0] in TRAINER_SUBCOMMANDS:
        from spiritlm_pl.cli.configs import resolve_configs

        arguments = resolve_configs(
            arguments
        )  # a wrong name is told before the trainer is imported, which takes seconds
        _load("spiritlm_pl.cli.training:run_trainer")(arguments)
        return
    target, program, rest = find_command(arguments)
    if not isinstance(target, dict):
        from spiritlm_pl.cli.parser import command_parser, run_command

        run_command(target, command_parser(target, program), rest)
    elif rest and rest[0] in HELP:
        print(group_usage(program, target))
    else:
        names = ", ".join(name.replace("_", "-") for name in target)
        given = f"{rest[0]} follows" if rest else "nothing follows"
        raise ValueError(f"{program} must be followed by one of {names}, but {given}")


def told(error: Exception) -> str:
    """Return what the user reads of an error; of a parser's long text about all types that it tried, the reasons.

    Of an error in a worker process, for which torch makes a text with the whole traceback, it is the error's own text.
    """
    text = installation_advice(error) if isinstance(error, ModuleNotFoundError) else str(error)
    if IN_WORKER.match(text):
        return RAISED.split(text.rpartition(TRACEBACK)[2], maxsplit=1)[-1].strip()
    if not isinstance(error, ArgumentError) and not text.startswith(PARSER_DETAILS):
        listed = text.partition("\n")[0].endswith(":")
        return text if listed else " ".join(text.split("\n"))  # other packages' texts may have several lines
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    reasons = [line for line in lines if line and not line.startswith(PARSER_DETAILS)]
    of_its_type = [reason for reason in reasons if OTHER_TYPE not in reason]
    return " ".join(of_its_type or reasons)


def shown(text: str) -> str:
    """Return a text as a terminal may print it: what would move its cursor or break its lines is written out.

    Such stands in names and values that a message repeats, as in `--model=$'\\r'`. Line breaks of the text stay.
    """
    return "".join(
        sign.encode("unicode_escape").decode() if sign != "\n" and category(sign) in NOT_SHOWN else sign
        for sign in text
    )


def guarded(action: Callable[[], None]) -> int:
    """Run an action and return its exit code: 0, 2 after a user's error (printed in one line), 130 after Ctrl-C."""
    if os.environ.get("SPIRITLM_TRACEBACK"):
        action()
        return 0
    try:
        action()
    except KeyboardInterrupt as interrupt:
        advice = str(interrupt) or "nothing that was finished is lost, run the same command again"
        print(f"spiritlm: interrupted; {advice}", file=sys.stderr)
        return 128 + signal.SIGINT
    except USER_ERRORS as error:
        print(f"spiritlm: error: {shown(told(error)) or 'there is not enough memory'}", file=sys.stderr)
        return 2
    return 0


def without_trust(words: list[str]) -> list[str]:
    """Take `--trust NAME` (or `--trust=NAME`, several with commas) from the words of any command, and obey it.

    Raises:
        ValueError: if a name is missing, or is no class, module or package.
    """
    rest, following = [], iter(words)
    for word in following:
        option, equals, names = word.partition("=")
        if option != "--trust":
            rest.append(word)
            continue
        names = names if equals else next(following, "")
        if not names:
            raise ValueError("trust must be a class, module or package, but is missing: --trust NAME")
        trust(*names.split(","))
    return rest


def main() -> None:
    """Entry point of the `spiritlm` command."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    if arguments[0] not in TRAINER_SUBCOMMANDS:  # Lightning has its own way with it
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # workers and files are cleared up
    sys.exit(guarded(partial(_run_limited, arguments)))


def _run_limited(arguments: list[str]) -> None:
    """Run a command that the user has typed, with as many threads as there are cores for them."""
    limit_threads()
    run(without_trust(arguments))
