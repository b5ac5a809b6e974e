"""Work on the tasks of a folder, together with any number of other processes and machines that see the same folder.

A process takes a task that is not done, whose needs are done, and that nobody has (`spiritlm_pl.runtime.claims`), and
runs its commands in a process of their own, with the folder as working directory.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from rich.console import Console

from spiritlm_pl.cli.overwriting import overwriting
from spiritlm_pl.reproduce.plan import Task
from spiritlm_pl.reproduce.results import add_step, drop_result, is_complete, made_here, read_result
from spiritlm_pl.runtime.claims import BEAT_EVERY, Claim, newest, owner, take
from spiritlm_pl.runtime.devices import cpu_has_bfloat16
from spiritlm_pl.runtime.parallel import end_with_parent

PRELOAD = ["lightning.pytorch.cli", "transformers", "spiritlm_pl.cli.training", "spiritlm_pl.reproduce.work"]
CLAIMS, LOGS = "claims", "logs"
PAUSE = 0.5  # seconds between two looks at what runs here
WAIT = 5.0  # seconds between two looks at what others have done


class Workers:
    """Worker processes of this machine for the tasks of a folder.

    Args:
        folder: folder that all share.
        tasks: tasks in an order in which each comes after those it needs.
        jobs: largest number of threads that compute at the same time.
        console: console to tell what happens.
    """

    def __init__(self, folder: Path, tasks: Sequence[Task], jobs: int, console: Console) -> None:
        """Find out what is to be done."""
        self.folder, self.jobs, self.console = folder, jobs, console
        self.tasks = {task.name: task for task in tasks}
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.running: dict[str, tuple[ForkServerProcess, Claim, float]] = {}
        self.wanted = self._wanted(tasks)
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def _wanted(self, tasks: Sequence[Task]) -> list[str]:
        """Return the names of tasks that are to be done: runs that are not, and what these need and is not here."""
        wanted = {task.name for task in tasks if task.condition is not None and not self._is_done(task)}
        for task in reversed(tasks):
            if task.name in wanted:
                wanted |= {name for name in task.needs if not self._is_here(self.tasks[name])}
        return [task.name for task in tasks if task.name in wanted]

    def leave_out_unable(self) -> dict[str, set[str]]:
        """Leave out what is to be done, but calls a program that is not installed, with all that needs it.

        Returns:
            Names of the tasks that are left out, by the program that they lack.
        """
        lacking: dict[str, set[str]] = {}
        for name in self.wanted:
            task = self.tasks[name]
            missing = {program for program in task.programs if not shutil.which(program)}
            for program in missing | {one for one, names in lacking.items() if names & set(task.needs)}:
                lacking.setdefault(program, set()).add(name)
        self.wanted = [name for name in self.wanted if not any(name in names for names in lacking.values())]
        return lacking

    def _is_done(self, task: Task) -> bool:
        return is_complete(read_result(self.folder, task.name), task)

    def _is_here(self, task: Task) -> bool:
        """Whether a task is done, and what it makes lies in this folder, not only the result of another folder."""
        return len(made_here(self.folder, read_result(self.folder, task.name), task)) == len(task.steps)

    def run(self) -> set[str]:
        """Do all that is to be done and nobody else does, and wait for the others; return the names of failed tasks.

        Raises:
            KeyboardInterrupt: after the running commands were stopped and given back.
        """
        context = _forkserver()
        stop = threading.Event()
        threading.Thread(target=self._beat, args=(stop,), daemon=True).start()
        looked = 0.0
        try:
            while True:
                self._collect()
                if time.monotonic() - looked > WAIT or not self.running:
                    looked = time.monotonic()
                    self._look()
                self._start_ready(context)
                if not self.running:
                    if not self._open():
                        return self.failed
                    self._tell_of_others()
                time.sleep(PAUSE if self.running else WAIT)
        finally:
            stop.set()
            self._stop()

    def _look(self) -> None:
        """See what is done by now."""
        for name in self.wanted:
            if name not in self.done and name not in self.running and self._is_here(self.tasks[name]):
                self.done.add(name)
                self.failed.discard(name)  # another has done what failed here

    def _ready(self, task: Task) -> bool:
        return all(need in self.done or need not in self.wanted for need in task.needs)

    def _open(self) -> list[Task]:
        """Return the tasks that are not done and do not run here, without those that have failed here or need such."""
        lost = set(self.failed)
        found = []
        for name in self.wanted:
            task = self.tasks[name]
            if lost & set(task.needs):
                lost.add(name)
            elif name not in self.done and name not in self.running and name not in lost:
                found.append(task)
        return found

    def _tell_of_others(self) -> None:
        """Say once for each task which process it is waited for."""
        for task in self._open():
            path = newest(self.folder / CLAIMS, task.name)
            told = {} if path is None else owner(path)
            if told and task.name not in self._told:
                self._told.add(task.name)
                self.console.print(f"Waiting for {task.title}, which process {told['process']} on {told['host']} does.")

    def _start_ready(self, context: ForkServerContext) -> None:
        for task in self._open():
            busy = sum(self.tasks[name].threads for name in self.running)
            if busy and busy + task.threads > self.jobs:
                return
            if not self._ready(task):
                continue
            claim = take(self.folder / CLAIMS, task.name)
            if claim is None:
                continue
            if self._is_here(task):  # finished by another since we looked
                claim.release()
                self.done.add(task.name)
                continue
            threads = min(task.threads, self.jobs)
            held = str(claim.path.absolute())
            process = context.Process(target=perform, args=(str(self.folder), task, threads, held), name=task.name)
            process.start()
            with self._lock:
                self.running[task.name] = (process, claim, time.monotonic())
            self.console.print(f"{task.title} ...")

    def _collect(self) -> None:
        for name, (process, claim, started) in list(self.running.items()):
            if process.is_alive():
                continue
            with self._lock:
                self.running.pop(name)
            kept = claim.beat()
            claim.release()
            taken = time.monotonic() - started
            if process.exitcode == 0:
                self.done.add(name)
                left = len(self._open()) + len(self.running)
                self.console.print(f"{self.tasks[name].title}: done in {taken:.0f} s, {left} left")
            elif kept:
                self.failed.add(name)
                title = f"{self.tasks[name].title}: failed (exit {process.exitcode})"
                self.console.print(f"{title}; {self._end_of_log(name)}", markup=False)
            else:
                self.console.print(f"{self.tasks[name].title}: given up here, since its claim was lost")

    def _end_of_log(self, name: str) -> str:
        log = log_path(self.folder, name)
        if not log.is_file():
            return "it ended before it had a log"
        return "\n".join([f"the end of {log}:", *log.read_text(errors="replace", encoding="utf-8").splitlines()[-8:]])

    def _beat(self, stop: threading.Event) -> None:
        """Tell others that the work goes on; end commands whose claim is lost, which another machine does again."""
        while not stop.wait(BEAT_EVERY):
            with self._lock:
                held = list(self.running.values())
            for process, claim, _ in held:
                if not claim.beat() and process.is_alive():
                    process.terminate()

    def _stop(self) -> None:
        for process, _, _ in self.running.values():
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGINT)
        for process, claim, _ in self.running.values():
            process.join(timeout=20)
            if process.is_alive():
                process.terminate()
                process.join(timeout=20)
            claim.release()
        self.running.clear()


def _forkserver() -> ForkServerContext:
    """Start the process that others are forked from; Ctrl-C waits in it, and in those, until `perform` has a log."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    resource_tracker.ensure_running()  # which would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def log_path(folder: Path, name: str) -> Path:
    """Return the log of a task."""
    return folder / LOGS / f"{name}.log"


def perform(folder: str, task: Task, threads: int, claim: str) -> None:
    """Run the steps of a task that are not done, in this process, and write what each gave; exit with 2 on an error.

    Nothing is written once the claim is lost, since another process then writes the same.

    Args:
        folder: folder of the results, which becomes the working directory.
        task: task to do.
        threads: number of threads to compute with.
        claim: absolute path of the claim on the task, which the process that started this one holds.
    """
    end_with_parent()  # since others then take over its task
    os.chdir(folder)
    log = log_path(Path(), task.name)
    log.parent.mkdir(exist_ok=True)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import torch  # from here on, what fails is in the log

    from spiritlm_pl.cli.main import guarded, run

    torch.set_num_threads(threads)
    done = made_here(Path(), read_result(Path(), task.name), task)
    if task.steps[0].name not in done:
        done = {}
        drop_result(Path(), task.name)
    for step in task.steps:
        if step.name in done:
            continue
        words = [*step.command, *overwriting(step.command), *machine_options(step.command)]
        print(f"\n$ spiritlm {' '.join(words)}", flush=True)
        start = time.monotonic()
        code = guarded(partial(run, words))
        if code:
            sys.exit(code)
        if not Claim(Path(claim)).beat():
            sys.exit("The claim on this task is lost, so that another process may do it: its result is not written.")
        add_step(Path(), task, step, time.monotonic() - start, words)


def machine_options(command: Sequence[str]) -> list[str]:
    """Return options of a training that depend on the machine: float32 where bfloat16 would be emulated."""
    return ["--trainer.precision=32-true"] if command[0] == "fit" and not cpu_has_bfloat16() else []
