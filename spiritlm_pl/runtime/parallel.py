"""Calls of one function over many items in several processes, in order, with a progress bar."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spiritlm_pl.runtime.devices import num_cores
from spiritlm_pl.runtime.interrupts import interrupts_held

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 64  # chunks for each worker that are sent, or done and not yet wanted, so that memory is bounded

_stop: Event | None = None  # of a worker: set when its results are no longer needed
_function: Callable[[Any], Any] | None = None  # of a worker, which keeps it, with all that it has read, for all items


def _start_worker(stop: Event, function: Callable[[Any], Any]) -> None:
    global _stop, _function
    _stop, _function = stop, function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where `interrupts_held` cannot keep it away
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, if the function imports it later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def end_with_parent() -> None:
    """Let this process end when the one that has started it and wants its results is killed; a thread waits for that.

    Else it would wait for work for ever, or go on with what another run begins anew.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _run_chunk(items: Sequence[Any]) -> list[Any]:
    assert _stop is not None and _function is not None
    results = []
    for item in items:
        if _stop.is_set():
            break
        results.append(_function(item))
    return results


def num_workers(num_jobs: int | None, num_items: int) -> int:
    """Return the number of processes: `num_jobs`, or else one per core; fewer if there are few items.

    Raises:
        ValueError: if `num_jobs` is below 1.
    """
    if num_jobs is not None and num_jobs < 1:
        raise ValueError(f"num_jobs must be at least 1, but is {num_jobs} instead")
    return max(1, min(num_jobs or num_cores(), num_items // 32))


def in_background(function: Callable[[], Result]) -> Future[Result]:
    """Call a function in a thread that ends with the program, whatever it does then; return its result to come."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, name=f"in background: {function}", daemon=True).start()
    return future


def start_server(*modules: str) -> None:
    """Start the process that workers are forked from, if the system has such, which imports what they need meanwhile.

    Calling this early saves the time of these imports; nothing else changes.

    Args:
        modules: names of the modules that workers need.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload([*modules])
        resource_tracker.ensure_running()  # which the server would start, and which lets interrupts through again
        with interrupts_held(from_children=True):
            forkserver.ensure_running()


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_jobs: int | None,
    description: str,
    worth: int | None = None,
    total: int | None = None,
) -> Iterator[Result]:
    """Yield the results of `function` in the order of the items, of which a bounded number is held in memory.

    Args:
        function: function to call. It must be importable by its name, as it runs in other processes, and slow enough to
            be worth that. An object may keep what it has read for the next items: each process has one copy of it.
        items: items to call it with, one per call.
        num_jobs: number of processes; None for one per core.
        description: text before the progress bar.
        worth: number of small items that these amount to, on which the number of processes depends; None for the number
            of items.
        total: number of items; None where they are a collection, which tells it.

    A script that calls this needs the usual `if __name__ == "__main__":`, as always with multiprocessing.
    """
    if total is None:
        assert isinstance(items, Sized), "the number of items is known"
        total = len(items)
    workers = min(num_workers(num_jobs, worth or total), max(1, total))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        if workers == 1:
            for item in items:
                yield function(item)
                progress.advance(task)
            return
        small = (worth or total) // max(1, total)  # items that one amounts to
        size = max(1, min(8, total // (workers * 8)) // small)  # small, since an interrupt loses unfinished chunks
        for results in _in_processes(function, _chunks(items, size), workers):
            yield from results
            progress.advance(task, len(results))


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    members = iter(items)
    while chunk := list(islice(members, size)):
        yield chunk


def _in_processes(
    function: Callable[[Item], Result], chunks: Iterator[list[Item]], workers: int
) -> Iterator[list[Result]]:
    """Yield the results of each chunk, in order, while workers go ahead by `AHEAD` chunks each."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    home = function.func if isinstance(function, partial) else function
    start_server(getattr(home, "__module__", __name__))
    stop = context.Event()
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(stop, function))
    futures: deque[Future[list[Result]]] = deque()
    try:
        while True:
            for chunk in islice(chunks, workers * AHEAD - len(futures)):
                with interrupts_held(from_children=True):  # workers are started by the first calls
                    futures.append(executor.submit(_run_chunk, chunk))
            if not futures:
                return
            yield futures.popleft().result()
    finally:
        with interrupts_held():  # a second interrupt here would leave workers behind
            stop.set()
            executor.shutdown(cancel_futures=True)
