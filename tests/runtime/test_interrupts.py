"""Ctrl-C at moments that suit."""

import os
import signal
import subprocess
import sys

import pytest

from spiritlm_pl.runtime.interrupts import interrupts_held


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all")
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="mine"), interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("mine")


def test_children_do_not_see_interrupts() -> None:
    child = "import signal, os; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    with interrupts_held(from_children=True):
        done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert done.stdout == "alive\n"


def test_an_interrupt_ends_an_import_in_silence() -> None:
    script = (
        "import os, signal\nfrom spiritlm_pl.runtime.interrupts import interrupts_kill\n"
        "with interrupts_kill():\n    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT and done.stdout + done.stderr == ""
