"""Option that the commands of a plan get when they run in a folder of the plan's own."""

from collections.abc import Sequence


def overwriting(command: Sequence[str]) -> list[str]:
    """Return the option by which a command replaces what another size or version of its plan has made, if it needs one.

    It is no part of the plan, whose keys tell whether a finished command still counts.

    Args:
        command: words of the command, without `spiritlm` in front.
    """
    return ["--overwrite=true"] if command[0] in ("prepare", "extract-f0") else []
