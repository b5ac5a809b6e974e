"""Saving of the shards of all ranks in a folder that takes its name when every rank's part is whole.

Where it is asked for, a thread writes while training goes on. It talks to the other ranks in a process group of its
own, so that its messages cannot be taken for those of training.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
import torch.distributed
from lightning.pytorch.utilities import rank_zero_warn
from torch.distributed import ProcessGroup

from spiritlm_pl.runtime.checkpoint import is_of_writing

SAVING = ".saving"
ABANDONED = 3600.0  # seconds; another training that saves in the same folder writes more often


class ShardSaving:
    """Saving of checkpoints by all ranks, one after the other, at once or in a thread; all ranks make the same calls.

    Args:
        tag: name of the shards' folder within a checkpoint.
        threaded: whether a thread may write, so that training goes on; else checkpoints are saved at once everywhere.
    """

    def __init__(self, tag: str, threaded: bool) -> None:
        """Start with nothing to write; the ranks must have met."""
        self.tag, self.threaded = tag, threaded
        self.group = cast(ProcessGroup, torch.distributed.new_group(backend="gloo"))
        self._first = torch.distributed.get_rank() == 0
        self._thread = ThreadPoolExecutor(1, "saving")
        self._written: Future[None] | None = None
        self._target = Path()  # of what is written in the thread
        self._later: list[tuple[bool, Callable[[], object]]] = []
        self._undone: list[str] = []  # errors of what was to follow a checkpoint that is whole
        self._writes = self._failed = self._in_background = False
        self._lock = Lock()

    @property
    def waits(self) -> bool:
        """Whether a checkpoint is saved only when it is written, so that its tensors need no copies."""
        return not self._in_background

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Let checkpoints that are saved within the context be written in a thread, if one may write."""
        self._in_background = self.threaded
        try:
            yield
        finally:
            self._in_background = False

    def begin(self, target: Path) -> Path:
        """Make the folder in which the shards are written; an earlier checkpoint is written to its end before.

        Args:
            target: the checkpoint's folder.

        Raises:
            OSError: on every rank, if rank zero cannot make the folder.
        """
        self.finish()
        temporary = temporary_folder(target)
        self._on_rank_zero(lambda: _remove_abandoned(target.parent))
        self._on_rank_zero(lambda: _make_anew(temporary / self.tag))
        return temporary

    def save(self, target: Path, write: Callable[[], None]) -> None:
        """Write shards, in a thread where that is asked for, and give the checkpoint its name.

        Args:
            target: the checkpoint's folder; one of this name is unchanged until the new one is whole.
            write: function that writes this rank's part into the folder that `begin` returned.

        Raises:
            OSError: on every rank, if one of them cannot write its part. In a thread, `finish` warns of it.
            RuntimeError: on every rank, if one of them fails otherwise; from a thread, `finish` raises it.
        """
        self._target = target
        if self.waits:
            self._save_and_settle(target, write)
        else:
            self._writes = True
            self._written = self._thread.submit(self._save_and_settle, target, write)

    def afterwards(self, action: Callable[[], object], even_later: bool) -> None:
        """Do something when the checkpoint that was saved last is whole, as it may be already.

        Args:
            action: what is to be done, perhaps in the thread.
            even_later: whether it is done after the next checkpoint if this one cannot be written, or left out then.
        """
        with self._lock:
            if self._writes or (self._failed and even_later):
                self._later.append((even_later, action))
            if self._writes or self._failed:
                return
        action()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, and warn if it, or what was to follow it, could not be done.

        Raises:
            RuntimeError: on every rank, if a rank failed otherwise than in writing.
        """
        written, self._written = self._written, None
        if written is not None:
            try:
                written.result()
            except OSError as error:
                rank_zero_warn(
                    f"no checkpoint was saved as {self._target.name}, and earlier ones stay: {self._target} cannot be "
                    f"written ({error})"
                )
        undone, self._undone = self._undone, []
        if undone:
            rank_zero_warn(
                f"{self._target.name} was saved, but what was to follow could not be done: {'; '.join(undone)}"
            )

    def _save_and_settle(self, target: Path, write: Callable[[], None]) -> None:
        whole = False
        try:
            self._save(target, write)
            whole = True
        finally:
            with self._lock:
                now = self._later if whole else []
                self._later = [] if whole else [one for one in self._later if one[0]]
                self._writes, self._failed = False, not whole
        for _, action in now:
            try:
                action()
            except OSError as error:  # the checkpoint is whole, and others may still be done
                self._undone.append(str(error))

    def _save(self, target: Path, write: Callable[[], None]) -> None:
        failure: tuple[bool, str] | None = None
        try:
            write()
        except Exception as error:  # whatever it is, the other ranks wait for this one
            failure = is_of_writing(error), str(error) or type(error).__name__
        failures: list[tuple[bool, str] | None] = [None] * torch.distributed.get_world_size(self.group)
        torch.distributed.all_gather_object(failures, failure, self.group)
        temporary = temporary_folder(target)
        for found in failures:
            if found is not None:
                if self._first:
                    shutil.rmtree(temporary, ignore_errors=True)
                of_writing, reason = found
                raise OSError(reason) if of_writing else RuntimeError(f"{target} cannot be written: {reason}")
        self._on_rank_zero(lambda: put_in_place(temporary, target, self.tag))

    def _on_rank_zero(self, action: Callable[[], object]) -> None:
        failure: list[OSError | None] = [None]
        if self._first:
            try:
                action()
            except OSError as error:
                failure = [error]
        torch.distributed.broadcast_object_list(failure, 0, self.group)
        if failure[0] is not None:
            raise failure[0]


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed trainings have left of checkpoints, in which nothing was written for long."""
    for path in folder.glob(f".*{SAVING}"):
        with suppress(OSError):
            newest = max(one.stat().st_mtime for one in (path, *path.rglob("*")))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(path)


def temporary_folder(checkpoint: Path) -> Path:
    """Return the folder in which a checkpoint is written before it takes its name."""
    return checkpoint.with_name(f".{checkpoint.name}{SAVING}")


class EngineFiles:
    """Files that DeepSpeed's engine writes, or their contents, and what failed.

    Args:
        save: function of the engine that writes a file: `save(content, path)`.
        kept: whether contents are kept in memory until `write`.
    """

    def __init__(self, save: Callable[..., Any], kept: bool) -> None:
        """Start without files."""
        self._save, self._kept = save, kept
        self._contents: list[tuple[Path, bytes]] = []
        self.failure: OSError | None = None

    def take(self, state_dict: Any, path: str) -> Any:
        """Write a file, or keep its content; the engine names the arguments."""
        if not self._kept:
            return self._save(state_dict, path)
        stream = BytesIO()
        torch.save(state_dict, stream)
        self._contents.append((Path(path), stream.getvalue()))
        return None

    def write(self) -> None:
        """Write what was kept.

        Raises:
            OSError: if a file cannot be written, or one could not.
        """
        if self.failure is not None:
            raise self.failure
        while self._contents:
            path, content = self._contents.pop()
            path.write_bytes(content)


@contextmanager
def files_noted(engine: Any, kept: bool) -> Iterator[EngineFiles]:
    """Note that files cannot be written within the context, without an error: other ranks would wait for this one.

    Args:
        engine: DeepSpeed's engine, which saves within the context.
        kept: whether contents are kept in memory, to be written later.

    Yields:
        The files.
    """
    writer, save, copy = engine.checkpoint_engine, engine.checkpoint_engine.save, engine._copy_recovery_script
    files = EngineFiles(save, kept)

    def noting(action: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            try:
                return action(*given, **named)
            except (OSError, RuntimeError) as error:
                if not is_of_writing(error):
                    raise
                files.failure = files.failure or OSError(str(error))

        return noted

    writer.save, engine._copy_recovery_script = noting(files.take), noting(copy)
    try:
        yield files
    finally:
        writer.save, engine._copy_recovery_script = save, copy


def put_in_place(temporary: Path, checkpoint: Path, tag: str) -> None:
    """Give a whole checkpoint its name; one that had it before is removed afterwards.

    Args:
        temporary: folder that holds the shards of all ranks.
        checkpoint: folder that it becomes.
        tag: name of the shards' folder within, which DeepSpeed reads in `latest`.
    """
    for path in (temporary / tag).iterdir():
        _to_disk(path)
    latest = temporary / "latest"
    latest.write_text(tag, encoding="utf-8")
    _to_disk(latest)
    if not checkpoint.exists():
        temporary.rename(checkpoint)
        return
    aside = checkpoint.with_name(f"{checkpoint.stem}-before{checkpoint.suffix}")  # found if the next lines do not run
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)
    temporary.rename(checkpoint)
    shutil.rmtree(aside)


def _to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
