"""A Python that starts in a few hundredths of a second, since it is forked from one that has imported the libraries.

Most of a training of a few steps in a process of its own is the import of its libraries. `warm_python` starts a server
that imports them once, and writes a program that stands for `sys.executable`: it hands its command line (a script,
`-c` or `-m`), environment, folder and standard streams to the server, which forks a process that runs it. The program
ends as that process does, and hands signals on to it; where the program is killed, so are the process and those that it
has started. Within the process, `sys.executable` is the program, so that ranks which it starts begin in the same way.

What only a fresh interpreter can do (other options, another value of a variable such as PYTHONHASHSEED), that does.
"""

import atexit
import fcntl
import gc
import json
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = (
    "deepspeed",
    "lightning.pytorch.cli",
    "omegaconf",
    "peft",
    "torch._inductor.compile_fx",  # 1.6 s of a process that trains, which strategies and peft import late
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "spiritlm_pl.callbacks.evaluate_choice",
    "spiritlm_pl.callbacks.generate_samples",
    "spiritlm_pl.callbacks.mlflow_logger",
    "spiritlm_pl.cli.training",
    "spiritlm_pl.datamodules.interleaved",
    "spiritlm_pl.datamodules.unit_waveforms",
    "spiritlm_pl.modules.fsdp2",
    "spiritlm_pl.modules.lm",
    "spiritlm_pl.modules.strategy",
    "spiritlm_pl.modules.style",
    "spiritlm_pl.modules.vocoder",
)
LARGEST = 1 << 17  # bytes of a request, most of which is the environment
MOST = 32  # descriptors that a process is given
# It imports little. A message to the server is a request or a number of a signal, the only one from it the exit code.
PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
words, name = sys.argv[1:], sys.argv[0]
if words[:2] == ["-B", "-c"]:  # as multiprocessing starts its processes, where no bytecode is to be written
    del words[0]
inherited = []
for number in map(int, os.listdir("/dev/fd")):
    try:
        inherited += [number] if number > 2 and os.fstat(number) else []
    except OSError:  # that of the list itself
        pass
own = {{key: value for key, value in os.environ.items() if key[:6] == "PYTHON" and key != "PYTHONPATH"}}
if not words or (words[0][:1] == "-" and words[0] not in ("-c", "-m")) or own != {own!r}:
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
request = {{"words": words, "environment": dict(os.environ), "folder": os.getcwd(), "ignored": ignored, "name": name}}
request["descriptors"] = [0, 1, 2, *inherited]
socket.send_fds(server, [json.dumps(request).encode()], request["descriptors"])
for number in inherited:
    os.close(number)
for number in (signal.SIGTERM,) if ignored else (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: server.send(str(number).encode()))
code = int(server.recv(16) or 1)
if code < 0:
    with __import__("contextlib").suppress(OSError):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def warm_python() -> Iterator[Path]:
    """Start a server; yields the program, which takes the place of `sys.executable` until the end."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        address, program = Path(folder) / "address", Path(folder) / "python"
        own = {key: value for key, value in os.environ.items() if key[:6] == "PYTHON" and key != "PYTHONPATH"}
        program.write_text(PROGRAM.format(python=sys.executable, own=own, address=str(address)), encoding="utf-8")
        program.chmod(0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(str(address))
            listening.listen(64)  # programs wait here until the libraries are imported
            command = [sys.executable, __file__, str(listening.fileno())]
            server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])
        try:
            yield program
        finally:
            server.communicate()  # which closes its standard input


class Server:
    """Forks a process for each request.

    Args:
        listening: socket that programs connect to.
    """

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.connections: dict[int, socket.socket] = {}  # process -> its program
        self.path = [place for place in sys.path[1:] if place not in python_path(os.environ)]

    def requested(self) -> Callable[[], object]:
        """Wait for requests; returns what a forked process runs, or does not return."""
        ended, wakes = socket.socketpair()
        wakes.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        with selectors.DefaultSelector() as selector:
            for source in (self.listening, ended, sys.stdin):
                selector.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source: Any = key.fileobj
                    if source is sys.stdin:  # the tests are over
                        for process in self.connections:
                            os.kill(process, signal.SIGKILL)
                        os._exit(0)
                    elif source is ended:
                        ended.recv(4096)
                        for connection in self.reap():
                            with suppress(KeyError):  # of a program that was killed
                                selector.unregister(connection)
                            connection.close()
                    elif source is self.listening:
                        connection, _ = self.listening.accept()
                        message, streams, _, _ = socket.recv_fds(connection, LARGEST, MOST)
                        process = os.fork()
                        if not process:
                            signal.set_wakeup_fd(-1)
                            for one in (*self.connections.values(), connection, ended, wakes, self.listening, selector):
                                one.close()
                            return self.task(json.loads(message), streams)
                        for stream in streams:
                            os.close(stream)
                        self.connections[process] = connection
                        selector.register(connection, selectors.EVENT_READ, process)
                    else:
                        number = int(source.recv(16) or signal.SIGKILL)  # nothing: the program was killed
                        with suppress(ProcessLookupError):
                            os.kill(key.data, number)
                        if number == signal.SIGKILL:
                            with suppress(ProcessLookupError):  # it is not yet the first of a group
                                os.killpg(key.data, number)
                            selector.unregister(source)

    def reap(self) -> Iterator[socket.socket]:
        """Tell programs how their processes ended; yields their connections."""
        with suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return
                connection = self.connections.pop(process)
                with suppress(OSError):  # the program was killed
                    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
                yield connection

    def task(self, request: dict[str, Any], streams: list[int]) -> Callable[[], object]:
        """Take over everything that a fresh interpreter has from its command; returns what is to be run."""
        os.setsid()
        wanted = request["descriptors"]
        copies = [fcntl.fcntl(stream, fcntl.F_DUPFD, max(wanted) + 1) for stream in streams]
        for stream in streams:  # whose numbers may be wanted
            os.close(stream)
        for number, copy in zip(wanted, copies, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignored"] else signal.default_int_handler)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.executable = request["name"]
        multiprocessing.set_executable(request["name"])
        (first, *rest), environment = request["words"], request["environment"]
        own = str(Path(first).resolve().parent) if first not in ("-c", "-m") else ""
        sys.path[:] = [own, *python_path(environment), *self.path]
        if first == "-m":
            sys.argv = rest
            return lambda: runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        if first == "-c":
            sys.argv = ["-c", *rest[1:]]
            main = sys.modules["__main__"] = ModuleType("__main__")
            return lambda: exec(compile(rest[0], "<string>", "exec"), vars(main))
        sys.argv = [first, *rest]
        return lambda: runpy.run_path(first, run_name="__main__")


def python_path(environment: Any) -> list[str]:
    """Return the folders that a variable of the environment adds to those of modules."""
    return [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]


if __name__ == "__main__":
    for module in MODULES:
        import_module(module)
    os.fsync = os.fstat  # type: ignore[assignment]  # as in the tests themselves
    gc.freeze()  # else each process would copy the memory of all that is imported as soon as it looks for garbage
    requested = Server(socket.socket(fileno=int(sys.argv[1]))).requested()
    try:
        requested()
        code = 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    # Ends as an interpreter does, but for freeing all that was imported, which would take half a second.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)
