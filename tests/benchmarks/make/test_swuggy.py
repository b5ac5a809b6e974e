import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.lexicon import Neighbourhood, phones_of, read_lexicon
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.swuggy import make_swuggy
from spiritlm_pl.cli.prepare.benchmark import benchmark
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer

POLISH = (
    "woda góra rzeka most dom kot pies okno drzwi stół krzesło lampa książka szkoła miasto droga las pole kwiat trawa "
    "ptak ryba chleb mleko masło jajko zupa obiad rano wieczór noc dzień zima lato wiosna jesień słońce księżyc gwiazda"
).split()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_layout_levels_and_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("swuggy", str(tmp_path), voices=("en-us", "en-gb+f2"), count=6, num_jobs=1)
    said = capsys.readouterr().out
    assert "24 recordings" in said and "12 pairs" in said
    subsets = json.loads((tmp_path / "index.json").read_text())["subsets"]
    for split in ("dev", "test"):
        items = subsets[f"lexical_{split}"]["items"]
        assert all((tmp_path / name).is_file() for name in [*items["wav_list"]["files_list"], items["gold"]["file"]])
        assert len(items["wav_list"]["files_list"]) == 12
    assert "eSpeak NG" in (tmp_path / "README-swuggy.md").read_text()
    for split in ("dev", "test"):
        rows = rows_of(tmp_path / "lexical" / split / "gold.csv")
        assert list(rows[0]) == ["filename", "id", "voice", "frequency", "word", "phones", "length", "correct"]
        assert len(rows) == 12 and {row["voice"] for row in rows} == {"en-us", "en-gb-f2"}
        assert {path.stem for path in (tmp_path / "lexical" / split).glob("*.wav")} == {row["filename"] for row in rows}
        for row in rows:
            samples, rate = soundfile.read(tmp_path / "lexical" / split / f"{row['filename']}.wav")
            assert rate == 16_000 and 0.15 < len(samples) / rate < 1.2 and np.abs(samples).max() < 0.96
            assert np.sqrt((samples**2).mean()) == pytest.approx(0.06, rel=0.02)


def test_written_words_and_nonwords_have_as_many_pieces(tmp_path: Path) -> None:
    tokenizer = train_text_tokenizer(["the cat sat on the mat", "a dog ran off to the market with a lantern"] * 5)
    tokenizer.save(tmp_path)
    made = make_swuggy(Settings(voices=(Voice("en-us"),), count=30, seed=2, text_tokenizer=tmp_path))
    pieces: dict[tuple[str, str], set[int]] = {}
    for split in ("dev", "test"):
        for row in csv.DictReader(made.files[f"lexical/{split}/gold.csv"].split("\n")):
            pieces.setdefault((split, row["id"]), set()).add(len(tokenizer.encode(row["word"])))
    assert len(pieces) == 30 and all(len(own) == 1 for own in pieces.values())
    assert len(set.union(*pieces.values())) > 2  # of several lengths
    assert "pieces" in made.notes[0]
    with pytest.raises(ValueError, match="text_tokenizer must be a .model file, or a folder"):
        make_swuggy(Settings(voices=(Voice("en-us"),), count=30, text_tokenizer=tmp_path / "none"))


def test_nonwords_are_no_words_and_match_their_words() -> None:
    voices = (Voice("en-us"), Voice("en-gb+m3"))
    made = make_swuggy(Settings(voices=voices, count=40, seed=1))
    words, _ = read_lexicon(None)
    sounds = {name: {phones_of(word, Voice(name)) for word in words} for name in ("en-us", "en-gb")}
    rows = [
        line
        for split in ("dev", "test")
        for line in csv.DictReader(made.files[f"lexical/{split}/gold.csv"].split("\n"))
    ]
    near = Neighbourhood(phones_of(word, Voice("en-us")) for word in words)
    ours = [row for row in rows if row["voice"] == "en-us"]
    right, wrong = ([row for row in ours if row["correct"] == mark] for mark in "10")
    assert len(right) == len(wrong) == 40 and len({row["word"] for row in wrong}) == 40
    assert {int(row["frequency"]) >= 1 for row in right} == {True, False}
    for word, other in zip(right, wrong, strict=True):
        assert word["word"] in words and other["word"] not in words and other["frequency"] == word["frequency"]
        assert (
            len(word["phones"].split()) == len(other["phones"].split()) == int(word["length"]) == int(other["length"])
        )
        assert all(phones_of(other["word"], Voice(name)) not in sounds[name] for name in sounds)
    counts = [[near.count(phones_of(row["word"], Voice("en-us"))) for row in part] for part in (right, wrong)]
    assert abs(sum(counts[0]) - sum(counts[1])) <= 4
    assert make_swuggy(Settings(voices=voices, count=40, seed=1)).files == made.files
    assert make_swuggy(Settings(voices=voices, count=40, seed=2)).files != made.files


def test_neighbours() -> None:
    near = Neighbourhood([tuple("cat"), tuple("cut"), tuple("at"), tuple("cart"), tuple("dog")])
    assert near.count(tuple("cat")) == 3 and near.count(tuple("dog")) == 0 and near.count(tuple("bat")) == 2
    assert near.count(tuple("ca")) == 1 and tuple("cat") in near and tuple("tac") not in near
    assert near.usual(tuple("cog")) is None and near.usual(tuple("dog")) is not None


def test_another_language_and_its_frequencies(tmp_path: Path) -> None:
    lexicon, text = tmp_path / "words.txt", tmp_path / "text.txt"
    lexicon.write_text("# Polish\n" + "\n".join(POLISH) + "\nnie wiem\n4x4\n")
    text.write_text("Kot i pies. Kot pije mleko.")
    out = tmp_path / "out"
    lines = make_benchmark(
        "swuggy", out, language="pl", count=4, files={"lexicon": str(lexicon), "text": str(text)}, text_only=True
    )
    rows = rows_of(out / "lexical/dev/gold.csv") + rows_of(out / "lexical/test/gold.csv")
    frequencies = {row["word"]: row["frequency"] for row in rows if row["correct"] == "1"}
    assert set(frequencies) <= set(POLISH) and {"0", "1"} <= set(frequencies.values())
    table = rows_of(out / "swuggy-recordings.csv")
    assert {row["file"] for row in table} == {
        f"lexical/{s}/{r['filename']}.wav" for s in ("dev", "test") for r in rows_of(out / f"lexical/{s}/gold.csv")
    }
    assert not list(out.rglob("*.wav")) and any("2 lines of the lexicon" in line for line in lines)
    make_benchmark(
        "swuggy", tmp_path / "no_text", language="pl", count=4, files={"lexicon": str(lexicon)}, text_only=True
    )
    assert {row["frequency"] for row in rows_of(tmp_path / "no_text/lexical/dev/gold.csv")} == {""}


def test_the_same_samples_whatever_was_said_before(tmp_path: Path) -> None:
    for name, voices in (("a", ("en-us", "en-us+f5")), ("b", ("en-us+f5",))):
        make_benchmark("swuggy", tmp_path / name, voices=voices, count=2, files={"lexicon": None}, num_jobs=1)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").rglob("*f5-word.wav")}
    again = {path.name: path.read_bytes() for path in (tmp_path / "b").rglob("*f5-word.wav")}
    assert first and first == again


def test_bad_input(tmp_path: Path) -> None:
    empty, few = tmp_path / "empty.txt", tmp_path / "few.txt"
    empty.write_text("# nothing\n12\n")
    few.write_text("woda\nrzeka\nksiążka")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"language": "xx"}, "language must be one that eSpeak NG speaks"),
        ({"language": "de+f2"}, "language must be one that eSpeak NG speaks"),
        ({"language": "pl"}, "lexicon must be given for language pl"),
        ({"language": "pl", "voices": ("en-us",)}, "voices must be of language pl, but one is en-us"),
        ({"voices": ("de", "en-us")}, "voices must be of one language"),
        ({"voices": ("nobody",)}, "^voices must be of eSpeak NG, such as .*, but one is 'nobody' instead"),
        ({"files": {"lexicon": str(empty)}}, "lexicon must hold words"),
        ({"files": {"lexicon": str(tmp_path / "none")}}, "lexicon must be a text file, but .* is missing"),
        ({"files": {"grammar": str(few)}}, "grammar must not be given for swuggy, which takes lexicon and text"),
        ({"files": {"lexicon": str(few)}, "language": "pl"}, r"count must be in \[2, 3\].*but is 100"),
        ({"count": 0}, "count must be in"),
        ({"count": 5000}, r"count must be in \[2, \d+\]"),
        ({"layout": "slurp"}, "layout must be one of swuggy"),
        ({"speed": 20}, "speed must be in"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            make_benchmark("swuggy", tmp_path / "out", **arguments)
    with pytest.raises(ValueError, match="kind must be one of"):
        make_benchmark("nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_nothing_is_left_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lexical").mkdir()
    with pytest.raises(FileExistsError, match="out must be without lexical"):
        make_benchmark("swuggy", tmp_path, count=2, num_jobs=1)
    (tmp_path / "lexical").rmdir()

    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ValueError, match="index.json must be JSON, but is not"):
        make_benchmark("swuggy", tmp_path, count=2, num_jobs=1)
    (tmp_path / "index.json").unlink()

    def full(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("spiritlm_pl.benchmarks.make.miniature.save_wav", full)
    with pytest.raises(OSError, match="No space"):
        make_benchmark("swuggy", tmp_path, count=2, num_jobs=1)
    assert list(tmp_path.iterdir()) == []

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spiritlm_pl.benchmarks.make.miniature.save_wav", interrupted)
    with pytest.raises(KeyboardInterrupt, match="nothing was written, run the same command again"):
        make_benchmark("swuggy", tmp_path, count=2, num_jobs=1)
    assert list(tmp_path.iterdir()) == []
