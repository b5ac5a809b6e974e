from pathlib import Path

import pytest

from spiritlm_pl.runtime.lineage import ancestors, read_note, write_note
from spiritlm_pl.runtime.provenance import code_version


def test_a_note_names_all_that_a_folder_was_made_from(tmp_path: Path) -> None:
    hubert, units, blocks = tmp_path / "hubert", tmp_path / "units", tmp_path / "blocks"
    write_note(hubert, "hubert", [tmp_path / "nothing"], run_id="h", tracking_uri="sqlite:///x.db")
    write_note(units, "tokenize", [hubert])
    write_note(blocks, "build_blocks", [units, tmp_path])
    note = read_note(blocks)
    assert note is not None and note["stage"] == "build_blocks" and note["run_id"] is None
    untracked = {"run_id": None, "code_version": code_version()}
    assert note["ancestors"] == {"hubert": {**untracked, "run_id": "h"}, "tokenize": untracked}
    assert ancestors([hubert, blocks]) == {**note["ancestors"], "build_blocks": untracked}
    assert read_note(tmp_path) is None and ancestors([]) == {}


@pytest.mark.skipif(not (Path(__file__).parents[2] / ".git").exists(), reason="needs a git checkout")
def test_the_version_of_a_checkout_has_its_commit() -> None:
    assert "+g" in code_version()
