"""Runner of stages in the order of their needs, in parallel while cores are free, with a live display."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.process import BaseProcess

from rich.console import Console
from rich.live import Live
from rich.table import Table

from spiritlm_pl.quickstart.stage import Stage, stage_keys
from spiritlm_pl.runtime.interrupts import interrupts_held

# Imported once by the process that stages are forked from, which saves some seconds per stage.
PRELOAD = ["lightning.pytorch.cli", "mlflow", "transformers", "lhotse", "torchaudio", "spiritlm_pl.cli.training"]
SYMBOLS = {
    "waiting": "[dim]·[/]",
    "running": "[cyan]▶[/]",
    "stopped": "[dim]·[/]",
    "done": "[green]✓[/]",
    "kept": "[green]✓[/]",
}


def last_line(stage: Stage, width: int = 60) -> str:
    """Return the end of a stage's log, which is what its progress bar shows now."""
    if not stage.log.is_file():
        return ""
    with stage.log.open("rb") as stream:
        stream.seek(max(0, stage.log.stat().st_size - 4096))
        text = stream.read().decode(errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:width] if lines else ""


def by_urgency(stages: list[Stage]) -> list[Stage]:
    """Return stages in the order in which they get cores: first that after which the longest chain of others waits.

    Args:
        stages: stages in an order in which each comes after those it needs, which decides among equals.
    """
    minutes: dict[str, float] = {}  # from the start of each until the end of the longest chain of stages that need it
    for stage in reversed(stages):
        after = [minutes[other.name] for other in stages if stage.name in other.needs]
        minutes[stage.name] = stage.minutes + max(after, default=0.0)
    return sorted(stages, key=lambda stage: -minutes[stage.name])


class Runner:
    """Scheduler of stages.

    Args:
        stages: stages in an order in which each comes after those it needs.
        cores: largest number of threads that compute at the same time.
        look: function that looks at what a finished stage has made, and returns a line to print, if any; its error
            ends all.

    Attributes:
        failed: stage that has failed; None if none has.
    """

    def __init__(self, stages: list[Stage], cores: int, look: Callable[[Stage], str] = lambda stage: "") -> None:
        """Compute every stage's key and see which are finished."""
        self.stages = stages
        self.cores = cores
        self.look = look
        self.keys = stage_keys(stages)
        self.urgent = by_urgency(stages)
        self.seconds: dict[str, float] = {}
        self.state: dict[str, str] = {}
        self.started: dict[str, float] = {}
        self.processes: dict[str, BaseProcess] = {}
        self.failed: Stage | None = None
        for stage in stages:
            taken = stage.finished(self.keys[stage.name])
            self.state[stage.name] = "waiting" if taken is None else "kept"
            if taken is not None:
                self.seconds[stage.name] = taken

    def table(self) -> Table:
        """Return the table that the display shows now."""
        table = Table(box=None, padding=(0, 1), show_header=False)
        for stage in self.stages:
            state = self.state[stage.name]
            if state == "running":
                note = last_line(stage)
                taken = time.monotonic() - self.started[stage.name]
            else:
                waiting, kept = f"about {stage.minutes:.1f} min", "kept from an earlier run"
                note = {"waiting": waiting, "kept": kept, "stopped": "stopped"}.get(state, "")
                taken = self.seconds.get(stage.name, 0.0)
            clock = f"{int(taken) // 60}:{int(taken) % 60:02d}" if taken else ""
            table.add_row(SYMBOLS[state], stage.title, clock, note)
        return table

    def run(self, console: Console) -> None:
        """Run all stages that are not finished.

        Raises:
            ChildProcessError: if a stage failed; the message names and quotes its log.
            KeyboardInterrupt: after the running stages were asked to stop; the message tells what is kept.
            ValueError: if what a stage has made is of no use for the next ones.
        """
        for stage in self.stages:
            if self.state[stage.name] == "kept":
                self._look(stage, console)
        context = multiprocessing.get_context("forkserver")
        try:
            with Live(get_renderable=self.table, console=console, refresh_per_second=2, transient=False) as live:
                try:
                    while "waiting" in self.state.values() or self.processes:
                        self._start_ready(context, console, live)
                        self._collect(console, live)
                        time.sleep(0.2)
                except BaseException as error:
                    self._stop()
                    if isinstance(error, KeyboardInterrupt):
                        raise KeyboardInterrupt(self.kept()) from None
                    raise
        finally:
            if not console.is_terminal:
                console.line()  # ends the last line of the table, which `Live` does on terminals alone

    def kept(self) -> str:
        """Return what an interrupt leaves, and how to go on."""
        finished = sum(state in ("done", "kept") for state in self.state.values())
        return (
            f"{finished} of {len(self.stages)} stages are finished and kept, and training goes on from its last "
            "checkpoint: run the same command again"
        )

    def _start_ready(self, context: multiprocessing.context.ForkServerContext, console: Console, live: Live) -> None:
        """Start what there are cores for; what stands after a stage that waits for cores only if it ends before."""
        by_name = {stage.name: stage for stage in self.stages}
        room, pace = float("inf"), self._pace()  # minutes until a stage that is ready will have its cores
        for stage in self.urgent:
            busy = sum(by_name[name].threads for name in self.processes)
            ready = all(self.state[name] in ("done", "kept") for name in stage.needs)
            if self.state[stage.name] != "waiting" or not ready:
                continue
            if busy and (busy + stage.threads > self.cores):
                room = min(room, self._minutes_until(busy + stage.threads - self.cores, pace))
            elif stage.minutes * pace <= room:
                # The first one does not wait for the server, which imports for seconds what only later ones need.
                first = not self.started
                own = multiprocessing.get_context("spawn") if first else context
                process = own.Process(target=stage.run, args=(self.keys[stage.name],), name=stage.name)
                # Of the server's start, which may wait for its imports, an interrupt leaves nothing, and is not held.
                with interrupts_held(from_children=True) if first else nullcontext():
                    process.start()
                    self.processes[stage.name] = process
                    self.state[stage.name] = "running"
                    self.started[stage.name] = time.monotonic()
                if not live.is_started or not console.is_terminal:
                    console.print(f"{stage.title} ...")

    def _pace(self) -> float:
        """Return how many times its estimate a stage takes, by those that this run has finished."""
        done = [stage for stage in self.stages if self.state[stage.name] == "done"]
        expected = sum(stage.minutes for stage in done)
        return sum(self.seconds[stage.name] for stage in done) / 60 / expected if expected else 1.0

    def _minutes_until(self, threads: int, pace: float) -> float:
        """Estimate in how many minutes the running stages that end first will have left so many threads.

        A stage that takes longer than its estimate is thought to take as long again as it is late.
        """
        now = time.monotonic()
        running = [stage for stage in self.stages if stage.name in self.processes]
        left = {one.name: one.minutes * pace - (now - self.started[one.name]) / 60 for one in running}
        for stage in sorted(running, key=lambda one: abs(left[one.name])):
            threads -= stage.threads
            if threads <= 0:
                return abs(left[stage.name])
        return max(map(abs, left.values()))

    def _collect(self, console: Console, live: Live) -> None:
        for name, process in list(self.processes.items()):
            if process.is_alive():
                continue
            stage = next(stage for stage in self.stages if stage.name == name)
            self.processes.pop(name)
            if process.exitcode:
                self.failed = stage
                written = stage.log.read_text(errors="replace", encoding="utf-8") if stage.log.is_file() else ""
                tail = "\n".join(written.splitlines()[-15:])
                told = f"the end of {stage.log}:\n{tail}" if written else "before it wrote a log"
                raise ChildProcessError(f"stage {name!r} failed (exit {process.exitcode}); {told}")
            self.state[name] = "done"
            self.seconds[name] = time.monotonic() - self.started[name]
            if not console.is_terminal:
                console.print(f"{stage.title}: done in {self.seconds[name]:.0f} s")
            self._look(stage, console)

    def _look(self, stage: Stage, console: Console) -> None:
        if told := self.look(stage):
            console.print(told, markup=False, soft_wrap=True)

    def _stop(self) -> None:
        """Ask the running stages to stop; the display shows so in place of the ends of their logs."""
        self.state |= {name: "stopped" for name, state in self.state.items() if state == "running"}
        for process in self.processes.values():
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGINT)
        for process in self.processes.values():
            process.join(timeout=20)
            if process.is_alive():
                process.terminate()
