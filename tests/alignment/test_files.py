import pickle
from pathlib import Path

import pytest

from spiritlm_pl.alignment.contract import Aligner
from spiritlm_pl.alignment.files import CTMAligner, TextGridAligner, _Names
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError

GRID = (
    '"ooTextFile" "TextGrid" 0 1 <exists> 2 "IntervalTier" "words" 0 1 3 0 0.1 "" 0.1 0.5 "dial" 0.5 1 "42" '
    '"IntervalTier" "phones" 0 1 1 0.1 0.3 "D"'
)


def test_textgrid_folder(tmp_path: Path) -> None:
    (tmp_path / "speaker").mkdir()
    (tmp_path / "speaker" / "a.TextGrid").write_text(GRID)
    aligner: Aligner = TextGridAligner(str(tmp_path))
    for cut_id in ("speaker/a", "a", "elsewhere/a"):
        found = aligner.align(cut_id, None, ["dial", "forty", "two"])
        assert found.words == [
            AlignedWord("dial", 0.1, 0.5),
            AlignedWord("forty", 0.5, 0.8125),
            AlignedWord("two", 0.8125, 1.0),
        ]
        assert found.phones == [Word("D", 0.1, 0.3)]
    with pytest.raises(AlignmentError, match="word 1 of the transcript is 'dual', but is 'dial'"):
        aligner.align("a", None, ["dual", "forty", "two"])
    with pytest.raises(AlignmentError, match="no TextGrid files for 'b'"):
        aligner.align("b", None, ["dial"])


def test_labels_are_read_in_the_language_of_the_utterance(tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_text(GRID)
    (tmp_path / "i.TextGrid").write_text(GRID.replace("dial", "Mr").replace('"42"', '"Isparta"'))
    aligner = TextGridAligner(str(tmp_path))
    found = aligner.align("a", None, ["dial", "zweiundvierzig"], "de").words
    assert [(word.text, word.start, word.end) for word in found] == [("dial", 0.1, 0.5), ("zweiundvierzig", 0.5, 1.0)]
    with pytest.raises(AlignmentError, match="is 'zweiundvierzig', but is '42' in the alignment"):
        aligner.align("a", None, ["dial", "zweiundvierzig"], "en")
    assert len(aligner.align("i", None, ["mr", "ısparta"], "tr").words) == 2


def test_textgrid_trouble_is_of_one_cut(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.textgrid").write_text(GRID)
    (tmp_path / "broken.TextGrid").write_text(GRID[:60])
    aligner = TextGridAligner(str(tmp_path))
    with pytest.raises(AlignmentError, match="2 TextGrid files for 'a'"):
        aligner.align("a", None, ["dial", "42"])
    assert len(aligner.align("x/a", None, ["dial", "forty", "two"]).words) == 3
    with pytest.raises(AlignmentError, match="broken.TextGrid must be a TextGrid"):
        aligner.align("broken", None, ["dial"])
    with pytest.raises(FileNotFoundError, match="folder of TextGrid files"):
        TextGridAligner(str(tmp_path / "none"))


def test_ctm_file(tmp_path: Path) -> None:
    words, phones = tmp_path / "words.ctm", tmp_path / "phones.ctm"
    words.write_text("a 1 0.5 0.5 there 0.8\na 1 0 0.5 Hi 0.9\nb 1 0 1 hi\nb 2 0 1 hi\n")
    phones.write_text("a 1 0 0.25 HH\na 1 0.25 0.25 AY\n")
    aligner: Aligner = CTMAligner(str(words), str(phones))
    found = aligner.align("a", None, ["hi", "there"])
    assert found.words == [AlignedWord("hi", 0.0, 0.5, 0.9), AlignedWord("there", 0.5, 1.0, 0.8)]
    assert [phone.text for phone in found.phones] == ["HH", "AY"]
    with pytest.raises(AlignmentError, match="2 channels, not one, of 'b'"):
        aligner.align("b", None, ["hi"])
    with pytest.raises(AlignmentError, match="no recordings for 'c' in"):
        aligner.align("c", None, ["hi"])
    (tmp_path / "bad.ctm").write_text("a 1 0\n")
    with pytest.raises(ValueError, match="line 1 of .*bad.ctm"):
        CTMAligner(str(tmp_path / "bad.ctm"))


@pytest.mark.parametrize(
    ("names", "cut_id", "found"),
    [
        (["spk1/utt1", "spk2/utt1"], "spk1-utt1", ["spk1/utt1"]),  # the forced aligner mirrors speaker folders
        (["84/84_121_0", "84/84_121_1"], "84-84_121_1", ["84/84_121_1"]),
        (["out/spk1/utt1", "out/spk2/utt1"], "spk2-utt1", ["out/spk2/utt1"]),
        (["utt1", "utt2"], "spk1-utt1", ["utt1"]),
        (["spk1/utt1", "spk2/utt1"], "utt1", ["spk1/utt1", "spk2/utt1"]),
        (["my-file-a", "my-file-b"], "my file a", ["my-file-a"]),  # NeMo
        (["spk1_utt1", "spk2_utt1"], "spk1-utt1", ["spk1_utt1"]),
        (["a_b", "a-b"], "a-b", ["a-b"]),
        (["a_b", "a b"], "a-b", ["a_b", "a b"]),
        (["utt11"], "utt1", []),
    ],
)
def test_names_of_other_tools(names: list[str], cut_id: str, found: list[str]) -> None:
    assert _Names(names).of(cut_id) == found


def test_another_file_of_the_same_path_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "words.ctm"
    for word in ("one", "two"):
        path.write_text(f"a 1 0 1 {word}\n")
        aligner = CTMAligner(str(path))
        assert aligner.align("a", None, [word]).words == [AlignedWord(word, 0.0, 1.0)]
    copy = pickle.loads(pickle.dumps(aligner))
    assert copy == aligner and repr(copy) == repr(aligner) and "_words" not in vars(copy)
    (tmp_path / "grids").mkdir()
    for name in ("a", "b"):
        (tmp_path / "grids" / f"{name}.TextGrid").write_text(GRID)
        assert TextGridAligner(str(tmp_path / "grids")).align(name, None, ["dial", "forty", "two"]).words
