import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from spiritlm_pl.runtime.left_over import remove_left_over, temporary_folder, temporary_path
from spiritlm_pl.runtime.provenance import atomic_path

KILLED = """
import os, signal, sys
from pathlib import Path
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.provenance import atomic_path
folder = Path(sys.argv[1])
with atomic_path(folder / "a.json"), temporary_folder(folder / "model") as new:
    (new / "weights").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


WRITES = """
import sys
from pathlib import Path
from spiritlm_pl.runtime.left_over import temporary_folder
with temporary_folder(Path(sys.argv[1]) / "model") as new:
    print("writes", flush=True)
    sys.stdin.read()
    assert new.is_dir()
"""
ANOTHER_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def hidden(folder: Path) -> list[str]:
    return sorted(path.name.rpartition(".")[0][:7] for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert hidden(tmp_path) == [".a.json", ".model."]
    (tmp_path / ".a.json.17.tmp").touch()  # of another program
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another")
        remove_left_over(tmp_path)
        assert len(list(tmp_path.iterdir())) == 3
        temporary_path(tmp_path / "b").touch()  # of another machine
    for name, other in (("BOOT", "another start"), ("NAMESPACE", "another container")):
        (tmp_path.parent / other).touch()
        with monkeypatch.context() as patch:
            patch.setattr(f"spiritlm_pl.runtime.left_over.{name}", tmp_path.parent / other)
            remove_left_over(tmp_path)
            assert len(list(tmp_path.iterdir())) == 4
    with temporary_folder(tmp_path / "model") as own:
        assert [path for path in tmp_path.glob(".model.*")] == [own]
        with atomic_path(tmp_path / "c") as path:
            path.touch()
            remove_left_over(tmp_path)
            assert path.is_file() and own.is_dir()  # this process runs
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == ".a.json.17.tmp" and names[1].startswith(".b.") and names[2:] == ["c"]
    assert str(os.getpid()) in temporary_path(tmp_path / "d").name


def test_folders_above_that_were_missing_stay_if_they_hold_something(tmp_path: Path) -> None:
    for kept in (False, True):
        with pytest.raises(ValueError, match="early"), temporary_folder(tmp_path / "a" / "b" / "model") as new:
            (new / "weights").touch()
            if kept:
                (tmp_path / "a" / "mine").touch()
            raise ValueError("early")
        assert [path.name for path in tmp_path.rglob("*")] == (["a", "mine"] if kept else [])


def test_what_another_container_with_the_name_of_this_machine_writes_stays(tmp_path: Path) -> None:
    try:
        subprocess.run([*ANOTHER_CONTAINER, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no PID namespace can be made here")
    words = [sys.executable, "-c", WRITES, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "writes\n"
        subprocess.run([*ANOTHER_CONTAINER, *words], check=True, stdin=subprocess.DEVNULL)
        process.communicate("")
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


FULL = "No space left on device"


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_is_on_the_disk_before_it_has_its_name(
    synced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it could be empty after a power failure, and what it replaced would be gone."""
    path = tmp_path / "a"
    done: list[tuple[bytes, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append((os.pread(number, 9, 0), path.exists())))
    with atomic_path(path, synced=synced) as temporary:
        temporary.write_bytes(b"all of it")
    assert done == ([(b"all of it", False)] if synced else [])
    assert path.read_bytes() == b"all of it"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL),
        OSError(f"Error writing bytes to file. Detail: [errno 28] {FULL}"),  # Arrow
        SafetensorError(f"Error while serializing: I/O error: {FULL} (os error 28)"),
    ],
)
@pytest.mark.parametrize("context", [atomic_path, temporary_folder])
def test_a_full_disk_is_named(context: Callable[[Path], Any], error: Exception, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=rf"^\[Errno 28\] {FULL}: '.*/made'$"), context(tmp_path / "made"):
        raise error
    with pytest.raises(ValueError, match="^of another kind$"), context(tmp_path / "made"):
        raise ValueError("of another kind")
    assert not [*tmp_path.iterdir()]
