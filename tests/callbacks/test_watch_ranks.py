"""Ranks learn of another one's end through their connections; a stranger at the port is no rank."""

import errno
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from spiritlm_pl.callbacks.watch_ranks import FAILED, WELL, RankWatch, WatchRanks

CHILD = """
import sys, time
from spiritlm_pl.callbacks.watch_ranks import RankWatch
watch = RankWatch(2, lambda message, told: None)
watch.connect("127.0.0.1", int(sys.argv[1]), "word")
print("connected", flush=True)
time.sleep(100)
"""


class Ranks:
    def __init__(self) -> None:
        self.told: dict[int, queue.Queue[tuple[str, bool]]] = {0: queue.Queue(), 1: queue.Queue()}
        self.zero, self.one = (
            RankWatch(rank, lambda message, told, rank=rank: self.told[rank].put((message, told))) for rank in (0, 1)
        )
        self.port = self.zero.listen("word")
        self.one.connect("127.0.0.1", self.port, "word")
        deadline = time.monotonic() + 10
        while not (self.zero.connections and self.one.connections):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    made = Ranks()
    yield made
    for watch in (made.zero, made.one):
        watch.close()
        for connection in watch.connections:
            connection.close()


def test_a_killed_rank_is_named_on_all_others(ranks: Ranks) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(ranks.port)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "connected\n"
    deadline = time.monotonic() + 10
    while len(ranks.zero.connections) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    child.communicate()
    expected = (
        f"rank 2 on {socket.gethostname()} (process {child.pid}) is dead, so that the others cannot go on",
        False,
    )
    assert [ranks.told[rank].get(timeout=10) for rank in (0, 1)] == [expected] * 2


def test_a_rank_that_failed_or_ended_well(ranks: Ranks) -> None:
    ranks.one.close()
    with pytest.raises(queue.Empty):
        ranks.told[0].get(timeout=0.3)
    other = RankWatch(3, lambda message, told: None)
    other.connect("127.0.0.1", ranks.port, "word")
    while not other.connections:
        time.sleep(0.01)
    other.close(FAILED)
    message, told_itself = ranks.told[0].get(timeout=10)
    assert message.startswith("rank 3 on ") and " failed, so that" in message and told_itself
    other.connections[0].close()


def test_rank_zero_is_missed_too_and_strangers_are_not(ranks: Ranks) -> None:
    with socket.create_connection(("127.0.0.1", ranks.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(queue.Empty):
        ranks.told[0].get(timeout=0.3)
    for connection in ranks.zero.connections:
        connection.shutdown(socket.SHUT_RDWR)  # as the kernel does when the process is killed
    assert ranks.told[1].get(timeout=10) == ("rank 0 is dead, so that the others cannot go on", False)


def test_a_rank_is_watched_although_the_system_was_short_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, left = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def short(server: socket.socket) -> Any:
        if left:
            raise left.pop()
        return accept(server)

    monkeypatch.setattr(socket.socket, "accept", short)
    ranks = Ranks()  # which waits until both have their connection
    for watch in (ranks.one, ranks.zero):
        watch.close()
        watch.connections[0].close()


def test_the_port_is_free_at_the_end(ranks: Ranks) -> None:
    ranks.zero.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ranks.port), timeout=5).close()
    ranks.zero.close()  # once more does no harm


def test_a_message_that_is_passed_on_comes_alone(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:  # rank zero ends between the message and the end of the connection
        patched.setattr(socket.socket, "shutdown", lambda *_: None)
        ranks.zero._send(b"rank 2 is dead")
        ranks.zero._send(WELL)
    ranks.zero.connections[0].shutdown(socket.SHUT_WR)
    assert ranks.told[1].get(timeout=10) == ("rank 2 is dead", False)


def test_a_strategy_that_tells_no_address_goes_on_unwatched() -> None:
    strategy = SimpleNamespace(cluster_environment=None, broadcast=lambda _: (1, "word"))
    trainer: Any = SimpleNamespace(world_size=2, global_rank=1, is_global_zero=False, strategy=strategy)
    callback, module = WatchRanks(), Any
    with pytest.warns(UserWarning, match="rank 1 does not reach rank 0 .* does not tell where rank 0 is"):
        callback.setup(trainer, module, "fit")  # type: ignore[arg-type]
    callback.teardown(trainer, module, "fit")  # type: ignore[arg-type]
