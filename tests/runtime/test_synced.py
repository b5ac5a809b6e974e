"""What is put in place as a whole folder is on the disk before it has its name, as with `atomic_path`."""

import os
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.modules.sharded_saving import put_in_place
from spiritlm_pl.runtime.flat_index import DESCRIPTION, IndexWriter


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Contents of the files that were waited for, as they were then."""
    found: set[bytes] = set()

    def noted(number: int) -> None:
        found.add(Path(f"/proc/self/fd/{number}").read_bytes())

    monkeypatch.setattr(os, "fsync", noted)
    return found


def test_an_index(synced: set[bytes], tmp_path: Path) -> None:
    with IndexWriter(tmp_path) as writer:
        writer.append("one", np.arange(3))
        writer.append("two", b"abc")
    assert synced == {path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"one.bin", "two.bin", DESCRIPTION}


def test_a_sharded_checkpoint(synced: set[bytes], tmp_path: Path) -> None:
    shards = tmp_path / "temporary" / "tag"
    shards.mkdir(parents=True)
    for name in ("rank0", "rank1"):
        (shards / name).write_text(name)
    put_in_place(tmp_path / "temporary", tmp_path / "step=1.ckpt", "tag")
    assert synced == {b"rank0", b"rank1", b"tag"}
    assert (tmp_path / "step=1.ckpt" / "latest").read_text() == "tag"
