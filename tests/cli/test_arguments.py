"""What is looked at before a command begins."""

from argparse import ArgumentError
from pathlib import Path

import pytest

from spiritlm_pl.cli.main import run


def test_a_list_that_is_given_in_two_options_is_refused() -> None:
    words = ["build-blocks", "units", "tokenizer", "out"]
    with pytest.raises(ArgumentError, match=r"--text must be given once, but is given twice: write '\[a, b\]'"):
        run([*words, "--text", "a.txt", "--text=b.txt"])


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("train-text-tokenizer {} --text [nothing]", "OUT"),
        ("consolidate nothing {}", "OUTPUT"),
        ("build-conversations [] nothing {}", "OUT"),
        ("align {}", "CORPUS"),
    ],
)
def test_a_file_in_place_of_a_folder_is_refused_before_anything_is_done(
    command: str, name: str, tmp_path: Path
) -> None:
    """It would be found when the work is done."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=f"^{name} must be a folder, but {file} is a file$"):
        run(command.format(file).split())
