"""What stands for `sys.executable` in tests behaves as it does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
