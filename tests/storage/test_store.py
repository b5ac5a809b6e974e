"""Objects of a real S3 server, with faults: never a wrong byte, never without a word, never more than the cache."""

import fcntl
import logging
import multiprocessing
import sys
import time
import weakref
from hashlib import sha256
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from spiritlm_pl.storage import cache as cache_module
from spiritlm_pl.storage.connection import Connection
from spiritlm_pl.storage.places import local_place, place
from spiritlm_pl.storage.remote import RemotePath
from spiritlm_pl.storage.settings import StorageSettings

KB = 1e-6  # gigabytes
DATA = bytes(range(256)) * 400  # 102,400 bytes


@pytest.fixture
def objects(s3, tmp_path: Path) -> str:
    (tmp_path / "objects").mkdir()
    for number in range(6):
        (tmp_path / "objects" / f"{number}.bin").write_bytes(content(number))
    return s3.upload(tmp_path / "objects", "folder")


def content(number: int) -> bytes:
    return bytes([number]) + DATA


def opened(path: object, number: int):
    assert isinstance(path, RemotePath)
    data = content(number)
    return path.open_checked(len(data), sha256(data).hexdigest())


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").glob("??/*")]


def test_a_file_is_fetched_once_and_checked_each_time(s3, objects: str, tmp_path: Path, caplog) -> None:
    folder = place(objects)
    for _ in range(3):
        with opened(folder / "1.bin", 1) as file:
            assert file.read() == content(1)
    assert s3.gets("1.bin") == 1
    (there,) = cached(tmp_path)
    there.write_bytes(bytes(len(content(1))))  # damaged on the local disk
    with opened(folder / "1.bin", 1) as file:
        assert file.read() == content(1)
    assert s3.gets("1.bin") == 2
    assert "damaged in the cache" in caplog.text and f"{objects}/1.bin" in caplog.text


@pytest.mark.parametrize("fault", ["cut", "wrong", "unavailable"])
def test_faults_that_pass_are_overcome(s3, objects: str, tmp_path: Path, fault: str) -> None:
    s3.faults(**{fault: 2})
    with opened(place(objects) / "2.bin", 2) as file:
        assert file.read() == content(2)
    assert s3.state()[fault] == 0
    assert [path.name for path in cached(tmp_path)] == [sha256(content(2)).hexdigest()]


def test_a_server_that_is_away_for_some_seconds_is_waited_for(s3, objects: str, caplog) -> None:
    s3.faults(away=4)  # long enough for a slow machine to ask meanwhile
    with opened(place(objects) / "0.bin", 0) as file:
        assert file.read() == content(0)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) <= 2
    assert f"{objects}/0.bin is asked for again, for at most 8 s" in caplog.text


def test_a_server_that_stays_away_is_an_error_that_names_it(s3, objects: str, tmp_path: Path) -> None:
    s3.faults(away=60)
    with pytest.raises(OSError, match=r"0\.bin must come within 1 s, but did not: "):
        opened(place(objects, StorageSettings(retry_seconds=1)) / "0.bin", 0)
    assert not cached(tmp_path)
    with pytest.raises(OSError, match=r"0\.bin must come within 0\.5 s"):  # not taken for a missing one
        (place(objects, StorageSettings(retry_seconds=0.5)) / "0.bin").is_file()


@pytest.mark.parametrize(
    ("kind", "fault", "error"),
    [
        (ValueError, {"wrong": 99}, r"1\.bin must have SHA-256 .*, but has .* instead; upload it again"),
        (OSError, {"cut": 99}, r"1\.bin must come within 1 s, but did not: "),
        (PermissionError, {"forbidden": 99}, r"1\.bin must be readable, but the store refuses it: "),
    ],
)
def test_faults_that_stay_are_errors_in_one_line(
    s3, objects: str, tmp_path: Path, kind: type[Exception], fault: dict[str, int], error: str
) -> None:
    s3.faults(**fault)
    with pytest.raises(kind, match=error) as caught:
        opened(place(objects, StorageSettings(retry_seconds=1)) / "1.bin", 1)
    assert "\n" not in str(caught.value) and objects in str(caught.value)
    assert not cached(tmp_path)


def test_missing_and_other_objects_are_named(objects: str, tmp_path: Path) -> None:
    folder = place(objects)
    with pytest.raises(FileNotFoundError, match=rf"{objects}/9\.bin must exist, but does not"):
        opened(folder / "9.bin", 9)
    assert not (folder / "9.bin").is_file() and (folder / "1.bin").is_file() and not folder.is_file()
    for ask in (RemotePath.is_file, RemotePath.read_bytes):
        with pytest.raises(OSError, match=r"^s3://no-such-bucket must be a bucket of the store, but does not exist"):
            ask(place("s3://no-such-bucket/folder/x"))
    with pytest.raises(OSError, match=r"s3://no-such-bucket must be a bucket"):
        place("s3://no-such-bucket/x").read_bytes()
    with pytest.raises(ValueError, match=r"1\.bin must have 7 bytes, but has 102401 instead"):
        (folder / "1.bin").open_checked(7, "0" * 64)
    assert not cached(tmp_path)


def test_the_one_of_the_longest_ago_goes_but_none_in_use(objects: str, tmp_path: Path) -> None:
    folder = place(objects, StorageSettings(gigabytes=320 * KB))  # three files
    kept = opened(folder / "0.bin", 0)
    for number in (1, 2):
        opened(folder / f"{number}.bin", number).close()
    opened(folder / "1.bin", 1).close()  # so that 2 is the oldest
    opened(folder / "3.bin", 3).close()
    names = {sha256(content(number)).hexdigest() for number in (0, 1, 3)}
    assert {path.name for path in cached(tmp_path)} == names
    for number in (4, 5):
        opened(folder / f"{number}.bin", number).close()
    assert sha256(content(0)).hexdigest() in {path.name for path in cached(tmp_path)}
    assert kept.read() == content(0)
    kept.close()


def test_a_cache_full_of_files_in_use_is_an_error_that_says_so(
    objects: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "FULL_PATIENCE", 0.5)
    folder = place(objects, StorageSettings(gigabytes=220 * KB))
    kept = [opened(folder / f"{number}.bin", number) for number in (0, 1)]
    with pytest.raises(ValueError, match=r"2\.bin of 0\.0001024 GB, but are 0\.00022 GB") as caught:
        opened(folder / "2.bin", 2)
    assert "\n" not in str(caught.value)
    kept.pop().close()
    opened(folder / "2.bin", 2).close()
    assert len(cached(tmp_path)) == 2
    kept.pop().close()
    with pytest.raises(ValueError, match=r"must be at least 0\.0001024 GB for .*3\.bin, but are 5e-05 GB"):
        opened(place(objects, StorageSettings(gigabytes=50 * KB)) / "3.bin", 3)


def test_a_disk_that_is_full_loses_older_files_first(
    objects: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(objects)
    opened(folder / "0.bin", 0).close()
    allocate = cache_module.os.posix_fallocate

    def full(descriptor: int, begin: int, size: int) -> None:
        if cached(tmp_path) and any(path.suffix != ".part" for path in cached(tmp_path)):
            raise OSError(28, "No space left on device")
        allocate(descriptor, begin, size)

    monkeypatch.setattr(cache_module.os, "posix_fallocate", full)
    opened(folder / "1.bin", 1).close()
    assert [path.name for path in cached(tmp_path)] == [sha256(content(1)).hexdigest()]
    with opened(folder / "1.bin", 1), pytest.raises(OSError, match=r"must have room for .*2\.bin .*but is full"):
        opened(folder / "2.bin", 2)


def test_what_a_killed_process_left_is_removed(objects: str, tmp_path: Path) -> None:
    folder = place(objects, StorageSettings(gigabytes=220 * KB))
    other = tmp_path / "cache" / "00" / ("0" * 64 + ".part")
    own = tmp_path / "cache" / sha256(content(1)).hexdigest()[:2] / (sha256(content(1)).hexdigest() + ".part")
    for path in (other, own):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(150_000))
    with opened(folder / "1.bin", 1) as file:
        assert file.read() == content(1)
    assert [path.name for path in cached(tmp_path)] == [sha256(content(1)).hexdigest()]


def read_all(url: str, numbers: list[int], gigabytes: float) -> None:
    folder = place(url, StorageSettings(gigabytes=gigabytes))
    for number in numbers:
        with opened(folder / f"{number}.bin", number) as file:
            assert file.read() == content(number)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_of_several_processes_one_fetches_and_others_wait(s3, objects: str, method: str) -> None:
    with opened(place(objects) / "5.bin", 5):  # the parent's connection is of no use to a forked process
        pass
    s3.faults(seconds=0.3)
    context = multiprocessing.get_context(method)
    count = 4 if method == "fork" else 2
    processes = [context.Process(target=read_all, args=(objects, [0, 1], 1.0)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * count
    assert s3.gets("0.bin") == s3.gets("1.bin") == 1


def test_a_forked_process_leaves_the_connection_of_its_parent() -> None:
    connection = Connection("memory://folder", 1.0)
    of_parent = weakref.ref(connection.files)

    def connect() -> None:
        assert connection.files is not of_parent() and of_parent() is not None  # closing it would make the parent deaf

    process = multiprocessing.get_context("fork").Process(target=connect)
    process.start()
    process.join(20)
    assert process.exitcode == 0


def read_together(url: str, barrier: Barrier) -> None:
    with opened(place(url) / "0.bin", 0):
        barrier.wait(10)


def test_who_waits_is_not_kept_by_who_reads(s3, objects: str) -> None:
    s3.faults(seconds=0.3)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=read_together, args=(objects, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert s3.gets("0.bin") == 1


def test_several_processes_share_a_cache_that_is_too_small_for_all(s3, objects: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    orders = [[(start + step) % 6 for step in range(6)] * 2 for start in range(4)]
    processes = [context.Process(target=read_all, args=(objects, order, 430 * KB)) for order in orders]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        sizes = [path.stat().st_size for path in cached(tmp_path) if path.exists()]
        assert sum(sizes) <= 430_000
        time.sleep(0.02)
    assert [process.exitcode for process in processes] == [0] * 4


def test_files_are_fetched_ahead(s3, objects: str, tmp_path: Path) -> None:
    folder = place(objects, StorageSettings(ahead=2))
    assert isinstance(folder, RemotePath)
    wanted = [(folder / f"{n}.bin").content(len(content(n)), sha256(content(n)).hexdigest()) for n in range(4)]
    folder.store.want(wanted, reader=folder)
    until = time.monotonic() + 10
    while len(cached(tmp_path)) < 2 or any(path.suffix for path in cached(tmp_path)):
        assert time.monotonic() < until
        time.sleep(0.02)
    s3.faults(away=60)
    for number in (0, 1):  # without the server
        opened(folder / f"{number}.bin", number).close()
    folder.store.want(wanted[2:], reader=folder)  # fails without a word, since it may work when the file is needed
    time.sleep(0.5)
    s3.faults()
    opened(folder / "2.bin", 2).close()


def test_nobody_waits_for_a_file_that_is_fetched_ahead_by_another(s3, objects: str, tmp_path: Path) -> None:
    folder = place(objects)
    assert isinstance(folder, RemotePath)
    wanted = (folder / "0.bin").content(len(content(0)), sha256(content(0)).hexdigest())
    part = tmp_path / "cache" / wanted.sha256[:2] / f"{wanted.sha256}.part"
    part.parent.mkdir(parents=True)
    with part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        folder.store._fetch(wanted)
    assert s3.gets("0.bin") == 0


def test_local_paths_stay_local(tmp_path: Path) -> None:
    assert place("data/blocks") == Path("data/blocks") and place(tmp_path) is not None
    assert place(f"file://{tmp_path}") == tmp_path
    with pytest.raises(ValueError, match="out must be a local folder, but is s3://bucket/blocks instead"):
        local_place("s3://bucket/blocks", "out")
    assert str(place(Path("s3://bucket/x/"))) == "s3://bucket/x"  # of which Path makes s3:/bucket/x


def test_other_addresses_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"s4://bucket/x must begin with s3://, gs://, hf:// or"):
        place("s4://bucket/x")
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ModuleNotFoundError, match=r's3://b/x needs s3fs, which .*: pip install "spiritlm-pl\[s3\]"'):
        place("s3://b/x")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("SPIRITLM_STORAGE_GIGABYTES", "0", "gigabytes of the storage cache must be above 0, but are 0"),
        ("SPIRITLM_STORAGE_GIGABYTES", "nan", "must be above 0"),
        ("SPIRITLM_STORAGE_GIGABYTES", "many", "SPIRITLM_STORAGE_GIGABYTES must be a number, but is 'many'"),
        ("SPIRITLM_STORAGE_AHEAD", "-1", "ahead of the storage must be at least 0, but is -1"),
        ("SPIRITLM_STORAGE_RETRY_SECONDS", "inf", "retry_seconds of the storage must be at least 0, but are inf"),
    ],
)
def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=error):
        StorageSettings()
