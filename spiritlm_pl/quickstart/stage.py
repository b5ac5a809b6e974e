"""Stage of the quickstart: `spiritlm` commands that run once, in a process of their own.

A finished stage leaves a stamp with the key of what it ran (commands, configurations, parents' keys), these themselves,
and hashes of what it made and read, so that running the quickstart again does only what is missing or has changed, and
says what has.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.configs import CONFIG_OPTIONS, config_contents
from spiritlm_pl.cli.overwriting import overwriting
from spiritlm_pl.quickstart.recipe import recipe_of
from spiritlm_pl.runtime.checksums import CHECKSUMS, listed
from spiritlm_pl.runtime.devices import num_cores
from spiritlm_pl.runtime.interrupts import interrupts_kill
from spiritlm_pl.runtime.parallel import end_with_parent
from spiritlm_pl.runtime.provenance import atomic_path

ROOT = Path("quickstart")
STAMPS = ROOT / "stages"
LOGS = ROOT / "logs"
MARK = "stage.key"  # in a run folder: the key with which its training began


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Group of commands that run one after the other.

    Attributes:
        name: short name of the stage and of its log file.
        title: title that the display shows.
        commands: `spiritlm` commands in the order in which they run.
        needs: names of the stages that must be finished before this one.
        threads: number of cores that the stage computes on.
        minutes: approximate duration on two cores in minutes, for the display and the order of the stages.
        run_folders: folders of its trainers, one per command that trains; interrupted training resumes from its last
            checkpoint, unless the stage's key has changed since.
        settings: settings of the quickstart that planned it, such as its budget; the stamp has them.
        makes: paths of what other stages and the report need of it: files, and folders that list their checksums.
        reads: paths that the stages make which it needs, and those which these need.
    """

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    threads: int = 1
    minutes: float = 0.5
    run_folders: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    makes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    configs: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the configurations that the commands name."""
        named = [words[i + 1] for words in self.commands for i, word in enumerate(words) if word in CONFIG_OPTIONS]
        object.__setattr__(self, "configs", tuple(named))

    @property
    def log(self) -> Path:
        """File that the output of the stage is written to."""
        return LOGS / f"{self.name}.log"

    def key(self, parents: Mapping[str, str]) -> str:
        """Return a hash of the commands, their configurations with the parts that these name, and the parents' keys."""
        digest = hashlib.sha256(json.dumps(self.commands).encode())
        for name in self.configs:
            digest.update(json.dumps(config_contents(name), sort_keys=True, default=str).encode())
        for name in self.needs:
            digest.update(parents[name].encode())
        return digest.hexdigest()

    def stamp(self) -> dict[str, Any] | None:
        """Return the stamp of the last run that finished it: key, seconds, settings and more; None if there is none."""
        path = STAMPS / f"{self.name}.json"
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found

    def finished(self, key: str) -> float | None:
        """Return the seconds that it took if it was finished with this key, and all is still the same, else None."""
        stamp = self.stamp()
        if stamp is None or stamp["key"] != key or self.changed():
            return None
        return float(stamp["seconds"])

    def changed(self) -> list[str]:
        """Return the paths of what it made or read that hold something else by now, or nothing."""
        return [path for path, marks in self._noted().items() if marks != _marks(path, marks)]

    def gone(self) -> list[str]:
        """Return the paths of what it made or read of which a part is missing by now."""
        return [path for path, marks in self._noted().items() if None in _marks(path, marks).values()]

    def _noted(self) -> dict[str, dict[str, str]]:
        """Return the marks of what it made and read by path, as its stamp has them; earlier versions noted none."""
        noted = (self.stamp() or {}).get("content", {})
        return {path: noted[path] for path in (*self.makes, *self.reads) if isinstance(noted.get(path), dict)}

    def replaces(self, key: str) -> bool:
        """Whether a run with this key makes again what an earlier one has finished, or begun to train with another."""
        stamp = self.stamp()
        marks = [Path(folder) / MARK for folder in self.run_folders]
        begun = any(mark.is_file() and mark.read_text(encoding="utf-8") != key for mark in marks)
        return begun if stamp is None else stamp["key"] != key or bool(self.changed())

    def run(self, key: str) -> None:
        """Run all commands in this process, log their output, and write the stamp; exit with 2 on a user error."""
        end_with_parent()
        LOGS.mkdir(parents=True, exist_ok=True)
        stream = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        with interrupts_kill():  # as no work has begun
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # which the process it comes from never gets

            import torch

            from spiritlm_pl.cli.main import guarded, run

        torch.set_num_threads(min(self.threads, num_cores()))
        start, recipe = time.monotonic(), recipe_of(self.commands, self.configs)  # as they are for the key
        for words in self._resumed(key):
            print(f"\n$ spiritlm {' '.join(words)}", flush=True)
            code = guarded(partial(run, list(words)))
            if code:
                sys.exit(code)
        with atomic_path(STAMPS / f"{self.name}.json") as path:
            stamp = {
                "key": key,
                "seconds": round(time.monotonic() - start, 1),
                "settings": dict(self.settings),
                "recipe": recipe,
                "content": {path: content_of(path) for path in (*self.makes, *self.reads)},
            }
            path.write_text(json.dumps(stamp), encoding="utf-8")

    def _resumed(self, key: str) -> list[tuple[str, ...]]:
        """Return the commands, which replace what is there; training goes on from a last checkpoint of the same key.

        Where it was finished before, checkpoints may be those of another command, and it begins anew.
        """
        from spiritlm_pl.runtime.checkpoint import newest_checkpoint

        stamp = STAMPS / f"{self.name}.json"
        for folder in map(Path, self.run_folders):
            mark = folder / MARK
            if mark.is_file() and (stamp.is_file() or mark.read_text(encoding="utf-8") != key):
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(key, encoding="utf-8")
        stamp.unlink(missing_ok=True)
        trainers = iter(self.run_folders)
        commands = []
        for words in self.commands:
            run_folder = next(trainers, "") if words[0] == "fit" else ""
            going_on = run_folder and newest_checkpoint(Path(run_folder) / "checkpoints")
            commands.append((*words, *overwriting(words), *(["--ckpt_path=last"] if going_on else [])))
        return commands


def content_of(path: str) -> dict[str, str | None]:
    """Return marks of a file, or of a folder's files by their paths in it, by which a change of them is seen.

    They are those of the lists of checksums where a folder has some at any depth. What is put beside them later, such
    as a user's own list, changes none of them.
    """
    place = Path(path)
    lists = [str(found.relative_to(place)) for found in sorted(place.rglob(CHECKSUMS))]
    files = lists or [str(found.relative_to(place)) for found in sorted(place.rglob("*")) if found.is_file()]
    return _marks(path, ["."] if place.is_file() else files)


def _marks(path: str, files: Iterable[str]) -> dict[str, str | None]:
    return {name: _mark(Path(path) / name, whole=name == "." or Path(name).name == CHECKSUMS) for name in files}


def _mark(file: Path, whole: bool) -> str | None:
    """Return a hash of a file, or else its size; None where it is missing, or one that it lists."""
    if not file.is_file():
        return None
    with suppress(ValueError):  # of a list that was damaged, which is another one than before
        if file.name == CHECKSUMS and not all(one.is_file() for one in listed(file.parent)):
            return None
    return hashlib.sha256(file.read_bytes()).hexdigest() if whole else f"{file.stat().st_size} bytes"


def stage_keys(stages: Iterable[Stage]) -> dict[str, str]:
    """Return the key of each stage by its name; each stage must come after those it needs."""
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = stage.key(keys)
    return keys
