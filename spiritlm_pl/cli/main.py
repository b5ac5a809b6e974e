"""The `spiritlm` command: hands a subcommand to the function that does it, and prints user errors in one line."""

import os
import signal
import sys
from argparse import ArgumentError
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from itertools import pairwise
from typing import Any

from spiritlm_pl import __version__
from spiritlm_pl.cli.extras import check_extra, installation_advice
from spiritlm_pl.foreign_texts import OTHER_TYPE, PARSER_DETAILS
from spiritlm_pl.interrupts import interrupts_kill

# Subcommand -> (where it lives, what it does); modules are imported only when asked for.
COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("spiritlm_pl.cli.prepare:COMMANDS", "make corpus manifests from recordings or synthetic speech"),
    "align": ("spiritlm_pl.cli.align:align", "add word times to a corpus"),
    "extract-f0": ("spiritlm_pl.cli.extract_f0:extract_f0", "put the F0 of a corpus beside it"),
    "join-tokenizers": ("spiritlm_pl.cli.join_tokenizers:join_tokenizers", "make one expressive tokenizer of three"),
    "train-text-tokenizer": ("spiritlm_pl.cli.train_text_tokenizer:train", "train a SentencePiece tokenizer"),
    "build-blocks": ("spiritlm_pl.cli.build_blocks:build_blocks", "turn unit shards and text into training blocks"),
    "extend-vocab": ("spiritlm_pl.cli.extend_vocab:extend_vocab", "add speech and modality tokens to a base LM"),
    "consolidate": ("spiritlm_pl.cli.consolidate:consolidate", "merge a sharded checkpoint into one LM folder"),
    "export-lm": ("spiritlm_pl.cli.export_lm:export_lm", "write an LM for transformers, vLLM and their like"),
    "import-release": ("spiritlm_pl.cli.import_release:import_release", "published checkpoints as folders of ours"),
    "generate": ("spiritlm_pl.cli.generate:main", "continue text and speech with text or speech"),
    "tokenize": ("spiritlm_pl.cli.lines.tokenize:main", "audio to tokens, as JSON lines"),
    "vocode": ("spiritlm_pl.cli.lines.vocode:main", "tokens to audio"),
    "score": ("spiritlm_pl.cli.lines.score:main", "log-likelihoods of hypotheses after their contexts"),
    "serve": ("spiritlm_pl.cli.serve:serve", "a page and an HTTP API to talk with a model"),
    "evaluate": ("spiritlm_pl.cli.evaluate:COMMANDS", "measure what a stage has learnt, on held-out data"),
    "plan": ("spiritlm_pl.cli.plan:plan", "memory and time of a model on given GPUs"),
    "quickstart": ("spiritlm_pl.cli.quickstart:quickstart", "the whole path in miniature, on real speech"),
}
OWN_OPTIONS = ("generate", "tokenize", "vocode", "score")  # they parse for themselves: any number of inputs, in order
NEED_ALL_OF = {"quickstart": "train"}  # command -> extra; it works for minutes before it comes to the last of it
TRAINER_SUBCOMMANDS = ("fit", "validate", "test", "predict")
TRUTH_VALUES = ("true", "false", "yes", "no", "1", "0")
USER_ERRORS = (ValueError, OSError, ArgumentError, ModuleNotFoundError)


def usage() -> str:
    """The overview that `spiritlm --help` prints."""
    trainer = {
        "fit": "train a stage: spiritlm fit --config lm/base_quickstart",
        "validate": "measure a checkpoint on the validation split",
        "test": "measure a checkpoint on the test split",
        "predict": "run a trained network over a corpus (tokenise it)",
    }
    rows = [*trainer.items(), *((name, text) for name, (_, text) in COMMANDS.items())]
    lines = "\n".join(f"  {name:<22}{text}" for name, text in rows)
    return (
        f"spiritlm {__version__}: train language models that speak and write\n\n"
        f"usage: spiritlm COMMAND [options]      spiritlm COMMAND --help\n\n{lines}\n\n"
        "Shipped configurations are found by name: spiritlm fit --config lm/base_7b --print_config\n"
        "A full traceback instead of one line: SPIRITLM_TRACEBACK=1 spiritlm ..."
    )


def _load(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    with interrupts_kill():
        return getattr(import_module(module_name), attribute)


def run(arguments: list[str]) -> None:
    """Run one command in this process; errors come through as exceptions.

    Args:
        arguments: as on the command line, without the program's name.

    Raises:
        ValueError: if the command is unknown.
    """
    command, rest = arguments[0], arguments[1:]
    if command in TRAINER_SUBCOMMANDS:
        _load("spiritlm_pl.cli.training:run_trainer")(arguments)
    elif command in COMMANDS:
        if command in NEED_ALL_OF:
            check_extra(NEED_ALL_OF[command], command)
        target = _load(COMMANDS[command][0])
        if command in OWN_OPTIONS:
            target(rest)
            return
        from jsonargparse import auto_cli

        rest = switches_spelt_out(target, rest)
        auto_cli(target, args=rest, as_positional=True, prog=f"spiritlm {command}", exit_on_error=False)
    else:
        known = ", ".join((*TRAINER_SUBCOMMANDS, *COMMANDS))
        raise ValueError(f"command must be one of {known}, but is {command!r} instead")


def switches_spelt_out(target: Any, words: list[str]) -> list[str]:
    """Give a switch that stands alone its value: `--overwrite` means `--overwrite=true`.

    Args:
        target: function of the command, or a dictionary of those of its subcommands.
        words: what follows the command on the command line.
    """
    names = (word for word in words if not word.startswith("-"))
    while isinstance(target, dict):
        target = target.get(next(names, None))
    if target is None:
        return words
    switches = {f"--{name}" for name, given in signature(target).parameters.items() if given.annotation is bool}
    return [
        f"{word}=true" if word in switches and value.lower() not in TRUTH_VALUES else word
        for word, value in pairwise([*words, ""])
    ]


def told(error: Exception) -> str:
    """What is said of a user's error; of what a parser says of all the types that it tried, the reasons."""
    text = installation_advice(error) if isinstance(error, ModuleNotFoundError) else str(error)
    if not isinstance(error, ArgumentError) and not text.startswith(PARSER_DETAILS):
        return text
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    reasons = [line for line in lines if line and not line.startswith(PARSER_DETAILS)]
    of_its_type = [reason for reason in reasons if OTHER_TYPE not in reason]
    return " ".join(of_its_type or reasons)


def guarded(action: Callable[[], None]) -> int:
    """Exit code of an action: 0, 2 after a user's error (told in one line), 130 after Ctrl-C."""
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
        print(f"spiritlm: error: {told(error)}", file=sys.stderr)
        return 2
    return 0


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
    sys.exit(guarded(lambda: run(arguments)))
