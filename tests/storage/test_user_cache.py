"""All caches lie in the user's cache folder, wherever that is."""

from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.runtime.flat_index import open_index
from spiritlm_pl.storage.settings import StorageSettings
from spiritlm_pl.storage.user_cache import cache_folder, user_cache


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the home folder from the user, as in a container with a number that has no name."""

    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)


def test_the_users_own_choice_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIRITLM_STORAGE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for chosen, folder in (
        (str(tmp_path / "mine"), tmp_path / "mine"),
        ("", tmp_path / "home" / ".cache"),
        ("not/absolute", tmp_path / "home" / ".cache"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", chosen)
        assert user_cache("x") == cache_folder("~/.cache/spiritlm-pl/x") == folder / "spiritlm-pl" / "x"
        assert cache_folder("~/other") == tmp_path / "home" / "other" and cache_folder("a/b") == Path("a/b")
        assert StorageSettings().folder == folder / "spiritlm-pl" / "objects"


def test_an_index_that_cannot_lie_beside_its_files_is_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    (tmp_path / ".index").write_text("")  # in the way, also for root
    index = open_index(tmp_path, "x", "state", lambda writer: writer.append("a", np.arange(3)))
    assert index.folder.is_relative_to(tmp_path / "mine" / "spiritlm-pl" / "index")


def test_no_home_is_needed_where_an_index_can_lie_beside_its_files(tmp_path: Path, no_home: None) -> None:
    index = open_index(tmp_path, "x", "state", lambda writer: writer.append("a", np.arange(3)))
    assert index.folder.is_relative_to(tmp_path) and index.arrays["a"].tolist() == [0, 1, 2]


def test_a_missing_home_is_told_where_one_is_needed(
    tmp_path: Path, no_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPIRITLM_STORAGE_CACHE", raising=False)
    with pytest.raises(OSError, match="XDG_CACHE_HOME must name a folder for caches"):
        _ = StorageSettings().folder
    (tmp_path / ".index").write_text("")
    with pytest.raises(OSError, match=r"beside its files or in the user's cache.*XDG_CACHE_HOME must name"):
        open_index(tmp_path, "x", "state", lambda writer: writer.append("a", np.arange(3)))
