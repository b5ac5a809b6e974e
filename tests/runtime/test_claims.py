"""One process has a piece of work; what the dead have is taken over, by one."""

import errno
import json
import multiprocessing
import os
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.batch.items import LinesWriter
from spiritlm_pl.cli.main import run
from spiritlm_pl.runtime import claims
from spiritlm_pl.runtime.claims import DEAD_AFTER, GIVE_UP_AFTER, Claim, newest, only_writer, owner, take
from spiritlm_pl.runtime.left_over import this_machine


def _of_process(folder: Path, process: int, machine: str | None = None) -> Path:
    """Let a claim on "work" be that of another process."""
    claim = take(folder, "work")
    assert claim is not None
    told = owner(claim.path) | {"process": process} | ({"machine": machine} if machine else {})
    claim.path.write_text(json.dumps(told))
    return claim.path


def _ended() -> int:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def test_work_is_claimed_once_and_given_back(tmp_path: Path) -> None:
    claim = take(tmp_path / "claims", "work")
    assert claim is not None and claim.beat()
    assert owner(claim.path)["process"] == os.getpid()
    assert take(tmp_path / "claims", "work") is None
    assert take(tmp_path / "claims", "work-1") is not None
    claim.release()
    assert take(tmp_path / "claims", "work") is not None


def test_names_with_a_common_beginning_are_other_work(tmp_path: Path) -> None:
    assert take(tmp_path, "share_1-0") is not None
    assert newest(tmp_path, "share_1") is None
    assert take(tmp_path, "share_1") is not None


def test_a_claim_of_an_ended_process_is_taken_over(tmp_path: Path) -> None:
    dead = _of_process(tmp_path, _ended())
    claim = take(tmp_path, "work")
    assert claim is not None and claim.path.name == "work.2.json" and not dead.exists()
    assert not Claim(dead).beat() and claim.beat()
    assert take(tmp_path, "work") is None


@pytest.mark.parametrize(("silent", "taken"), [(0.5 * DEAD_AFTER, False), (2 * DEAD_AFTER, True)])
def test_a_claim_of_another_machine_lives_by_its_heartbeat(tmp_path: Path, silent: float, taken: bool) -> None:
    path = _of_process(tmp_path, _ended(), machine="elsewhere")  # no process of such a number runs here
    before = path.stat().st_mtime - silent
    os.utime(path, (before, before))
    assert (take(tmp_path, "work") is not None) == taken


def test_of_two_that_take_over_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _of_process(tmp_path, _ended())
    link = os.link

    def beaten(source: Path, target: Path) -> None:
        """Let another process be faster, between the look at the dead claim and the new one."""
        target.write_text(json.dumps({"host": "b", "machine": "b", "process": 1, "since": 0}))
        link(source, target)

    monkeypatch.setattr(claims.os, "link", beaten)
    assert take(tmp_path, "work") is None
    found = newest(tmp_path, "work")
    assert found is not None and owner(found)["machine"] == "b"


def test_an_owner_that_slept_learns_that_it_lost(tmp_path: Path) -> None:
    claim = take(tmp_path, "work")
    assert claim is not None
    claim.path.with_name("work.2.json").write_text(claim.path.read_text())
    assert not claim.beat()


def _count(folder: Path, many: int) -> int:
    return sum(take(folder, f"work-{number}") is not None for number in range(many))


def test_many_processes_take_each_work_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        taken = pool.starmap(_count, [(tmp_path, 40)] * 3)
        assert sum(taken) == 40


def test_an_error_that_passes_ends_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, now = take(tmp_path, "work"), 1000.0
    assert claim is not None
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)

    def stale(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    assert claim.beat()
    with monkeypatch.context() as broken:
        broken.setattr(claims.os, "utime", stale)
        now += GIVE_UP_AFTER - 1
        assert claim.beat()
    assert claim.beat()  # counted anew from here
    monkeypatch.setattr(claims.os, "utime", stale)
    now += GIVE_UP_AFTER - 1
    assert claim.beat()
    now += 2
    assert not claim.beat()
    monkeypatch.undo()
    assert not claim.beat()  # another may have begun in the meantime


def test_a_claim_that_cannot_be_removed_is_left_to_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = take(tmp_path, "work")
    assert claim is not None

    def unreachable(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", unreachable)
        claim.release()
    assert claim.path.exists()
    claim.release()
    claim.release()
    assert not claim.path.exists()


def _writer(folder: Path, ready: Any, end: Any) -> None:
    with only_writer(folder, "out"):
        ready.set()
        end.wait(60)


def test_a_folder_is_written_by_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "corpus"
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=_writer, args=(folder, ready, end))
    process.start()
    assert ready.wait(60)
    told = f"out must be a folder that no other process writes to, but process {process.pid} on .* writes to {folder}"
    with pytest.raises(ValueError, match=told), only_writer(folder, "out"):
        pass
    with only_writer(folder / "inner", "out"):
        (folder / "inner" / "file").touch()
    end.set()
    process.join()
    with only_writer(folder, "out"), only_writer(folder, "out"):  # of this process, which may call itself
        assert len([*folder.glob(".*")]) == 1
    assert [path.name for path in folder.iterdir()] == ["inner"]


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOOK_EVERY", 0.05)


def test_a_killed_writer_is_followed_at_once(tmp_path: Path) -> None:
    dead = _of_process(tmp_path, _ended())
    dead.rename(tmp_path / f"{claims.WRITER}.1.json")
    with only_writer(tmp_path, "out"):
        pass
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"machine": 5, "process": "x"}'])
def test_one_that_was_killed_elsewhere_is_waited_for_until_it_is_dead(
    content: str | None, tmp_path: Path, quick_looks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _of_process(tmp_path, _ended(), machine="elsewhere").rename(tmp_path / f"{claims.WRITER}.1.json")
    if content is not None:  # damaged
        path.write_text(content)
    before = path.stat().st_mtime - DEAD_AFTER + 0.3
    os.utime(path, (before, before))
    with only_writer(tmp_path, "out"):
        assert newest(tmp_path, claims.WRITER) == tmp_path / f"{claims.WRITER}.2.json"
    assert not [*tmp_path.iterdir()]
    assert f"{tmp_path}: waiting to see whether " in capsys.readouterr().err


def test_one_that_lives_elsewhere_is_known_by_its_next_heartbeat(tmp_path: Path, quick_looks: None) -> None:
    path = _of_process(tmp_path, _ended(), machine="elsewhere").rename(tmp_path / f"{claims.WRITER}.1.json")
    timer = threading.Timer(0.3, os.utime, [path])
    timer.start()
    with pytest.raises(ValueError, match=f"process .* writes to {tmp_path}: wait for its end"):
        with only_writer(tmp_path, "out"):
            pass
    timer.join()


def test_an_owner_of_this_processs_number_is_one_before_a_new_start(tmp_path: Path) -> None:
    claim = take(tmp_path, claims.WRITER)
    assert claim is not None  # as it is left by process 1 of a container
    copy = tmp_path / f"{claims.WRITER}.1 (copy).json"
    copy.write_text(claim.path.read_text())
    with only_writer(tmp_path, "out"):
        assert not claim.path.exists()
    assert [*tmp_path.iterdir()] == [copy]


def test_a_copied_claim_does_not_shut_the_copy(tmp_path: Path) -> None:
    """One that is seen by another path, as where a folder is mounted twice, is the same claim."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    claim = _of_process(folder, os.getppid())
    (folder / "link").symlink_to(folder)
    assert take(folder, "work") is None and take(folder / "link", "work") is None
    for number, copied in enumerate((shutil.copytree, partial(shutil.copytree, copy_function=os.link))):
        copy = tmp_path / str(number)
        copied(folder, copy, symlinks=True)
        assert (take(copy, "work") is None) == bool(number)
    other = claims.OtherLaunches(tmp_path / "0", "out")
    claim.rename(tmp_path / f"{claims.WRITER}.1.json")
    shutil.copy(tmp_path / f"{claims.WRITER}.1.json", tmp_path / "0")
    assert other.leave_it()


def test_a_heartbeat_does_not_list_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = take(tmp_path, "work")
    assert claim is not None

    def listed(*folder: Any) -> None:
        raise AssertionError("a folder of 200,000 files is listed")

    for module, name in ((os, "listdir"), (os, "scandir"), (Path, "glob"), (Path, "iterdir")):
        monkeypatch.setattr(module, name, listed)
    assert claim.beat() and claim.is_in_force()
    claim.path.with_name("work.2.json").touch()
    assert not claim.is_in_force() and not claim.beat()


def test_a_requeued_job_takes_over_its_own_claim_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of another number of its step or another container of its task, nor that of another job or cluster."""
    job = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    job["SLURM_CLUSTER_NAME"] = "a"
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    for number, (changed, count, taken) in enumerate(
        (
            ({}, "1", True),
            ({"restarts": 1}, "2", True),
            ({}, "0", False),
            ({"restarts": 1}, "1", False),
            ({"restarts": None}, "1", False),
            ({"rank": 1}, "1", False),
            ({"launch": "SLURM_JOB_ID=8 SLURM_STEP_ID=0 SLURM_CLUSTER_NAME=a"}, "1", False),
            ({"launch": "SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_CLUSTER_NAME=b"}, "1", False),
        )
    ):
        folder = tmp_path / str(number)
        claim = _of_process(folder, 1, machine="elsewhere")
        claim.write_text(json.dumps(owner(claim) | {"host": "node7"} | changed))
        with monkeypatch.context() as started:
            started.setenv("SLURM_RESTART_COUNT", count)
            assert (take(folder, "work") is not None) == taken, (changed, count)


def test_a_file_with_signs_of_patterns_in_its_name(tmp_path: Path) -> None:
    out = tmp_path / "a[1]*.jsonl"
    with only_writer(out, "out", file=True):
        (claim,) = tmp_path.iterdir()
        told = json.loads(claim.read_text())
    claim.write_text(json.dumps(told | {"process": os.getppid()}))
    with pytest.raises(ValueError, match="wait for its end"), only_writer(out, "out", file=True):
        pass


def test_what_is_made_for_a_claim_alone_goes_with_it(tmp_path: Path) -> None:
    with only_writer(tmp_path / "a" / "b", "out"):
        assert (tmp_path / "a" / "b").is_dir()
    with only_writer(tmp_path / "none", "corpus", new=False), only_writer(tmp_path / "c.jsonl", "out", file=True):
        assert [path.name for path in tmp_path.iterdir()] == [f".c.jsonl{claims.WRITER}.1.json"]
    assert not [*tmp_path.iterdir()]


def test_without_hard_links_there_is_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(claims.os, "link", refuse)
    with only_writer(tmp_path / "out", "out"):
        (tmp_path / "out" / "file").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


@pytest.mark.parametrize("ended", [False, True])
def test_a_writer_that_stood_still_while_another_began_is_told(ended: bool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another one has begun to write to .* while this one stood still: make it"):
        with only_writer(tmp_path, "out"):
            other = json.dumps({"host": "b", "machine": "b", "process": 7, "since": 0})
            (tmp_path / f"{claims.WRITER}.1.json").unlink()
            if not ended:
                (tmp_path / f"{claims.WRITER}.2.json").write_text(other)


def test_commands_do_not_mix_what_they_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    owner_ = json.dumps({"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{claims.WRITER}.1.json").write_text(owner_)
    for words, name in (
        (["prepare", "stories", "out"], "OUT"),
        (["prepare", "folder", "audio", "out"], "OUT"),
        (["prepare", "reference", "out"], "FOLDER"),
        (["align", "out"], "CORPUS"),
        (["build-conversations", "[]", "lm", "out"], "OUT"),
    ):
        with pytest.raises(
            ValueError, match=f"{name} must be a folder that no other process writes to, but process .* on b"
        ):
            run(words)
    (tmp_path / f".lines.jsonl{claims.WRITER}.1.json").write_text(owner_)
    with pytest.raises(ValueError, match="out must be a file that no other process writes to, but process .* on b"):
        with LinesWriter(Path("lines.jsonl"), []):
            pass


def test_lines_are_claimed_while_they_are_written_alone(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    writer = LinesWriter(out, [])
    assert not [*tmp_path.iterdir()]
    with writer:
        assert newest(tmp_path, f".{out.name}{claims.WRITER}") is not None
        writer.left([{"id": "a"}])
        writer.write({"id": "a"})
    assert [*tmp_path.iterdir()] == [out]
    out.write_text("not a line of these commands\n\n")
    with pytest.raises(ValueError, match="out must be a file of an earlier run, but line 1"), writer:
        pass
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize(
    "words",
    [
        ["train-text-tokenizer", "out"],
        ["join-tokenizers", "units", "pitch", "style", "out"],
        ["extend-vocab", "base", "out"],
        ["consolidate", "last.ckpt", "out"],
        ["import-release", "release", "out"],
        ["import-codec", "codec", "out"],
    ],
)
def test_commands_that_write_a_model_folder_claim_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = {"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}
    Path("out").mkdir()
    Path(f"out/{claims.WRITER}.1.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"^OUT(PUT)? must be a folder that no other .* on b writes to out: wait"):
        run(words)


def test_below_a_folder_that_cannot_be_searched_there_is_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with only_writer(tmp_path / "locked/out", "out") as check:
        check()
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
