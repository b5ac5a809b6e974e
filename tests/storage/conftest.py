"""A real S3 server in this process (moto), behind a proxy that makes faults."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUCKET = "bucket"


@dataclass
class Faults:
    """What happens to the requests for objects whose path ends with one of the keys.

    Attributes:
        seconds: how long each answer takes.
        cut: number of answers that stop in the middle.
        wrong: number of answers with a flipped bit.
        unavailable: number of answers 503.
        forbidden: whether the answer is 403.
        until: time before which all connections are closed without an answer.
    """

    seconds: float = 0.0
    cut: int = 0
    wrong: int = 0
    unavailable: int = 0
    forbidden: bool = False
    until: float = 0.0
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)  # by method and name of the object
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> bool:
        with self.lock:
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return left > 0

    def gets(self, ending: str) -> int:
        return sum(count for (method, name), count in self.asked.items() if method == "GET" and name.endswith(ending))


@dataclass
class S3:
    """A server with one bucket."""

    faults: Faults
    endpoint: str
    url: str
    upload: Callable[[Path, str], str]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[S3, Callable[[], None]]]:
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    state = {"faults": Faults()}

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            faults = state["faults"]
            path = self.path.partition("?")[0]
            with faults.lock:
                faults.asked[self.command, path] += 1
            if time.monotonic() < faults.until:
                self.close_connection = True
                self.connection.close()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command in ("GET", "HEAD") and path.count("/") > 1:  # an object
                time.sleep(faults.seconds)
                if faults.forbidden or faults.take("unavailable"):
                    self.send_response(403 if faults.forbidden else 503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            inner = http.client.HTTPConnection("127.0.0.1", port)
            inner.request(self.command, self.path, body=body, headers=dict(self.headers))
            answer = inner.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            if answer.getheader("Content-Length") is None:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET" and answer.status in (200, 206) and path.count("/") > 1 and data:
                if faults.take("cut"):
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                if faults.take("wrong"):
                    data = data[:-1] + bytes([data[-1] ^ 1])
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that goes away
            pass

    proxy = Server(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{proxy.server_port}"
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    numbers = iter(range(1_000_000))

    def fresh() -> None:
        state["faults"] = served.faults = Faults()
        name = f"{BUCKET}-{next(numbers)}"
        client.create_bucket(Bucket=name)

        def upload(folder: Path, prefix: str) -> str:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    client.put_object(Bucket=name, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
            return f"s3://{name}/{prefix}"

        served.url, served.upload = f"s3://{name}", upload

    served = S3(state["faults"], endpoint, "", lambda path, prefix: "")
    yield served, fresh
    client.close()
    proxy.shutdown()
    proxy.server_close()
    thread.join()
    moto.stop()


@pytest.fixture
def s3(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3:
    """A bucket of its own, without faults as yet; its address, credentials and cache are in the environment."""
    served, fresh = server
    fresh()
    for name, value in {
        "AWS_ENDPOINT_URL": served.endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SPIRITLM_STORAGE_CACHE": str(tmp_path / "cache"),
        "SPIRITLM_STORAGE_RETRY_SECONDS": "8",
    }.items():
        monkeypatch.setenv(name, value)
    return served
