"""Run a stage that would take long, tell its process, and be killed (by test_runner.py)."""

import multiprocessing
import os
import time

from spiritlm_pl.quickstart.stage import Stage


class Long(Stage):
    """Stage of a command that takes long."""

    def _resumed(self, key: str) -> list[tuple[str, ...]]:
        print(os.getpid(), flush=True)
        time.sleep(100)
        return []


if __name__ == "__main__":
    multiprocessing.get_context("forkserver").Process(
        target=Long(name="a", title="A", commands=()).run, args=("",)
    ).start()
    time.sleep(100)
