"""Folder in which several processes, perhaps on several machines, share a piece of work that may be interrupted.

Every part of the work leaves a record when it is complete. Processes that a launcher has started (torchrun, SLURM) take
every so many-th part each, and wait for the records of the others; a shared file system is all they need. Those of two
launches do not hear each other: each launch talks in a folder of its own, and only the first one has the work.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from spiritlm_pl.runtime.claims import DEAD_AFTER, OtherLaunches, WrittenByAnother, only_writer
from spiritlm_pl.runtime.launch import launch_id, rank_and_size
from spiritlm_pl.runtime.parallel import num_workers, parallel_map
from spiritlm_pl.runtime.provenance import atomic_path

Part = TypeVar("Part")
Result = TypeVar("Result")
IDENTITY_FILE = "build.json"
RECORDS, PROCESSES, FAILED = "records", "processes", "failed"
POLL_SECONDS = 0.2
TOLD_AGAIN = 10.0  # seconds in which a failed process looks whether its message is still there
TOLD_EVERY = 60.0  # seconds of waiting between two messages
ALL_ARE_WORTH_IT = 1 << 30  # each part is worth a process


class Workplace:
    """Folder of a piece of work.

    The first process waits for all others to come, and before the work is put in place, until they need nothing more.
    They are known by names that are drawn anew, so that what a killed job has left is not taken for theirs.

    Args:
        folder: folder of what is made, which does not count until the work is complete. It lies in the folder that the
            user named.
        argument: name of the argument that gives the latter, for errors.
    """

    def __init__(self, folder: Path, argument: str = "out") -> None:
        """Find the place of this process among those that share the work."""
        self.folder, self.records = folder, folder / RECORDS
        self.rank, self.size = rank_and_size()
        self.name = uuid4().hex
        self._argument = argument
        self._others = OtherLaunches(folder.parent, argument)
        self._talk = folder / PROCESSES / sha256(launch_id().encode()).hexdigest()[:8]
        self._earlier = set(self._failures())  # of an earlier job, perhaps, which the first process removes

    @contextmanager
    def claimed(self) -> Iterator[Callable[[], None]]:
        """Let processes of no other launch into the folder above, and tell those of this one of an error.

        Where the first process is refused, it tells nobody of it: the others see the claim of the other launch.

        Yields:
            Function that raises the error in the first process if the folder is another launch's by now, to be called
            before something is replaced.

        Raises:
            ValueError: if a process of another launch writes to the folder.
        """
        writer = only_writer(self.folder.parent, self._argument)
        with nullcontext(lambda: None) if self.rank else writer as check:
            try:
                yield check
            except BaseException as error:
                self.fail(error)
                raise

    def begin(self, identity: str, is_whole: Callable[[Path], bool]) -> None:
        """Take up the work, and go on with what an earlier process has left of the same work.

        Args:
            identity: hash of all that the results depend on; what is left of other work is removed.
            is_whole: function that tells whether a record, and what was made with it, are as they were written. Parts
                whose are not are made again.

        Raises:
            ValueError: if the first process has other inputs or settings, or one of another launch has the folder.
        """
        path = self.folder / IDENTITY_FILE
        if self.rank:
            self._wait(self._is_known, "the first process to begin")
            if _read(path)["identity"] != identity:
                raise ValueError(
                    f"inputs and settings must be the same for all processes, but those of process {self.rank} differ "
                    "from the first one's"
                )
            return
        if _read(path).get("identity") != identity:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif found := sorted(self.records.glob("*.json")):
            print(f"{self.folder.parent}: going on where an earlier run was interrupted", file=sys.stderr)
            for record in (one for one in found if not is_whole(one)):
                print(f"{record} or a file that it lists is damaged: it is made again", file=sys.stderr)
                record.unlink()
        shutil.rmtree(self.folder / PROCESSES, ignore_errors=True)  # of an earlier job; those of this one come again
        self._wait(lambda: all(self._said("begin", rank) for rank in range(1, self.size)), "the others to begin")
        known = {"0": self.name} | {str(rank): self._said("begin", rank) for rank in range(1, self.size)}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"identity": identity, "processes": known}) + "\n", encoding="utf-8")

    def leave(self) -> None:
        """Need the records no more; the first process waits until no other does."""
        if self.rank:
            self._say("leave")
            return
        known, others = self._known(), range(1, self.size)
        self._wait(lambda: all(self._said("leave", rank) == known[str(rank)] for rank in others), "the others")

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Remove what was made if a ValueError tells that nothing can come of it; of several processes, none does."""
        try:
            yield
        except ValueError:
            if self.size == 1:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def finish(self, num_jobs: int | None = 1) -> None:
        """Remove all that a later process would go on with.

        Args:
            num_jobs: number of threads that do so, since a file system takes its time for large files; None for one per
                core.
        """
        (self.folder / IDENTITY_FILE).unlink()
        files = [entry.path for entry in os.scandir(self.records) if entry.is_file()]
        with ThreadPoolExecutor(num_workers(num_jobs, ALL_ARE_WORTH_IT)) as threads:
            for _ in threads.map(os.unlink, files):
                pass
        shutil.rmtree(self.records)

    def remove(self) -> None:
        """Remove the folder, in which processes of another launch may just be telling each other something."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fail(self, error: BaseException) -> None:
        """Tell the other processes of an error, so that none waits for this one.

        A first process that begins late removes what it finds, so that it is told again for some time. A process that
        was refused since another launch has the folder leaves nothing in it, and tells its own once they have it.
        """
        if self.size == 1 or isinstance(error, ChildProcessError):  # which another process has told
            return
        end = time.monotonic() + TOLD_AGAIN if self.rank else 0.0
        told = {"process": self.name, "error": f"process {self.rank} has failed: {type(error).__name__}: {error}"}
        path = None
        refused = isinstance(error, WrittenByAnother)
        while True:
            if (path is None or not path.is_file()) and (not refused or self._others.ours()):
                path = self._talk / f"{FAILED}-{uuid4().hex}"  # a late process may count the old one as of before
                with suppress(OSError), atomic_path(path) as temporary:
                    temporary.write_text(json.dumps(told), encoding="utf-8")
            if time.monotonic() > end:
                return
            time.sleep(POLL_SECONDS)

    def _failures(self) -> list[Path]:
        return sorted(self._talk.glob(f"{FAILED}-*"))

    def _failure(self) -> str | None:
        """Return what another process of this job has told of an error.

        Where launches cannot be told apart, one of another job may have told it: once the job has begun, its processes
        are known.
        """
        known = self._known().values()
        for found in (_read(path) for path in self._failures() if path not in self._earlier):
            if found and (self.name not in known or found.get("process") in known):
                return str(found.get("error"))
        return None

    def _known(self) -> dict[str, str]:
        """Return the names of all processes by their numbers, once the first one has seen them."""
        known = _read(self.folder / IDENTITY_FILE).get("processes", {})
        return known if isinstance(known, dict) else {}

    def _is_known(self) -> bool:
        """Whether the first process has seen this one, which says that it is there until then."""
        free = self._others.leave_it() and not self._others.missing()  # it may have ended, and its work is left alone
        if free and self._said("begin", self.rank) != self.name:
            self._say("begin")
        return self._known().get(str(self.rank)) == self.name

    def _say(self, what: str) -> None:
        with suppress(OSError), atomic_path(self._talk / f"{what}-{self.rank}") as temporary:
            temporary.write_text(self.name, encoding="utf-8")

    def _said(self, what: str, rank: int) -> str | None:
        try:
            return (self._talk / f"{what}-{rank}").read_text(encoding="utf-8")
        except OSError:
            return None

    def shared(
        self,
        parts: Sequence[Part],
        record: Callable[[Part], Path],
        function: Callable[[Part], Result],
        num_jobs: int | None,
        description: str,
        size: Callable[[Part], int] = lambda part: 0,
    ) -> list[Result]:
        """Do this process's share, wait for the others, and return the results of all parts.

        Args:
            parts: all parts of the work.
            record: function that returns the path of a part's record.
            function: function that does a part, or reads the result of one that has its record. It must be importable.
            num_jobs: number of processes that this one starts; None for one per core.
            description: what is done, for the progress bar.
            size: function that returns how large a part is; the largest are done first, so that at the end no process
                has much to do while others have nothing. Left out, all are equal.
        """
        ordered = sorted(parts, key=size, reverse=True)
        own = [part for part in ordered[self.rank :: self.size] if not record(part).is_file()]
        for _ in parallel_map(function, own, num_jobs, description, worth=ALL_ARE_WORTH_IT):
            pass
        others = [part for part in parts if not record(part).is_file()]

        def missing() -> str:
            ranks = sorted({place % self.size for place, part in enumerate(ordered) if not record(part).is_file()})
            named = " and ".join(f"process {rank}" for rank in ranks)
            return f"{named} ({description}); if one has ended, end all of them and run the command again"

        self._wait(lambda: all(record(part).is_file() for part in others), missing)
        return [function(part) for part in parts]

    def _wait(self, ready: Callable[[], bool], what: str | Callable[[], str]) -> None:
        told = time.monotonic()
        while not ready():
            time.sleep(POLL_SECONDS)
            if self.size > 1 and (told_by_other := self._failure()) is not None:
                raise ChildProcessError(told_by_other)
            if self.rank and self._others.missing() > DEAD_AFTER:
                raise ChildProcessError(
                    f"process {self.rank} has waited for a first process that has ended; of two launches that are "
                    "known by the same id, one must have --rdzv-id or MASTER_PORT of its own"
                )
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                wanted = what if isinstance(what, str) else what()
                print(f"{self.folder.parent}: process {self.rank} waits for {wanted}", file=sys.stderr)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
