"""Saving of DeepSpeed's shards in a folder that takes its name when every rank's part is whole."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.checkpoint import is_of_writing


def temporary_folder(checkpoint: Path) -> Path:
    """Return the folder in which a checkpoint is written before it takes its name."""
    return checkpoint.with_name(f".{checkpoint.name}.saving")


@contextmanager
def failures_noted(engine: Any) -> Iterator[list[str]]:
    """Note that files cannot be written within the context, without an error: other ranks would wait for this one.

    Args:
        engine: DeepSpeed's engine, which saves within the context.

    Yields:
        List that is filled with the reasons.
    """
    failures: list[str] = []

    def noting(action: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            try:
                return action(*given, **named)
            except (OSError, RuntimeError) as error:
                if not is_of_writing(error):
                    raise
                failures.append(str(error))

        return noted

    writer, save, copy = engine.checkpoint_engine, engine.checkpoint_engine.save, engine._copy_recovery_script
    writer.save, engine._copy_recovery_script = noting(save), noting(copy)
    try:
        yield failures
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
