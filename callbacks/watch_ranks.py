"""Callback that ends a job of several ranks soon after one of them has died, with a message that names it.

Ranks that wait for a dead one in a collective operation may wait for half an hour. So each rank keeps a connection to
rank zero, which the kernel closes when a process ends, however it ends; if a whole machine is gone, keepalive packets
stay without an answer. Neither takes a rank that is only slow for a dead one.
"""

import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

WELL, FAILED = b"well", b"failed"
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a machine that is gone is noticed after 30 s
PAUSE = 0.1  # seconds before the next attempt where a connection could not be accepted
HANDSHAKE = 30.0  # seconds to wait for a connection and its greeting
LENGTH = 200  # bytes at most in a message between ranks


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _received(connection: socket.socket) -> bytes:
    """Return all that is sent before the connection ends, which is one message; b"" if it ends without one."""
    parts = b""
    try:
        while part := connection.recv(LENGTH):
            parts += part
    except OSError:
        pass
    return parts


class RankWatch:
    """Connections between rank zero and all others, each watched by a thread.

    Args:
        rank: number of this process.
        tell: function that is called when another rank is gone, with the message and whether that rank has told an
            error itself.
    """

    def __init__(self, rank: int, tell: Callable[[str, bool], None]) -> None:
        """Start with no connection."""
        self.rank, self.tell = rank, tell
        self.connections: list[socket.socket] = []
        self._informed: set[socket.socket] = set()  # connections that a message was sent on, of which none has two
        self._server: socket.socket | None = None
        self._lock = threading.Lock()
        self._over = False

    def listen(self, secret: str) -> int:
        """Accept the other ranks, in threads; return the port. Rank zero calls.

        Args:
            secret: word that the others say, so that a stranger who knocks at the port is not taken for a rank.
        """
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._server = socket.create_server(("", 0), family=family, dualstack_ipv6=both, backlog=1024)
        threading.Thread(target=self._accept, args=(self._server, secret), daemon=True).start()
        return int(self._server.getsockname()[1])

    def connect(self, address: str, port: int, secret: str) -> None:
        """Connect to rank zero. All other ranks call.

        Raises:
            OSError: if rank zero cannot be reached.
        """
        connection = socket.create_connection((address, port), timeout=HANDSHAKE)
        connection.settimeout(None)
        greeting = f"{secret} {self.rank} on {socket.gethostname()} (process {os.getpid()})"
        connection.sendall(greeting.encode()[:LENGTH].ljust(LENGTH))
        threading.Thread(target=self._watch, args=(connection, "0"), daemon=True).start()

    def close(self, last: bytes = WELL) -> None:
        """End all connections.

        Args:
            last: whether this rank ended well, or failed with an error of its own.
        """
        self._over = True
        if self._server is not None:
            with suppress(OSError):  # it may be closed, or the system may not wake the accepting thread in this way
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        self._send(last)

    def _accept(self, server: socket.socket, secret: str) -> None:
        while not self._over:
            try:
                connection, _ = server.accept()
            except OSError:  # closed, or the system is short of files at this moment
                if not self._over:
                    time.sleep(PAUSE)
                continue
            threading.Thread(target=self._greet, args=(connection, secret), daemon=True).start()

    def _greet(self, connection: socket.socket, secret: str) -> None:
        connection.settimeout(HANDSHAKE)
        greeting = b""
        try:
            while len(greeting) < LENGTH and (part := connection.recv(LENGTH - len(greeting))):
                greeting += part
        except OSError:
            pass
        said, _, name = greeting.decode(errors="replace").strip().partition(" ")
        if said != secret:
            connection.close()
            return
        connection.settimeout(None)
        self._watch(connection, name)

    def _watch(self, connection: socket.socket, name: str) -> None:
        """Wait for the end of a connection, and tell of it unless both sides ended well."""
        _keep_alive(connection)
        with self._lock:
            self.connections.append(connection)
        last = _received(connection)
        if self._over or last == WELL:
            return
        if last in (b"", FAILED):
            message = f"rank {name} {'failed' if last else 'is dead'}, so that the others cannot go on"
        else:
            message = last.decode(errors="replace")  # what rank zero was told of another rank
        self._send(message.encode()[:LENGTH], but=connection)
        self.tell(message, "failed" in message)

    def _send(self, last: bytes, but: socket.socket | None = None) -> None:
        with self._lock:
            others = [one for one in self.connections if one is not but and one not in self._informed]
            self._informed.update(others)
        for other in others:
            try:
                other.sendall(last)
                other.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the other side is gone already


class WatchRanks(Callback):
    """Callback that ends all ranks of a job soon after one of them has died, with a message that names it.

    Args:
        grace: seconds in which a rank may still end by itself, with a message of its own.
    """

    def __init__(self, grace: float = 10.0) -> None:
        """Keep the time; connections are made when the ranks have met."""
        self.grace = grace
        self._watch: RankWatch | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Connect the ranks; if that is impossible, warn and go on without."""
        if trainer.world_size < 2 or self._watch is not None:
            return
        self._watch = watch = RankWatch(trainer.global_rank, self._told)
        meeting: Any = None
        if trainer.is_global_zero:
            secret = token_hex(8)
            meeting = watch.listen(secret), secret
        port, secret = trainer.strategy.broadcast(meeting)
        if not trainer.is_global_zero:
            cluster: Any = getattr(trainer.strategy, "cluster_environment", None)
            address = getattr(cluster, "main_address", None)  # some strategies have none
            try:
                if address is None:
                    raise OSError("its strategy does not tell where rank 0 is")
                watch.connect(address, port, secret)
            except OSError as error:
                warnings.warn(
                    f"rank {trainer.global_rank} does not reach rank 0 at {address}:{port} ({error}): if one of them "
                    "dies, the other waits until its operations time out",
                    stacklevel=2,
                )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell the other ranks that this one failed; an error of the network may come from another one's death."""
        if self._watch is not None:
            if isinstance(exception, RuntimeError):
                time.sleep(1)  # for the thread that tells of the death
            self._watch.close(FAILED)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the other ranks that this one has ended well."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _told(self, message: str, told_itself: bool) -> None:
        """End this process, which may wait for the other one for ever, unless it ends by itself first."""
        if told_itself:
            time.sleep(self.grace)
        print(f"spiritlm: error: {message}", file=sys.stderr, flush=True)
        if not told_itself:
            time.sleep(self.grace)
        os._exit(1)
