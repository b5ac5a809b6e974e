"""Freed memory is used again without new pages, unless the user has said how memory is given back."""

import platform
import subprocess
import sys

import pytest

from spiritlm_pl.runtime.heap import SET_BY_USER, keep_heap

FAULTS = """
import resource
from spiritlm_pl.runtime.heap import keep_heap
kept = {keep} and keep_heap()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(100_000) for _ in range(300)]  # 30 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(kept, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc only")
def test_freed_memory_is_used_again() -> None:
    found = []
    for keep in (False, True):
        code = FAULTS.format(keep=keep)
        told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        assert told[0] == str(keep)
        found.append(int(told[1]))
    assert found[1] < 500 < 5000 < found[0]


@pytest.mark.parametrize("name", SET_BY_USER)
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "131072")
    assert not keep_heap()
