"""One stage of the quickstart: some `spiritlm` commands, run in a process of their own, once.

A finished stage leaves a stamp with the key of what it ran (commands, configurations, parents' keys), so that
running the quickstart again does only what is missing or has changed.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from spiritlm_pl.cli.configs import CONFIG_OPTIONS, config_folder, find_config
from spiritlm_pl.runtime.provenance import atomic_path

ROOT = Path("quickstart")
STAMPS = ROOT / "stages"
LOGS = ROOT / "logs"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Commands that belong together.

    Attributes:
        name: short name, also of its log file.
        title: what a reader sees.
        commands: `spiritlm` commands, run one after the other.
        needs: names of the stages that must be finished before.
        threads: cores that it computes on.
        minutes: about how long it takes on two cores, to show what is coming.
        run_folders: folders of its trainers, one a command that trains; an interrupted one goes on from its last
            checkpoint, unless the stage's key has changed since.
    """

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    threads: int = 1
    minutes: float = 0.5
    run_folders: tuple[str, ...] = ()
    configs: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the configurations that the commands name."""
        named = [words[i + 1] for words in self.commands for i, word in enumerate(words) if word in CONFIG_OPTIONS]
        object.__setattr__(self, "configs", tuple(named))

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LOGS / f"{self.name}.log"

    def key(self, parents: Mapping[str, str]) -> str:
        """Hash of the commands, the texts of their configurations and of all parts, and the parents' keys."""
        digest = hashlib.sha256(json.dumps(self.commands).encode())
        parts = sorted((config_folder() / "parts").rglob("*.yaml")) if self.configs else []
        for path in parts:  # whichever of them the configurations name
            digest.update(path.read_bytes())
        for name in self.configs:
            digest.update(find_config(name).read_bytes())
        for name in self.needs:
            digest.update(parents[name].encode())
        return digest.hexdigest()

    def finished(self, key: str) -> float | None:
        """Seconds that the stage took if it was finished with this key, else None."""
        stamp = STAMPS / f"{self.name}.json"
        if not stamp.is_file():
            return None
        content = json.loads(stamp.read_text(encoding="utf-8"))
        return float(content["seconds"]) if content["key"] == key else None

    def run(self, key: str) -> None:
        """Run all commands in this process, output to the log, and leave the stamp. Exits 2 on a user's error."""
        import torch

        from spiritlm_pl.cli.main import guarded, run

        LOGS.mkdir(parents=True, exist_ok=True)
        stream = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        torch.set_num_threads(self.threads)
        start = time.monotonic()
        for words in self._resumed(key):
            print(f"\n$ spiritlm {' '.join(words)}", flush=True)
            code = guarded(partial(run, list(words)))
            if code:
                sys.exit(code)
        with atomic_path(STAMPS / f"{self.name}.json") as path:
            path.write_text(json.dumps({"key": key, "seconds": round(time.monotonic() - start, 1)}), encoding="utf-8")

    def _resumed(self, key: str) -> list[tuple[str, ...]]:
        """The commands, those that train going on from their last checkpoint if it is of the same key."""
        from spiritlm_pl.runtime.checkpoint import newest_checkpoint

        for folder in map(Path, self.run_folders):
            mark = folder / "stage.key"
            if mark.is_file() and mark.read_text(encoding="utf-8") != key:
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(key, encoding="utf-8")
        trainers = iter(self.run_folders)
        commands = []
        for words in self.commands:
            run_folder = next(trainers, "") if words[0] == "fit" else ""
            going_on = run_folder and newest_checkpoint(Path(run_folder) / "checkpoints")
            commands.append((*words, "--ckpt_path=last") if going_on else words)
        return commands
