"""Ctrl-C at a moment that suits: not in the middle of what must not be cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held(from_children: bool = False) -> Iterator[None]:
    """Ctrl-C takes effect at the end of the block; on threads other than the main one, nothing changes.

    Args:
        from_children: processes started within never see Ctrl-C: it is their parent's business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    masked = from_children and hasattr(signal, "pthread_sigmask")  # children inherit the mask of this thread
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
    """Ctrl-C ends the process at once: for imports, where Python may swallow it, and nothing has begun yet."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a background job may ignore it
    if threading.current_thread() is not threading.main_thread() or not usual:
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
