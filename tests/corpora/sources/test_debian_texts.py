"""English texts from packages: as they are stored, and what is told of broken ones."""

import struct
import zlib
from pathlib import Path

import pytest

from spiritlm_pl.cli.prepare.published import debian_texts
from spiritlm_pl.corpora.debian import PackageError
from spiritlm_pl.corpora.sources.debian_texts import (
    NOVELS_FILE,
    WORDNET_FILES,
    gloss,
    novel,
    read_r_strings,
    read_texts,
)
from spiritlm_pl.corpora.synthetic.spoken_texts import read_sentences

from .conftest import write_package

TITLES = ("EMMA", "NORTHANGER ABBEY", "PERSUASION")
ABLE = "00001740 00 a 01 able 0 001 = 05200169 n 0000 | (usually followed by `to') having skill; "


def r_database(*vectors: list[str | None], version: int = 3) -> bytes:
    """As R's `saveRDS` writes strings, compressed as in a database of lazy loading."""
    data = b""
    for strings in vectors:
        plain = b"X\n" + struct.pack(">3i", version, 0x040201, 0x030500)
        plain += struct.pack(">i", 5) + b"UTF-8" if version >= 3 else b""
        plain += struct.pack(">2i", 0x10, len(strings))
        for text in strings:
            encoded = (text or "").encode()
            plain += struct.pack(">2i", 0x40009, -1 if text is None else len(encoded)) + encoded
        data += struct.pack(">I", len(plain)) + zlib.compress(plain)
    return data


def files(glosses: list[str]) -> dict[str, bytes]:
    novels = [[title, "", "by Jane Austen", "", "It was", f"late in {title}.", "", "The end."] for title in TITLES]
    found = {f"usr/lib/R/site-library/{NOVELS_FILE}": r_database(*novels)}
    for name in WORDNET_FILES:
        found[name] = b"  1 This software is licensed | not a gloss\n"
    found[WORDNET_FILES[0]] += "\n".join(glosses).encode()
    return found


def test_r_strings_of_both_versions() -> None:
    for version in (2, 3):
        data = r_database(["one", None, "", "zwölf"], ["two"], version=version)
        assert list(read_r_strings(data)) == [["one", "", "", "zwölf"], ["two"]]
    assert list(read_r_strings(b"")) == []
    for end in (3, 9, len(data) - 1):
        with pytest.raises(PackageError, match="must hold vectors of strings"):
            list(read_r_strings(data[:end]))
    plain = b"X\n" + struct.pack(">3i", 2, 0, 0) + struct.pack(">2i", 0x0D, 0)  # integers
    with pytest.raises(PackageError, match="type 13 in place of 16"):
        list(read_r_strings(struct.pack(">I", len(plain)) + zlib.compress(plain)))


def test_a_novel_has_a_paragraph_a_line() -> None:
    assert novel(["", "PRIDE & PREJUDICE", "", "It was", "  late. ", "", "", "The end."]) == (
        "pride-prejudice",
        ["It was late.", "The end."],
    )


def test_definitions_and_examples() -> None:
    line = ABLE + '"able to swim"; "she was \\able"- J.Austen'
    assert gloss(line) == ("(usually followed by `to') having skill", ["able to swim", "she was \\able"])
    assert gloss("00001740 00 a 01 able 0 000 | without examples  ") == ("without examples", [])
    assert gloss("  1 a licence | of the data") is None and gloss("no bar") is None


def test_examples_are_in_the_split_of_their_definition() -> None:
    glosses = [f'{number:08d} 03 n 01 x 0 000 | meaning {number}; "said {number}"' for number in range(400)]
    texts = read_texts(files(glosses))
    assert set(texts["train"]) == {"emma", "definitions", "examples"}
    assert texts["test"]["persuasion"] == ["by Jane Austen", "It was late in PERSUASION.", "The end."]
    assert "northanger-abbey" in texts["validation"]
    numbers = {}
    for split, documents in texts.items():
        numbers[split] = {one.split()[-1] for one in documents["definitions"]}
        assert numbers[split] == {one.split()[-1] for one in documents["examples"]}
    assert sum(map(len, numbers.values())) == 400 and all(
        5 <= len(numbers[split]) <= 50 for split in ("validation", "test")
    )


def test_what_is_asked_about_is_not_trained_on() -> None:
    """An example may stand under two definitions, and a short paragraph in two novels."""
    glosses = [
        f'{number:08d} 03 n 01 x 0 000 | meaning {number}; "said of all"; "said {number}"' for number in range(400)
    ]
    texts = read_texts(files(glosses))
    documents = {split: [one for some in found.values() for one in some] for split, found in texts.items()}
    assert "said of all" in documents["test"] and "The end." in documents["test"]
    sets = [set(documents[split]) for split in ("train", "validation", "test")]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert texts["train"]["emma"] == ["It was late in EMMA."]
    assert len(set.union(*sets)) == 400 + 400 + 1 + 3 + 2  # definitions, examples, and paragraphs, none lost


def test_files_that_are_missing_are_named() -> None:
    whole = files([])
    for name in whole:
        with pytest.raises(PackageError, match=f"packages must hold {name.removeprefix('usr/lib/R/site-library/')}"):
            read_texts({path: data for path, data in whole.items() if path != name})
    other = whole | {f"usr/lib/R/site-library/{NOVELS_FILE}": r_database(["EMMA", "", "Text."])}
    with pytest.raises(PackageError, match="must hold the novel northanger-abbey"):
        read_texts(other)


def test_the_command_writes_texts_and_licences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = files([ABLE + '"able to swim"']) | {"usr/share/doc/wordnet-base/copyright": b"WordNet 3.0"}
    novels = {name: data for name, data in contents.items() if NOVELS_FILE in name}
    write_package(tmp_path / "r-cran-janeaustenr_1_all.deb", novels)
    with pytest.raises(PackageError, match="source must be a folder with r-cran-janeaustenr and wordnet-base"):
        debian_texts(str(tmp_path / "out"), source=str(tmp_path))
    write_package(tmp_path / "wordnet-base_1_all.deb", contents)
    debian_texts(str(tmp_path / "out"), source=str(tmp_path))
    written = (tmp_path / "out" / "test" / "persuasion.txt").read_text()
    assert written == "by Jane Austen\n\nIt was late in PERSUASION.\n\nThe end.\n"
    assert "WordNet 3.0" in (tmp_path / "out" / "LICENCE").read_text()
    assert "persuasion 10" in capsys.readouterr().out
    said = read_sentences(tmp_path / "out")
    assert {sentence.part for sentence in said} == {"train", "validation", "test"}  # the licence is not read
    assert "It was late in PERSUASION." in [sentence.text for sentence in said if sentence.part == "test"]
