"""Saving of shards in a thread: what is replaced, removed and linked, and when."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed

from spiritlm_pl.callbacks.checkpoints import link
from spiritlm_pl.modules.sharded_saving import ShardSaving

TAG = "shards"


@pytest.fixture
def saving(tmp_path: Path) -> Iterator[ShardSaving]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    yield ShardSaving(TAG, threaded=True)
    torch.distributed.destroy_process_group()


def save(saving: ShardSaving, target: Path, error: Exception | None = None) -> threading.Event:
    """Begin to save in a thread, which writes when the event is set."""
    event = threading.Event()
    folder = saving.begin(target) / TAG

    def write() -> None:
        assert event.wait(60)
        if error is not None:
            raise error
        (folder / "0.pt").write_text("whole")

    with saving.in_background():
        saving.save(target, write)
    return event


def test_what_a_killed_training_left_is_removed_after_long(saving: ShardSaving, tmp_path: Path) -> None:
    old, new = (tmp_path / f".step={step}.ckpt.saving" / TAG / "0.pt" for step in (1, 2))
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_text("part")
    for path in (old, old.parent, old.parent.parent):
        os.utime(path, (1e9, 1e9))
    save(saving, tmp_path / "step=3.ckpt").set()
    saving.finish()
    assert sorted(path.name for path in tmp_path.glob("step=*")) == ["step=3.ckpt"]
    assert new.is_file() and not old.exists()


def test_earlier_checkpoints_stay_until_the_next_is_whole(saving: ShardSaving, tmp_path: Path) -> None:
    one, two, three = (tmp_path / f"step={step}.ckpt" for step in (1, 2, 3))
    save(saving, one).set()
    saving.afterwards(lambda: link(one, tmp_path / "last.ckpt"), even_later=False)
    saving.finish()
    assert (tmp_path / "last.ckpt" / TAG / "0.pt").read_text() == "whole"
    assert (one / "latest").read_text() == TAG

    removed: list[Path] = []
    event = save(saving, two, OSError(28, "No space left on device"))
    saving.afterwards(lambda: removed.append(one), even_later=True)
    saving.afterwards(lambda: link(two, tmp_path / "last.ckpt"), even_later=False)
    assert not removed and not two.exists() and (tmp_path / "last.ckpt").resolve() == one
    event.set()
    with pytest.warns(UserWarning, match=r"no checkpoint was saved as step=2.ckpt, .* stay: .*No space left"):
        saving.finish()
    saving.afterwards(lambda: link(two, tmp_path / "last.ckpt"), even_later=False)  # told when it has failed already
    assert not removed and not two.exists() and (tmp_path / "last.ckpt").resolve() == one
    assert sorted(path.name for path in tmp_path.glob("*step*")) == ["step=1.ckpt"]

    event = save(saving, three)
    saving.afterwards(lambda: removed.append(two), even_later=True)
    assert not removed
    event.set()
    saving.finish()
    assert removed == [one, two] and (three / TAG / "0.pt").is_file()
    saving.afterwards(lambda: removed.append(three), even_later=True)
    assert removed[-1] == three  # at once, as nothing is being written


def test_a_checkpoint_is_written_to_its_end_before_the_next_begins(saving: ShardSaving, tmp_path: Path) -> None:
    event = save(saving, tmp_path / "step=1.ckpt")
    threading.Timer(0.2, event.set).start()
    folder = saving.begin(tmp_path / "hpc.ckpt")  # outside the context: as on a signal
    assert (tmp_path / "step=1.ckpt" / "latest").is_file()
    saving.save(tmp_path / "hpc.ckpt", lambda: (folder / TAG / "0.pt").touch())
    assert (tmp_path / "hpc.ckpt" / TAG / "0.pt").is_file()


def test_other_errors_end_training(saving: ShardSaving, tmp_path: Path) -> None:
    save(saving, tmp_path / "step=1.ckpt", TypeError("cannot pickle")).set()
    with pytest.raises(RuntimeError, match=r"step=1.ckpt cannot be written: cannot pickle"):
        saving.finish()
    with pytest.raises(OSError, match="full"):
        saving.begin(tmp_path / "step=2.ckpt")
        saving.save(tmp_path / "step=2.ckpt", lambda: (_ for _ in ()).throw(OSError("full")))
    assert not list(tmp_path.glob("*.ckpt")) and not list(tmp_path.glob(".*.saving"))


def test_a_checkpoint_of_the_same_name_is_unchanged_until_the_new_one_is_whole(
    saving: ShardSaving, tmp_path: Path
) -> None:
    target = tmp_path / "last.ckpt"
    save(saving, target).set()
    saving.finish()
    before = (target / TAG / "0.pt").stat().st_ino
    event = save(saving, target)
    assert (target / TAG / "0.pt").stat().st_ino == before
    event.set()
    saving.finish()
    assert (target / TAG / "0.pt").stat().st_ino != before


def test_what_cannot_follow_a_whole_checkpoint_is_told_as_that_and_the_rest_is_done(
    saving: ShardSaving, tmp_path: Path
) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "step=0.ckpt")

    event = save(saving, tmp_path / "step=1.ckpt")
    saving.afterwards(refused, even_later=True)
    saving.afterwards(lambda: link(tmp_path / "step=1.ckpt", tmp_path / "last.ckpt"), even_later=False)
    event.set()
    with pytest.warns(UserWarning, match=r"step=1.ckpt was saved, but what was to follow .*Permission denied"):
        saving.finish()
    assert (tmp_path / "last.ckpt" / TAG / "0.pt").is_file()
    saving.finish()  # nothing is told twice


def test_a_checkpoint_that_is_saved_at_once_follows_one_that_failed(saving: ShardSaving, tmp_path: Path) -> None:
    done: list[int] = []
    event = save(saving, tmp_path / "step=1.ckpt", OSError(28, "No space left on device"))
    saving.afterwards(lambda: done.append(0), even_later=True)
    event.set()
    with pytest.warns(UserWarning, match="no checkpoint was saved"):
        saving.finish()
    folder = saving.begin(tmp_path / "step=2.ckpt") / TAG
    saving.save(tmp_path / "step=2.ckpt", lambda: (folder / "0.pt").touch())
    saving.afterwards(lambda: done.append(1), even_later=True)
    assert done == [0, 1]
