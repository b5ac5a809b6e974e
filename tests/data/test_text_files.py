from pathlib import Path

from spiritlm_pl.corpora.text_files.source import file_texts


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one two\n\nthree\n", encoding="utf-8-sig")
    assert list(file_texts(path)) == [("a.txt:0", "one two"), ("a.txt:12", "three")]
