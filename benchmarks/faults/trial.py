"""One trial: a command in a forked process with a time limit, and the verdict on how it ended.

Everything that commands import is imported once, before the first fork, so that a trial takes fractions of a second.
"""

import hashlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEMORY_BYTES = 6 << 30  # largest data segment of a trial, so that a mutated size cannot exhaust the machine
BAD = ("silent", "unnamed", "traceback", "crash", "hang", "lost")
VERDICTS = ("detected", "harmless", *BAD)
TRACEBACK = "Traceback (most recent call last)"
ERROR = "spiritlm: error: "
LONGEST_LOOK = 1.0  # seconds between two looks at a process, unless the one that looks was stopped


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; negative for the signal that ended it; None if it was still running at the limit.
        seconds: how long it ran.
        out: standard output.
        err: standard error.
    """

    code: int | None
    seconds: float
    out: str
    err: str

    def fault(self) -> str | None:
        """Return the verdict on an ending that is a fault whatever was asked; None if it may be right."""
        if self.code is None:
            return "hang"
        if TRACEBACK in self.err:
            return "traceback"
        if self.code not in (0, 1, 2):  # 1: some items of many could not be done
            return "crash"
        if self.code == 2 and (ERROR not in self.err or len(self.refusal().splitlines()) != 1):
            return "traceback"  # a message of several lines, or of another program
        return None

    def refusal(self) -> str:
        """Return the message of an error of ours, to the end of standard error."""
        return self.err.rpartition(ERROR)[2].strip()

    def names(self, words: Iterable[str]) -> bool:
        """Whether the output holds one of some words."""
        return any(word in self.err or word in self.out for word in words)


@dataclass
class Trial:
    """Result of one trial, a line of the record.

    Attributes:
        campaign: kills, flips, mutations or users.
        kind: what was killed, damaged or asked.
        seed: seed that, with the number, makes the trial again.
        number: number of the trial within its kind.
        verdict: one of `VERDICTS`.
        change: what was done, in words.
        seconds: duration of the command.
        message: end of what the command said, where that helps.
    """

    campaign: str
    kind: str
    seed: int
    number: int
    verdict: str
    change: str = ""
    seconds: float = 0.0
    message: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def spiritlm(*words: object) -> Callable[[], None]:
    """Return an action that runs the `spiritlm` command with these words."""

    def action() -> None:
        from spiritlm_pl.cli.main import main

        sys.argv = ["spiritlm", *map(str, words)]
        main()

    return action


def guarded(function: Callable[[], None]) -> Callable[[], None]:
    """Return an action that runs a function as a command runs it: a user's error is one line and exit code 2."""

    def action() -> None:
        from spiritlm_pl.cli.main import guarded as run

        sys.exit(run(function))

    return action


class Started:
    """A command that runs in a forked process, the leader of a group of its own, with a folder to work in.

    Args:
        action: what to run; it ends by returning, or by `SystemExit`.
        folder: working directory, which is created; standard output and error are written beside it.
    """

    def __init__(self, action: Callable[[], None], folder: Path) -> None:
        """Fork."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
        self._since = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(action, folder)

    def _become(self, action: Callable[[], None], folder: Path) -> None:
        code = 70
        try:
            os.setsid()
            for number, path in enumerate(self._files, start=1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(folder)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            action()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def kill(self) -> None:
        """Kill the whole group, as a machine that dies would."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def wait(self, limit: float) -> Ended:
        """Wait for the end, or kill the group after `limit` seconds; what it left running is killed, too.

        Times in which the command, or this process, was stopped from outside (SIGSTOP) do not count.
        """
        code: int | None = None
        pause, lasted, looked, stopped = 0.002, 0.0, self._since, False
        while lasted < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid and not (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
                code = os.waitstatus_to_exitcode(status)
                self.kill()
                break
            stopped = os.WIFSTOPPED(status) if pid else stopped
            time.sleep(pause)
            pause = min(pause * 1.2, 0.05)
            now = time.monotonic()
            lasted += 0.0 if stopped else min(now - looked, LONGEST_LOOK)
            looked = now
        else:
            self.kill()
            os.waitpid(self.pid, 0)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self._files)
        return Ended(code, time.monotonic() - self._since, out, err)


def ran(action: Callable[[], None], folder: Path, limit: float) -> Ended:
    """Run an action to its end in a forked process.

    Args:
        action: what to run.
        folder: working directory.
        limit: number of seconds after which it hangs.
    """
    return Started(action, folder).wait(limit)


def digests(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the hashes of files by their names."""
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Return the names of files that differ, are missing or are too many."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def shortened(text: str, most: int = 400) -> str:
    """Return the last characters of a text on one line."""
    return " ".join(text.split())[-most:]


def table(trials: Sequence[Trial]) -> str:
    """Return the table of all trials: a row for each kind, a column for each verdict."""
    rows = [("campaign", "kind", "trials", *VERDICTS)]
    for campaign, kind in dict.fromkeys((one.campaign, one.kind) for one in trials):
        own = [one.verdict for one in trials if (one.campaign, one.kind) == (campaign, kind)]
        rows.append((campaign, kind, str(len(own)), *(str(own.count(name) or ".") for name in VERDICTS)))
    rows.append(("all", "", str(len(trials)), *(str(sum(one.verdict == name for one in trials)) for name in VERDICTS)))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )


def line(trial: Trial) -> str:
    """Return a trial as a line of JSON."""
    return json.dumps(vars(trial), ensure_ascii=False)
