from pathlib import Path

import pytest

from spiritlm_pl.alignment.textgrid import parse_textgrid, read_textgrid, textgrid_alignment
from spiritlm_pl.corpora.manifest import Word

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 0.6
            text = "déjà"
        intervals [3]:
            xmin = 0.6
            xmax = 1.2
            text = "say ""9 to 5"" ! now"
        intervals [4]:
            xmin = 1.2
            xmax = 1.5
            text = "sil"
    item [2]:
        class = "IntervalTier"
        name = "Phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = "SP"
        intervals [2]:
            xmin = 0.25
            xmax = 1.5
            text = "D"
    item [3]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.75
            mark = "ding"
"""

SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
3
"IntervalTier"
"words"
0
1.5
4
0
0.25
""
0.25
0.6
"déjà"
0.6
1.2
"say ""9 to 5"" ! now"
1.2
1.5
"sil"
"IntervalTier"
"Phones"
0
1.5
2
0
0.25
"SP"
0.25
1.5
"D"
"TextTier"
"bell"
0
1.5
1
0.75
"ding"
"""
WORDS = [Word("déjà", 0.25, 0.6), Word('say "9 to 5" ! now', 0.6, 1.2)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_formats_and_encodings(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes((mark + text.replace("\n", "\r\n")).encode(encoding))
    assert [tier.name for tier in read_textgrid(path).tiers] == ["words", "Phones", "bell"]
    aligned = textgrid_alignment(path)
    assert aligned.words == WORDS
    assert aligned.phones == [Word("D", 0.25, 1.5)]


def test_long_and_short_are_the_same() -> None:
    assert parse_textgrid(LONG) == parse_textgrid(SHORT)
    assert parse_textgrid(LONG).tiers[2].intervals == [Word("ding", 0.75, 0.75)]


def test_comments_numbers_in_names_and_old_headers() -> None:
    text = (
        '"ooTextFile short"\n"TextGrid"\n! 7 tiers "x"\n0 1 <exists> 1 tier: "IntervalTier" "tier 2"\n'
        'from 0 to 1 s, 1 interval: 0.1 2e-1 "a\nb"'
    )
    (tier,) = parse_textgrid(text).tiers
    assert (tier.name, tier.intervals) == ("tier 2", [Word("a\nb", 0.1, 0.2)])
    assert parse_textgrid('"ooTextFile" "TextGrid" 0 1 <absent>').tiers == []


def test_tiers_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(SHORT)
    assert textgrid_alignment(path, "PHONES").words == [Word("D", 0.25, 1.5)]
    assert textgrid_alignment(path, "words", "words").phones == WORDS
    with pytest.raises(ValueError, match="'orthography' instead; there are 'words', 'Phones', 'bell'"):
        textgrid_alignment(path, "orthography")
    with pytest.raises(ValueError, match="'segments'"):
        textgrid_alignment(path, "words", "segments")
    path.write_text(SHORT.replace("Phones", "phonemes"))
    assert textgrid_alignment(path).phones == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file type must be a quoted string, but is None"),
        (b"ooBinaryFile\x08TextGrid\x00\x01\xff", "file type must be a quoted string"),
        (SHORT[:150].encode(), "must be a"),
        (SHORT.replace("TextGrid", "Sound").encode(), 'must begin with "ooTextFile" and "TextGrid"'),
        (SHORT.replace("0.6\n1.2", "1.2\n0.6").encode(), "must end after 1.2, but ends at 0.6"),
        (SHORT.replace("<exists>\n3", "<exists>\n2.5").encode(), "number of tiers must be a count, but is 2.5"),
        (SHORT.replace("TextTier", "Sketch").encode(), "class of a tier"),
        (b"\xff\xfe\x00", "must be a TextGrid in text format"),
    ],
)
def test_damaged_files_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.TextGrid"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_textgrid(path)
    assert "bad.TextGrid" in str(error.value)


def test_every_cut_off_file_is_an_error() -> None:
    last = SHORT.rindex('"ding"') + len('"ding"')
    for end in range(last):
        with pytest.raises(ValueError):
            parse_textgrid(SHORT[:end])
    assert len(parse_textgrid(SHORT[:last]).tiers) == 3


@pytest.mark.parametrize(
    ("names", "words", "phones"),
    [
        (("spk1 - words", "spk1 - phones"), None, None),
        (("word", "phone"), None, None),
        (("ORT-MAU", "MAU"), None, None),
        (("transcript", "segments"), "transcript", "seg*"),
        (("ann - words", "ann - phones"), "* - WORDS", "* - phones"),
    ],
)
def test_usual_tiers_and_patterns(
    names: tuple[str, str], words: str | None, phones: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(SHORT.replace('"words"', f'"{names[0]}"').replace("Phones", names[1]))
    aligned = textgrid_alignment(path, words, phones)
    assert aligned.words == WORDS and aligned.phones == [Word("D", 0.25, 1.5)]


def test_several_tiers_of_a_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(SHORT.replace('"words"', '"ann - words"').replace("Phones", "bob - words"))
    with pytest.raises(ValueError, match=r"a.TextGrid: tier '\* - words' must be one tier, but 'ann - words', 'bob"):
        textgrid_alignment(path)
    assert textgrid_alignment(path, "ann - words").words == WORDS
    path.write_text(SHORT.replace('"words"', '"text"'))
    with pytest.raises(ValueError, match=r"is 'words' or '\* - words' or .* instead; there are 'text'"):
        textgrid_alignment(path)


@pytest.mark.parametrize(
    ("told", "meant", "message"),
    [
        ('"Phones"\n0\n1.5\n2', '"Phones"\n0\n1.5\n1', "class of a tier must be a quoted string, but is 0.25"),
        ('"bell"\n0\n1.5\n1', '"bell"\n0\n1.5\n0', "goes on with 0.75: a count of intervals or tiers is too small"),
        ('"bell"\n0\n1.5\n1', '"bell"\n0\n1.5\n2', "but is None"),
        ("<exists>\n3", "<exists>\n2", "goes on with 'TextTier': a count of intervals or tiers is too small"),
    ],
)
def test_wrong_counts_are_told(told: str, meant: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(SHORT.replace(told, meant))
    with pytest.raises(ValueError, match=message):
        textgrid_alignment(path)
