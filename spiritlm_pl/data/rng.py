"""Counter-based random numbers: splitmix64 (Steele, Lea and Flood, 2014) as a function of its keys alone.

A key has 64 bits. `derive(key, n)` is output number n of the splitmix64 generator whose state is `key`, and is a key
itself, so that random numbers form a tree: derive(derive(derive(seed, epoch), utterance), span). They can be computed
in any order, and the numpy functions equal the plain ones bit for bit.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB


def derive(key: int, counter: int) -> int:
    """Return output number `counter` of the generator whose state is `key`."""
    value = (key + GOLDEN * (counter + 1)) & MASK
    value = ((value ^ (value >> 30)) * FIRST) & MASK
    value = ((value ^ (value >> 27)) * SECOND) & MASK
    return value ^ (value >> 31)


def derive_many(key: int | Keys, counters: int | Keys) -> Keys:
    """Compute `derive` for arrays of keys or of counters (uint64), which broadcast; at least one must be an array."""
    keys, steps = np.asarray(key, dtype=np.uint64), np.asarray(counters, dtype=np.uint64)
    value = np.atleast_1d(steps) + np.uint64(1)
    value = value * np.uint64(GOLDEN) + keys
    value ^= value >> np.uint64(30)
    value *= np.uint64(FIRST)
    value ^= value >> np.uint64(27)
    value *= np.uint64(SECOND)
    value ^= value >> np.uint64(31)
    return value


def between(draw: int, low: int, high: int) -> int:
    """Map a random key to a uniform integer in [low, high], by multiplying its upper 32 bits."""
    return low + (((draw >> 32) * (high - low + 1)) >> 32)


def between_many(draws: Keys, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Compute `between` for arrays."""
    width = (high - low + 1).astype(np.uint64)
    return low + (((draws >> np.uint64(32)) * width) >> np.uint64(32)).astype(np.int64)


def name_key(name: str) -> int:
    """Return the key of a name (an utterance id, a stream), 64 bits of its BLAKE2b hash."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def name_keys(names: Iterable[bytes | memoryview], beginning: str = "") -> Keys:
    """Return the keys of many names (N,).

    Args:
        names: UTF-8 bytes of the names.
        beginning: what stands before each of them.
    """
    begun = blake2b(beginning.encode(), digest_size=8)
    digests = []
    for name in names:
        hashed = begun.copy()
        hashed.update(name)
        digests.append(hashed.digest())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
