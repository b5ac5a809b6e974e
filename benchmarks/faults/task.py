"""A mutated input and the command that reads it, as each kind of mutation makes it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.trial import Ended

LIMIT = 10.0
SLOW = 30.0  # for trainers, whose start alone takes seconds on a busy machine


@dataclass(frozen=True)
class Task:
    """A mutated input and what reads it.

    Attributes:
        action: runs the command.
        change: what was mutated, in words.
        lost: tells from the ending what good thing is gone, or "" if all is there.
        limit: number of seconds after which the command hangs.
    """

    action: Callable[[], None]
    change: str
    lost: Callable[[Ended], str] = lambda ended: ""
    limit: float = LIMIT


Make = Callable[[Path, Path, random.Random], Task]
