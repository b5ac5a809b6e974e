"""The cache alone, without a store: processes that are forked, disks that lie, other users, and several readers."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest

from spiritlm_pl.storage import cache as cache_module
from spiritlm_pl.storage.ahead import Ahead
from spiritlm_pl.storage.cache import ATTEMPTS, Content, ObjectCache

DATA = b"x" * 1000
ONE = Content("s3://bucket/one", len(DATA), sha256(DATA).hexdigest())


def write(content: Content, file: BinaryIO) -> None:
    file.write(DATA)


def within(seconds: float, action: Callable[[], object]) -> bool:
    """Whether an action ends in time."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@pytest.mark.parametrize("locked", ["part", "lock", "removed"])
def test_a_process_that_is_forked_meanwhile_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    cache = ObjectCache(tmp_path / "cache", 1500)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))

    def forking(content: Content, file: BinaryIO) -> None:
        child.start()
        write(content, file)

    if locked == "part":
        cache.fetch(ONE, forking)
    elif locked == "lock":
        used = cache._used
        monkeypatch.setattr(cache, "_used", lambda: (child.pid or child.start(), used())[1])
        cache.fetch(ONE, write)
    else:
        cache.open(ONE, write).close()
        there = (tmp_path / "cache" / ONE.sha256[:2] / ONE.sha256).open("rb")  # by who waits for the lock meanwhile
        same = cache_module._is
        monkeypatch.setattr(cache_module, "_is", lambda file, path: (child.pid or child.start(), same(file, path))[1])
        cache_module._removed(Path(there.name))
        with there:
            assert cache_module._lock(there, cache_module.fcntl.LOCK_SH | cache_module.fcntl.LOCK_NB, tmp_path)
    assert child.is_alive()
    try:
        assert within(2, lambda: cache.open(ONE, write).close())
        other = Content("s3://bucket/other", 1000, sha256(b"y" * 1000).hexdigest())
        assert within(2, lambda: cache.open(other, lambda content, file: file.write(b"y" * 1000) and None).close())
    finally:
        child.kill()
        child.join()


def test_a_disk_that_gives_back_other_bytes_is_an_error(tmp_path: Path) -> None:
    written = []

    def lying(content: Content, file: BinaryIO) -> None:
        written.append(file.write(b"y" * 1000))

    cache = ObjectCache(tmp_path, 10**6)
    with pytest.raises(OSError, match=f"must give back what is written .*for s3://bucket/one {ATTEMPTS} times"):
        cache.open(ONE, lying)
    assert len(written) == ATTEMPTS


def test_a_new_file_in_the_place_of_a_damaged_one_stays(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 10**6)
    cache.open(ONE, write).close()
    path = cache._path(ONE)
    damaged = path.open("rb")
    path.unlink()  # by another process, which met the damage, too
    cache.open(ONE, write).close()
    cache._discard(damaged, ONE)
    assert path.exists()


def open_as_another(folder: Path, told: str) -> None:
    os.setuid(54321)
    cache = ObjectCache(folder, 10**6)
    cache.open(ONE, write).close()
    other = Content("s3://bucket/other", 1000, sha256(b"y" * 1000).hexdigest())
    try:
        cache.open(other, write)
    except OSError as error:
        Path(told).write_text(f"{type(error).__name__}: {error}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_cache_of_another_user_is_named() -> None:
    with TemporaryDirectory() as name:  # not pytest's folders, into which others cannot look
        folder = Path(name)
        folder.chmod(0o755)
        ObjectCache(folder / "cache", 10**6).open(ONE, write).close()
        (folder / "told").mkdir()
        (folder / "told").chmod(0o777)
        process = multiprocessing.get_context("fork").Process(
            target=open_as_another, args=(folder / "cache", f"{folder}/told/message")
        )
        process.start()
        process.join(60)
        message = (folder / "told" / "message").read_text()
    assert message.startswith(f"PermissionError: the storage cache must be a folder of your own, but {name}/cache")
    assert "SPIRITLM_STORAGE_CACHE" in message and process.exitcode == 0


def test_a_cache_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(
        OSError, match=f"must be a folder of your own, but {tmp_path}/cache cannot be used: .*Not a dir"
    ):
        ObjectCache(tmp_path / "cache", 10**6).open(ONE, write)


def test_several_readers_have_their_turns_ahead() -> None:
    fetched: list[str] = []
    may, done = threading.Event(), threading.Event()

    def fetch(content: Content) -> None:
        may.wait(10)
        fetched.append(content.url)
        if len(fetched) == 5:
            done.set()

    def files(*urls: str) -> list[Content]:
        return [Content(url, 1, "") for url in urls]

    ahead = Ahead(fetch)
    ahead.want(files("text 0"), reader="text")  # is being fetched
    while ahead._wanted["text"]:
        time.sleep(0.01)
    ahead.want(files("speech 0", "speech 1"), reader="speech")
    ahead.want(files("text 1"), reader="text")
    ahead.want(files("text 2", "text 3"), reader="text")  # and no longer 1
    may.set()
    assert done.wait(10)
    assert fetched[0] == "text 0" and sorted(fetched[1:3]) == ["speech 0", "text 2"]
    assert sorted(fetched[3:]) == ["speech 1", "text 3"]
