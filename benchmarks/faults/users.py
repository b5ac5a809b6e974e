"""Page and API under many users at once: no server error, the same answer to all, and memory that stays flat.

The real server runs in a process of its own. Users ask it one thing after another: texts, speech, units, nonsense,
the page and its buttons. An answer must be right, a refusal (4xx), or "busy" (503); memory is that of the server
after its first third, and at the end.
"""

import base64
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.faults.change import mutated
from benchmarks.faults.trial import TRACEBACK, Trial, shortened

GROWTH = 1.1  # largest ratio of memory at the end to that after the first third
PATIENCE = 120.0  # seconds in which an answer must come
MIB = 1 << 20
FIXED = {"prompt": [{"text": "the fox"}], "output": "text", "greedy": True, "max_new_tokens": 6}


@dataclass
class Seen:
    """What the users saw.

    Attributes:
        statuses: number of answers by what was asked and their status.
        faults: what must not be.
        fixed: different answers to the one question that always has the same answer.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    fixed: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, status: int, text: str) -> None:
        """Count an answer."""
        with self.lock:
            self.statuses[f"{what} {status}"] += 1
            if status >= 500 and status != 503:
                self.faults.append(f"{what}: {status} {text[:200]}")
            if what == "fixed" and status == 200:
                self.fixed.add(text)


class User:
    """A user who asks one thing after another until time is up.

    Args:
        address: address of the server.
        wav: a recording.
        draw: source of what is asked.
        seen: where the answers are counted.
    """

    def __init__(self, address: str, wav: bytes, draw: random.Random, seen: Seen) -> None:
        """Open no connection yet."""
        self.address, self.wav, self.draw, self.seen = address, wav, draw, seen

    def run(self, until: float) -> None:
        """Ask until a time of the monotonic clock."""
        asks: list[Callable[[httpx.Client], None]] = [self._fixed, self._random, self._speech, self._page, self._button]
        while time.monotonic() < until:
            try:
                with httpx.Client(base_url=self.address, timeout=PATIENCE) as client:
                    for _ in range(5):
                        self.draw.choice(asks)(client)
            except (httpx.HTTPError, OSError, KeyError, ValueError) as error:
                with self.seen.lock:
                    self.seen.faults.append(f"{error!r:.200}")
                time.sleep(1)

    def _post(self, client: httpx.Client, what: str, path: str, body: bytes) -> None:
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        self.seen.note(what, answer.status_code, answer.text if what == "fixed" or answer.status_code >= 400 else "")

    def _fixed(self, client: httpx.Client) -> None:
        self._post(client, "fixed", "/api/generate", json.dumps(FIXED).encode())

    def _random(self, client: httpx.Client) -> None:
        body, _ = mutated(json.dumps(FIXED | {"seed": self.draw.randrange(9)}).encode(), "body.json", self.draw)
        self._post(client, "mutated", "/api/generate", body)

    def _speech(self, client: httpx.Client) -> None:
        if self.draw.random() < 0.5:
            body: dict[str, Any] = {"units": [self.draw.randrange(20) for _ in range(9)]}
            self._post(client, "vocode", "/api/vocode", json.dumps(body).encode())
            return
        audio, _ = (self.wav, "") if self.draw.random() < 0.7 else mutated(self.wav, "a.wav", self.draw)
        body = {"audio": base64.b64encode(audio).decode()}
        self._post(client, "tokenize", "/api/tokenize", json.dumps(body).encode())

    def _page(self, client: httpx.Client) -> None:
        path = self.draw.choice(["/", "/config", "/api/info", "/docs", "/nothing"])
        answer = client.get(path)
        self.seen.note("page", answer.status_code, answer.text if answer.status_code >= 500 else "")

    def _button(self, client: httpx.Client) -> None:
        """Upload a recording and press the button of the page that adds it to the prompt."""
        uploaded = client.post("/gradio_api/upload", files={"files": ("a.wav", self.wav)})
        self.seen.note("upload", uploaded.status_code, uploaded.text)
        if uploaded.status_code != 200:
            return
        config = client.get("/config").json()
        parts = {part["id"]: part["props"] for part in config["components"]}
        names = {props.get("elem_id"): number for number, props in parts.items()}
        handler = next(one for one in config["dependencies"] if [names["add"], "click"] in one["targets"])
        given = {"text": "", "speech": {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}}
        data = [given.get(parts[at].get("elem_id"), parts[at].get("value")) for at in handler["inputs"]]
        visitor = uuid.uuid4().hex
        body = {"data": data, "fn_index": handler["id"], "session_hash": visitor}
        joined = client.post("/gradio_api/queue/join", json=body)
        self.seen.note("button", joined.status_code, joined.text)
        if joined.status_code != 200:
            return
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": visitor}) as events:
            for line in events.iter_lines():
                if '"process_completed"' in line:
                    return


class Users:
    """The campaign of users.

    Args:
        root: the world.
        scratch: folder to work in.
        seed: seed of the campaign.
        users: number of users.
        minutes: how long they ask.
    """

    def __init__(self, root: Path, scratch: Path, seed: int, users: int, minutes: float) -> None:
        """Start nothing yet."""
        self.root, self.scratch, self.seed, self.users, self.minutes = root, scratch, seed, users, minutes

    def trial(self, kind: str, number: int) -> Trial:
        """Let users ask for some minutes."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        told = self.scratch / "server.txt"
        command = [sys.executable, "-m", "spiritlm_pl", "serve", "--model", str(self.root / "model"), "--port", "0"]
        seen, since = Seen(), time.monotonic()
        with told.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as server:
            try:
                address = _address(told, server)
                memory = self._ask(address, server.pid, seen, number)
                idle = httpx.post(f"{address}/api/generate", json=FIXED, timeout=PATIENCE)
                seen.note("fixed", idle.status_code, idle.text)
            finally:
                server.terminate()
                server.wait(30)
        third = max(1, len(memory) // 3)
        early, late = statistics.median(memory[third : 2 * third] or memory), statistics.median(memory[-third:])
        verdict = "harmless"
        if TRACEBACK in told.read_text(encoding="utf-8", errors="replace") or seen.faults:
            verdict = "traceback"
        elif len(seen.fixed) > 1:
            verdict = "silent"
        elif late > GROWTH * early:
            verdict = "lost"
        more = {
            "statuses": dict(sorted(seen.statuses.items())),
            "memory_mib": [round(value / MIB) for value in memory[:: max(1, len(memory) // 20)]],
            "faults": seen.faults[:5],
            "users": self.users,
            "minutes": self.minutes,
        }
        change = f"{sum(seen.statuses.values())} requests; memory {early / MIB:.0f}, then {late / MIB:.0f} MiB"
        message = shortened(told.read_text(encoding="utf-8", errors="replace"))
        return Trial(
            "users", kind, self.seed, number, verdict, change, round(time.monotonic() - since, 1), message, more
        )

    def _ask(self, address: str, pid: int, seen: Seen, number: int) -> list[float]:
        wav = (self.root / "recordings" / "speaker0" / "wav0.wav").read_bytes()
        until = time.monotonic() + 60 * self.minutes
        draws = [random.Random(f"users {self.seed} {number} {one}") for one in range(self.users)]
        users = [User(address, wav, draw, seen) for draw in draws]
        asking = [threading.Thread(target=user.run, args=(until,)) for user in users]
        for thread in asking:
            thread.start()
        process, memory = psutil.Process(pid), list[float]()
        while any(thread.is_alive() for thread in asking):
            memory.append(process.memory_info().rss)
            time.sleep(1)
        return memory


def _address(told: Path, server: "subprocess.Popen[bytes]") -> str:
    """Wait until the server answers; return its address."""
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    for _ in range(1200):
        found = re.search(r"http://[\d.:]+", told.read_text(encoding="utf-8", errors="replace"))
        if server.poll() is not None:
            break
        try:
            if found:
                httpx.get(f"{found[0]}/api/info")
                return found[0]
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"server must start, but did not: {told.read_text(encoding='utf-8', errors='replace')[-500:]}")
