"""Control of Ctrl-C: delayed where an operation must not be interrupted, or fatal at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held(from_children: bool = False) -> Iterator[None]:
    """Delay Ctrl-C to the end of the block; in threads other than the main one, nothing changes.

    Args:
        from_children: whether processes that are started in the block never get Ctrl-C, which is left to this process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    masked = from_children and hasattr(signal, "pthread_sigmask")  # child processes inherit the mask of this thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if masked else set()
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if came and callable(handler):
        handler(signal.SIGINT, None)


@contextmanager
def interrupts_kill() -> Iterator[None]:
    """Let Ctrl-C end the process at once, for imports, where Python may lose it and no work has begun."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a background job may ignore it
    if threading.current_thread() is not threading.main_thread() or not usual:
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
