"""What is at a path that does not fit is told in the same words everywhere."""

import re
from pathlib import Path

import pytest

from spiritlm_pl.runtime.found import check_folder, check_writable, check_writable_file, found_at, lacks

ROOT = Path(__file__).parents[2]
# A list of checksums or a manifest may name what is missing; what the user names is not there.
OTHER_WORDS = re.compile(
    r"but \{[^{}()]+\} (does not exist|cannot be found|was not found|is not found|is missing)"
    r"|without \{[^{}]+\}, which is|else f\"\{[^{}]+\} is missing"
)


def test_what_is_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [found_at(tmp_path / name) for name in ("", "file", "none")] == [
        f"{tmp_path} is a folder",
        f"{tmp_path / 'file'} is a file",
        f"{tmp_path / 'none'} is not there",
    ]
    assert lacks(tmp_path) == f"{tmp_path} has none" and lacks(tmp_path / "none").endswith("none is not there")
    check_folder(tmp_path, "audio", "folder of audio")
    for name, kind in (("file", NotADirectoryError), ("none", FileNotFoundError)):
        with pytest.raises(kind, match=f"audio must be a folder of audio, but {tmp_path / name} is"):
            check_folder(tmp_path / name, "audio", "folder of audio")


def test_a_folder_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder", "out")
    check_writable(tmp_path, "out")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="out must be a folder that can be written, but .* cannot: "):
            check_writable(place, "out")
    check_writable_file(tmp_path / "new" / "a.json", "output")
    with pytest.raises(ValueError, match="^output must be a file that can be written, but .*below/a.json cannot: "):
        check_writable_file(tmp_path / "file" / "below" / "a.json", "output")
    with pytest.raises(ValueError, match=f"^output must be a file, but {tmp_path} is a folder$"):
        check_writable_file(tmp_path, "output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_message_has_other_words_for_a_missing_path() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for room in ("spiritlm_pl", "modules", "datamodules", "callbacks")
        for path in (ROOT / room).rglob("*.py")
        for match in OTHER_WORDS.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found
