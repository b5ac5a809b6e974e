"""Memory that a step of a training, or a part of a corpus, frees stays with the process, for the next one."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT = 2**31 - 1  # bytes of free memory at the end of the heap that stay
OWN_PAGES = 32 * 2**20  # blocks from this size on are no part of the heap; glibc goes up to this size by itself
SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_heap() -> bool:
    """Let glibc keep the end of its heap when it becomes free, from now on and for the whole process.

    By default glibc gives it back to the system, and the next step takes it anew, page by page, each of which the
    system fills with zeros. Large blocks go back at once all the same.

    Returns:
        Whether anything was set: not with another C library, nor where the environment sets how memory is given back.
    """
    if any(os.environ.get(name) for name in SET_BY_USER):
        return False
    try:
        library = ctypes.CDLL(None)
        return bool(library.gnu_get_libc_version and library.mallopt(M_MMAP_THRESHOLD, OWN_PAGES)) and bool(
            library.mallopt(M_TRIM_THRESHOLD, KEPT)
        )
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
