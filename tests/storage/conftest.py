"""A bucket of a real S3 server that makes faults when it is asked to, and a small tokenised corpus."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
import pytest

from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.streams import SpeechLayout

SERVER = Path(__file__).with_name("fault_server.py")
NAMES = count()
TEXT = "the cat sat on the mat".split()


class S3:
    """A server with one bucket.

    Attributes:
        url: address of the bucket.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.url = f"s3://bucket-{next(NAMES)}"
        self._put(self.url[4:], b"")
        self.faults()

    def _put(self, path: str, data: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}  # urllib's own is that of a form
        with urlopen(Request(self.endpoint + quote(path), data=data, method="PUT", headers=headers), timeout=20):
            pass

    def upload(self, folder: Path, prefix: str) -> str:
        """Upload a folder; return its address."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._put(f"{self.url[4:]}/{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return f"{self.url}/{prefix}"

    def faults(self, **faults: float) -> None:
        """Make these faults from now on, and no others; `fault_server` says which there are."""
        with urlopen(Request(f"{self.endpoint}/-/faults", data=json.dumps(faults).encode(), method="POST")):
            pass

    def state(self) -> dict[str, Any]:
        """Return the faults that are left, and what was `asked` for how often."""
        with urlopen(f"{self.endpoint}/-/faults") as answer:
            return json.load(answer)

    def gets(self, ending: str) -> int:
        """Return how often an object of this bucket, whose address ends so, was read."""
        asked = self.state()["asked"].items()
        own = f"GET {self.url[4:]}/"
        return sum(number for name, number in asked if name.startswith(own) and name.endswith(ending))


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    with subprocess.Popen([sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


@pytest.fixture
def s3(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3:
    """A bucket of its own, without faults as yet; address, credentials and cache are in the environment."""
    served = S3(port)
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


@pytest.fixture
def units(tmp_path: Path) -> Path:
    folder = tmp_path / "units"
    for part in range(5):
        found = [
            UnitUtterance(
                id=f"{part}-{number}",
                text=" ".join(TEXT[: 2 + number]),
                duration=1.0,
                units=np.arange(8, dtype=np.uint16) % 7,
                unit_starts=np.arange(8, dtype=np.uint32),
                num_frames=8,
            )
            for number in range(3)
        ]
        write_part(folder / "train", part, found, "test")
    layout = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0)
    finish_folder(folder / "train", ["test"] * 5, layout=layout, provenance={})
    return folder
