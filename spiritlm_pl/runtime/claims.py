"""Claims on pieces of work that processes of any number of machines share in one folder.

A claim is a file `NAME.GENERATION.json`, which comes into being as a whole and which only one process can make. It
tells host and process, and its time of change is the heartbeat of its owner. A claim whose owner has ended, or has not
beaten for `DEAD_AFTER` seconds, is dead: another process takes the work over by making the next generation, which again
only one can. So nothing is ever removed that a third process may just have made.

Times are compared as the file system gives them, so that clocks of machines may differ.
"""

import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.left_over import process_runs, remove_left_over, temporary_path, this_machine

BEAT_EVERY = 15.0  # seconds
DEAD_AFTER = 120.0  # seconds without a heartbeat


class Claim:
    """Claim that this process holds on a piece of work.

    Attributes:
        path: file of the claim.
    """

    def __init__(self, path: Path) -> None:
        """Keep the path; `take` makes claims."""
        self.path = path

    def beat(self) -> bool:
        """Tell others that the work goes on; return False if it was taken over, so that it must be given up."""
        try:
            os.utime(self.path)
        except FileNotFoundError:
            return False
        return newest(self.path.parent, _name(self.path)) == self.path

    def release(self) -> None:
        """Give the work back, or remove the claim of finished work."""
        self.path.unlink(missing_ok=True)


def take(folder: Path, name: str) -> Claim | None:
    """Claim a piece of work; return None if another process has it.

    Finished work may be claimed again by a process that does not know yet: whoever has taken a claim must look once
    more whether the work is done.

    Args:
        folder: folder of the claims, which is made if it is missing.
        name: name of the work, without a slash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_left_over(folder)
    held = newest(folder, name)
    generation = 1 if held is None else _generation(held) + 1
    path = folder / f"{name}.{generation}.json"
    temporary = temporary_path(path)
    owner = {"host": platform.node(), "machine": this_machine(), "process": os.getpid(), "since": time.time()}
    try:
        temporary.write_text(json.dumps(owner) + "\n", encoding="utf-8")
        if held is not None and not _is_dead(held, temporary.stat().st_mtime):
            return None
        os.link(temporary, path)  # fails if there is one, on network file systems, too
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    if held is not None:
        held.unlink(missing_ok=True)
    return Claim(path)


def newest(folder: Path, name: str) -> Path | None:
    """Return the file of the claim in force on a piece of work, dead or alive; None if there is none."""
    return max((path for path in folder.glob(f"{name}.*.json") if _name(path) == name), key=_generation, default=None)


def owner(path: Path) -> dict[str, Any]:
    """Return what a claim tells of its owner: host, machine, process, since; nothing if it is gone."""
    with suppress(FileNotFoundError):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    return {}


def _is_dead(path: Path, now: float) -> bool:
    """Whether the owner of a claim has ended; a claim that is gone is dead, too."""
    told = owner(path)
    if not told or (told["machine"] == this_machine() and not process_runs(told["process"])):
        return True
    with suppress(FileNotFoundError):
        return now - path.stat().st_mtime > DEAD_AFTER
    return True


def _name(path: Path) -> str:
    return path.name.rsplit(".", 2)[0]


def _generation(path: Path) -> int:
    return int(path.name.rsplit(".", 2)[1])
