"""What stands for `sys.executable` in tests behaves as it does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

StartRanks = Callable[..., Callable[..., str]]  # the fixture

TOLD = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["OWN"], sys.path[0], __name__, "torch" in sys.modules]))
print("an error", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
WAITS = "import sys, time; print('waits', flush=True); time.sleep(60)"


@pytest.mark.parametrize("code", ["0", "7"])
def test_a_script_runs_as_in_an_interpreter(python: Path, tmp_path: Path, code: str) -> None:
    script = tmp_path / "scripts" / "told.py"
    script.parent.mkdir()
    script.write_text(TOLD)
    warm, fresh = (
        subprocess.run(
            [program, script, code, "a b"], cwd=tmp_path, env={**os.environ, "OWN": "1"}, capture_output=True, text=True
        )
        for program in (python, sys.executable)
    )
    assert warm.stdout == fresh.stdout.replace("false]", "true]") and "true]" in warm.stdout
    assert (warm.returncode, warm.stderr) == (fresh.returncode, fresh.stderr) == (int(code), "an error\n")


def test_modules_commands_and_options_run_as_in_an_interpreter(python: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys; print(sys.argv[1:], __name__, __spec__.name)")
    for words in (["-m", "own", "a"], ["-c", "import sys; print(sys.argv)", "b"], ["-W", "error", "-c", "print(1)"]):
        warm, fresh = (
            subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True)
            for program in (python, sys.executable)
        )
        assert (warm.returncode, warm.stdout, warm.stderr) == (0, fresh.stdout, ""), words
    failed = subprocess.run([python, "-c", "raise ValueError('why')"], capture_output=True, text=True)
    assert failed.returncode == 1 and failed.stderr.endswith("ValueError: why\n")


def test_ranks_are_killed_with_what_has_started_them(python: Path) -> None:
    rank = f"import os; print(os.getpid(), flush=True); {WAITS}"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {rank!r}])"
    with subprocess.Popen([python, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        forked = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{forked}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{forked}").exists()


def test_ranks_that_wait_for_one_that_has_ended_are_told(start_ranks: StartRanks, tmp_path: Path) -> None:
    """What they wait for, such as a port, may take half an hour; the output of the one that failed says why."""
    script = tmp_path / "ranks.py"
    rank = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'])"
    script.write_text(f"import subprocess, sys\n{rank}\nprint('why', flush=True)\nsys.exit(3)\n")
    with pytest.raises(AssertionError, match="(?s)ranks still run after 2 s, and have printed:.*why"):
        start_ranks(script)(seconds=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_process(python: Path, number: int) -> None:
    script = f"import os; print(os.getpid(), flush=True); {WAITS}"
    with subprocess.Popen([python, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        forked = int(process.stdout.readline())
        assert process.stdout.readline() == "waits\n"
        process.send_signal(number)
        assert process.wait(60) == -number
    deadline = time.monotonic() + 60
    while Path(f"/proc/{forked}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{forked}").exists()
