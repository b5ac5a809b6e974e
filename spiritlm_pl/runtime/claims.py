"""Claims on pieces of work that processes of any number of machines share in one folder.

A claim is a file `NAME.GENERATION.json`, which comes into being as a whole and which only one process can make. It
tells host and process, and its time of change is the heartbeat of its owner. A claim whose owner has ended, or has not
beaten for `DEAD_AFTER` seconds, is dead: another process takes the work over by making the next generation, which again
only one can. So nothing is ever removed that a third process may just have made. A claim that was copied with its
folder tells of another folder and another file, so that the copy is free on the machine of its owner; elsewhere, where
neither is sure to be the same, it is seen to be silent.

Times are compared as the file system gives them, so that clocks of machines may differ.

A command that writes a folder piece by piece claims it as a whole, by `only_writer`, so that two do not mix what they
write.
"""

import json
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.launch import is_restarted, launch_id, rank_and_size, restarts
from spiritlm_pl.runtime.left_over import process_runs, remove_left_over, temporary_path, this_machine

BEAT_EVERY = 15.0  # seconds
DEAD_AFTER = 120.0  # seconds without a heartbeat
LOOK_EVERY = 1.0  # seconds between two looks at the claim of another machine
GIVE_UP_AFTER = 90.0  # seconds without a heartbeat that succeeded: soon others may take the owner for dead
WRITER = ".writer"  # name of the claim on all that is written to a folder

RULE = "{argument} must be a {kind} that no other process writes to, but"
REFUSAL = "{rule} {owner} writes to {path}: wait for its end"

GENERATION = re.compile(r"\.([0-9]+)\.json")

_written_here: dict[Path, Callable[[], None]] = {}  # by commands of this process, with the checks of their claims


class WrittenByAnother(ValueError):
    """What a user named is written by another process, or by one of another launch."""


class Claim:
    """Claim that this process holds on a piece of work.

    Args:
        path: file of the claim, which `take` makes.

    Attributes:
        path: file of the claim.
    """

    def __init__(self, path: Path) -> None:
        """Keep the path, and begin to count the time without a heartbeat."""
        self.path = path
        self._beaten = time.monotonic()
        self._lost = False

    def beat(self) -> bool:
        """Tell others that the work goes on; return False if it was taken over or may soon be, so it must be given up.

        Network file systems have errors that pass, so an error ends nothing until no heartbeat has succeeded for
        `GIVE_UP_AFTER` seconds. A claim once lost stays lost.
        """
        try:
            os.utime(self.path)
            self._lost |= self._next().exists()  # the folder, which may hold much else, is not listed for this
            self._beaten = time.monotonic()
        except FileNotFoundError:
            self._lost = True
        except OSError:
            self._lost |= time.monotonic() - self._beaten > GIVE_UP_AFTER
        return not self._lost

    def is_in_force(self) -> bool:
        """Whether no other process has taken the work over, as far as can be seen."""
        try:
            return self.path.exists() and not self._next().exists()
        except OSError:
            return True

    def _next(self) -> Path:
        return self.path.with_name(f"{_name(self.path)}.{_generation(self.path) + 1}.json")

    def release(self) -> None:
        """Give the work back, or remove the claim of finished work; one that cannot be removed dies by itself."""
        with suppress(OSError):
            self.path.unlink()


def take(folder: Path, name: str, known: bool = True) -> Claim | None:
    """Claim a piece of work; return None if another process has it.

    Finished work may be claimed again by a process that does not know yet: whoever has taken a claim must look once
    more whether the work is done.

    Args:
        folder: folder of the claims, which is made if it is missing.
        name: name of the work, without a slash.
        known: whether a claim with the number of this process may be its own; if not, a process of the same number has
            made it, before the machine or the container was started anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_left_over(folder)
    held = newest(folder, name)
    generation = 1 if held is None else _generation(held) + 1
    path = folder / f"{name}.{generation}.json"
    temporary = temporary_path(path)
    owner = {"host": platform.node(), "machine": this_machine(), "process": os.getpid(), "since": time.time()}
    try:
        temporary.touch()
        owner |= {
            "launch": launch_id(),
            "rank": rank_and_size()[0],
            "restarts": restarts(),
            "folder": str(folder.resolve()),
            "file": temporary.stat().st_ino,
        }
        temporary.write_text(json.dumps(owner) + "\n", encoding="utf-8")
        if held is not None and not _is_dead(held, temporary.stat().st_mtime, known):
            return None
        os.link(temporary, path)  # fails if there is one, on network file systems, too
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    if held is not None:
        held.unlink(missing_ok=True)
    return Claim(path)


@contextmanager
def only_writer(
    path: str | Path, argument: str, *, file: bool = False, new: bool = True, beside: bool = False
) -> Iterator[Callable[[], None]]:
    """Keep other processes from writing to a folder or a file while this one does; within this one it may be nested.

    Where no claim can be made, as in a folder that cannot be written or on a file system without hard links, the
    context is entered without one. A folder that is made for the claim is removed if nothing else is put into it.

    Args:
        path: path of the folder or file, which need not exist.
        argument: name of the argument that gives it, for the error.
        file: whether it is a file, whose claim lies beside it.
        new: whether it may be a new one; if not, or where something else has the path, nothing is claimed.
        beside: whether the claim on a folder lies beside it, as that on a file, since it must not come into being yet.

    Yields:
        Function that raises the error if another process has begun to write, to be called before something is replaced.

    Raises:
        WrittenByAnother: if another process writes to it, or has begun to while this one stood still.
    """
    place = Path(path).resolve()
    try:
        fits = (place.is_file() if file else place.is_dir()) or (new and not place.exists())
    except OSError:  # below a folder that cannot be searched
        fits = False
    if place in _written_here or not fits:
        yield _written_here.get(place, lambda: None)
        return
    folder, name = (place.parent, f".{place.name}{WRITER}") if file or beside else (place, WRITER)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    rule = RULE.format(argument=argument, kind="file" if file else "folder")
    claim = _claim_of_writer(folder, name, REFUSAL.format(rule=rule, path=path, owner="{}"))
    stop = threading.Event()

    def check() -> None:
        if claim is not None and not claim.is_in_force() and folder.exists():
            raise WrittenByAnother(
                f"{rule} another one has begun to write to {path} while this one stood still: make it again"
            )

    if claim is not None:
        threading.Thread(target=_beat_until, args=(claim, stop), daemon=True).start()
    _written_here[place] = check
    try:
        yield check
        check()
    finally:
        del _written_here[place]
        stop.set()
        if claim is not None:
            claim.release()
        with suppress(OSError):  # one that holds something stays, and those above it
            for one in made:
                one.rmdir()


def _claim_of_writer(folder: Path, name: str, refusal: str) -> Claim | None:
    """Claim a folder or file to write; return None where no claim can be made.

    An owner on another machine may have been killed, and the work restarted here: whether it lives is seen from its
    next heartbeat.
    """
    seen: tuple[Path, float] | None = None
    unseen = 0
    while unseen < 50:  # in a folder that cannot be listed, no claim is ever seen
        try:
            claim = take(folder, name, known=False)
        except OSError:
            return None
        if claim is not None:
            return claim
        held = newest(folder, name)
        beaten = None if held is None else _beaten(held)
        if held is None or beaten is None:  # it was given back just now
            unseen += 1
            time.sleep(0.1)
            continue
        told = owner(held)
        if told.get("machine") == this_machine() or (seen is not None and seen != (held, beaten)):
            raise WrittenByAnother(refusal.format(_told(told)))
        if seen is None:
            print(f"{folder}: waiting to see whether {_told(told)} still writes here", file=sys.stderr)
        seen = held, beaten
        time.sleep(LOOK_EVERY)
    return None


class OtherLaunches:
    """Claims on a folder as a process sees them whose launch has another first process, which claims for all of them.

    Args:
        path: path of the folder.
        argument: name of the argument that gives it, for the error.
    """

    def __init__(self, path: Path, argument: str) -> None:
        """Keep the folder."""
        self._path, self._argument = path, argument
        self._seen: tuple[Path, float] | None = None
        self._since = 0.0
        self._present: float | None = None  # when the claim of this launch was seen last

    def ours(self) -> bool:
        """Whether a process of this launch has the folder."""
        held = newest(self._path, WRITER)
        return held is not None and owner(held).get("launch") == launch_id()

    def missing(self) -> float:
        """Return the seconds since the claim of this launch was seen last; 0 while it is there or has never been."""
        if self.ours():
            self._present = time.monotonic()
            return 0.0
        return 0.0 if self._present is None else time.monotonic() - self._present

    def leave_it(self) -> bool:
        """Whether no process of another launch writes to the folder; False as long as this is not known.

        Raises:
            WrittenByAnother: if one does.
        """
        held = newest(self._path, WRITER)
        beaten = None if held is None else _beaten(held)
        if held is None or beaten is None:
            return True
        told = owner(held)
        if told.get("launch", "") == launch_id() or _has_ended(held, told, known=False):
            return True
        if told.get("machine") == this_machine() or self._seen not in (None, (held, beaten)):
            rule = RULE.format(argument=self._argument, kind="folder")
            raise WrittenByAnother(REFUSAL.format(rule=rule, path=self._path, owner=_told(told)))
        if self._seen is None:
            self._seen, self._since = (held, beaten), time.monotonic()
        return time.monotonic() - self._since > DEAD_AFTER


def _told(owner: dict[str, Any]) -> str:
    return f"process {owner.get('process')} on {owner.get('host')}" if owner else "another one"


def _beat_until(claim: Claim, stop: threading.Event) -> None:
    while not stop.wait(BEAT_EVERY):
        claim.beat()


def newest(folder: Path, name: str) -> Path | None:
    """Return the file of the claim in force on a piece of work, dead or alive; None if there is none."""
    generations = []
    with suppress(OSError):
        for other in os.listdir(folder):  # many times faster than a pattern, in a folder that holds much else
            if other.startswith(name) and (found := GENERATION.fullmatch(other, len(name))):
                generations.append(int(found[1]))
    return folder / f"{name}.{max(generations)}.json" if generations else None


def owner(path: Path) -> dict[str, Any]:
    """Return what a claim tells of its owner: host, machine, process, since; nothing if it is gone or damaged."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _is_dead(path: Path, now: float, known: bool) -> bool:
    """Whether the owner of a claim has ended, see `take`; a claim that is gone is dead, too."""
    beaten = _beaten(path)
    return beaten is None or now - beaten > DEAD_AFTER or _has_ended(path, owner(path), known)


def _has_ended(path: Path, told: dict[str, Any], known: bool) -> bool:
    """Whether a process of this machine has made the claim which has ended, see `take`, or works on another folder.

    Of processes on other machines, only one that this process was started again for is known to have ended.
    """
    if told.get("machine") != this_machine():
        count = told.get("restarts")  # which versions of before did not tell
        earlier = count if isinstance(count, int) else None
        return is_restarted(str(told.get("launch")), told.get("rank", -1), earlier)
    process = told.get("process", 0)
    return not process_runs(process) or (process == os.getpid() and not known) or _is_copy(path, told)


def _is_copy(path: Path, told: dict[str, Any]) -> bool:
    """Whether a claim of this machine was copied from another folder; one that is seen by two paths is one file."""
    with suppress(OSError):
        elsewhere = told.get("folder", str(path.parent.resolve())) != str(path.parent.resolve())
        return elsewhere and told.get("file") != path.stat().st_ino
    return False


def _beaten(path: Path) -> float | None:
    """Return the time of the last heartbeat of a claim; None if it is gone."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return None


def _name(path: Path) -> str:
    return path.name.rsplit(".", 2)[0]


def _generation(path: Path) -> int:
    return int(path.name.rsplit(".", 2)[1])
