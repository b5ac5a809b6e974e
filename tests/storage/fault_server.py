"""A real S3 server (moto) behind a proxy that makes faults; prints its port, and ends with its standard input.

POST /-/faults sets faults, as JSON; GET /-/faults tells those that are left, and what was asked for.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer

NONE: dict[str, Any] = {
    "seconds": 0.0,  # how long each answer about an object takes
    "cut": 0,  # number of answers that stop in the middle
    "wrong": 0,  # number of answers with a flipped bit
    "unavailable": 0,  # number of answers 503
    "forbidden": 0,  # number of answers 403
    "away": 0.0,  # seconds from now in which connections are closed without an answer
}


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    port = 0
    faults = dict(NONE)
    until = 0.0
    asked: Counter[str] = Counter()
    lock = threading.Lock()

    def take(self, name: str) -> bool:
        with self.lock:
            left = self.faults[name]
            self.faults[name] = max(0, left - 1)
            return left > 0

    def answer(self, status: int, data: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name, _ in headers}:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def control(self, body: bytes) -> None:
        if self.command == "POST":
            type(self).faults = {**NONE, **json.loads(body)}
            type(self).until = time.monotonic() + self.faults["away"]
        self.answer(200, json.dumps({**self.faults, "asked": self.asked}).encode())

    def handle_one(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/-/faults":
            return self.control(body)
        with self.lock:
            self.asked[f"{self.command} {path}"] += 1
        is_object = self.command in ("GET", "HEAD") and path.count("/") > 1
        if is_object:
            if time.monotonic() < self.until:
                self.close_connection = True
                return None
            time.sleep(self.faults["seconds"])
            for name, status in (("unavailable", 503), ("forbidden", 403)):
                if self.take(name):
                    return self.answer(status)
        inner = http.client.HTTPConnection("127.0.0.1", self.port)
        inner.request(self.command, self.path, body=body, headers=dict(self.headers))
        found = inner.getresponse()
        data = found.read()
        inner.close()
        left_out = ("transfer-encoding", "connection", "date", "server")
        headers = tuple((name, value) for name, value in found.getheaders() if name.lower() not in left_out)
        if is_object and self.command == "GET" and found.status in (200, 206) and data:
            if self.take("cut"):
                self.close_connection = True
                return self.answer(found.status, data[: len(data) // 2], headers)
            if self.take("wrong"):
                data = data[:-1] + bytes([data[-1] ^ 1])
        return self.answer(found.status, data, headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # a client that goes away
        pass


if __name__ == "__main__":
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    Proxy.port = moto.get_host_and_port()[1]
    server = Server(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
