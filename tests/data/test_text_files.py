from pathlib import Path

from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import open_source


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one two\n\nthree\n", encoding="utf-8-sig")
    found = open_source([str(path)], TextOptions()).all_texts(Skipped())
    assert list(found) == [("a.txt:0", "one two"), ("a.txt:12", "three")]
