"""Folder in which several processes, perhaps on several machines, share a piece of work that may be interrupted.

Every part of the work leaves a record when it is complete. Processes that a launcher has started (torchrun, SLURM) take
every so many-th part each, and wait for the records of the others; a shared file system is all they need.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from spiritlm_pl.runtime.launch import rank_and_size
from spiritlm_pl.runtime.parallel import parallel_map
from spiritlm_pl.runtime.provenance import atomic_path

Part = TypeVar("Part")
Result = TypeVar("Result")
IDENTITY_FILE = "build.json"
RECORDS = "records"
POLL_SECONDS = 0.2
TOLD_EVERY = 60.0  # seconds of waiting between two messages
ALL_ARE_WORTH_IT = 1 << 30  # each part is worth a process


class Workplace:
    """Folder of a piece of work.

    Args:
        folder: folder of what is made, which does not count until the work is complete.
        num_parts: number of parts of the first stage; of more processes than that, some have nothing to do.
    """

    def __init__(self, folder: Path, num_parts: int) -> None:
        """Find the place of this process among those that share the work."""
        self.folder, self.records = folder, folder / RECORDS
        self.rank, size = rank_and_size()
        self.size = max(1, min(size, num_parts))

    def begin(self, identity: str) -> bool:
        """Take up the work, and go on with what an earlier process has left of the same work.

        Args:
            identity: hash of all that the results depend on; what is left of other work is removed.

        Returns:
            Whether this process has something to do.
        """
        if self.rank >= self.size:
            return False
        path = self.folder / IDENTITY_FILE
        if self.rank:
            self._wait(lambda: _identity(path) == identity, "the first process to begin")
            return True
        if _identity(path) != identity:
            shutil.rmtree(self.folder, ignore_errors=True)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps({"identity": identity}) + "\n", encoding="utf-8")
        elif any(self.records.glob("*.json")):
            print(f"{self.folder.parent}: going on where an earlier run was interrupted", file=sys.stderr)
        return True

    def shared(
        self,
        parts: Sequence[Part],
        record: Callable[[Part], Path],
        function: Callable[[Part], Result],
        num_jobs: int | None,
        description: str,
        last: bool = False,
    ) -> list[Result]:
        """Do this process's share, wait for the others, and return the results of all parts.

        Args:
            parts: all parts of the work.
            record: function that returns the path of a part's record.
            function: function that does a part, or reads the result of one that has its record. It must be importable.
            num_jobs: number of processes that this one starts; None for one per core.
            description: what is done, for the progress bar.
            last: whether nothing follows but what the first process does. The others then neither wait nor have
                results, since the records may be gone before they see them.
        """
        own = [part for part in parts[self.rank :: self.size] if not record(part).is_file()]
        for _ in parallel_map(function, own, num_jobs, description, worth=ALL_ARE_WORTH_IT):
            pass
        if last and self.rank:
            return []
        others = [part for part in parts if not record(part).is_file()]
        self._wait(lambda: all(record(part).is_file() for part in others), f"the other processes ({description})")
        return [function(part) for part in parts]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        told = time.monotonic()
        while not ready():
            time.sleep(POLL_SECONDS)
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                print(f"{self.folder.parent}: process {self.rank} waits for {what}", file=sys.stderr)


def _identity(path: Path) -> str | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError):
        return None
    return str(found)
