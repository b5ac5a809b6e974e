"""Judges by a name: the hub is asked once, and the local cache is of use without it."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from spiritlm_pl.evaluation.judges import load_judge


class Opener:
    """Stand-in for a class of transformers, which tells how it was asked."""

    asked: list[dict[str, Any]] = []

    @classmethod
    def from_pretrained(cls, source: str, **options: Any) -> Any:
        cls.asked.append({"source": source} | options)
        raise OSError("no further")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(Opener, "asked", [])
    return tmp_path


def ask(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def model_info(self: HfApi, name: str, timeout: float) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(HfApi, "model_info", model_info)
    load_judge("language_model", Opener, "nope")


def not_found() -> Exception:
    return RepositoryNotFoundError.__new__(RepositoryNotFoundError)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no name"), "is not in the local cache, and the hub cannot be reached .no name.$"),
        (not_found(), "nope is no folder, and the hub has none of that name$"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    with pytest.raises(ValueError, match=f"language_model must be a model folder or a hub name, but .*{message}"):
        ask(monkeypatch, error)
    assert not Opener.asked


@pytest.mark.parametrize("cached", [True, False])
def test_the_cache_is_read_without_the_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, cached: bool) -> None:
    if cached:
        folder = cache / "models--nope"
        (folder / "snapshots/1").mkdir(parents=True)
        (folder / "snapshots/1/config.json").write_text("{}")
        (folder / "refs").mkdir()
        (folder / "refs/main").write_text("1")
    with pytest.raises(ValueError, match="no further"):
        ask(monkeypatch, ConnectionError("no name") if cached else None)
    assert [asked["local_files_only"] for asked in Opener.asked] == [cached]
