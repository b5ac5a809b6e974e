import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml

from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.sblimp import make_sblimp
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.templates import SlottedTexts, read_lists
from spiritlm_pl.corpora.synthetic.espeak import Voice

POLISH: dict[str, Any] = {
    "words": {
        "kto": [{"jeden": "kot", "wiele": "koty"}, {"jeden": "pies", "wiele": "psy"}],
        "gdzie": ["w domu", "w lesie", "w mieście", "na dworze"],
    },
    "pairs": [
        {"type": "zgoda", "subtype": "jeden", "right": "{kto.jeden} śpi {gdzie}.", "wrong": "{kto.wiele} śpi {gdzie}."},
        {
            "type": "zgoda",
            "subtype": "wiele",
            "right": "{kto.wiele} śpią {gdzie}.",
            "wrong": "{kto.jeden} śpią {gdzie}.",
        },
    ],
}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_built_in_pairs_give_no_word_away() -> None:
    voices = (Voice("en-us"), Voice("en-gb+f2"))
    made = make_sblimp(Settings(voices=voices, count=60))
    words: dict[str, Counter[str]] = {"1": Counter(), "0": Counter()}
    for split in ("dev", "test"):
        rows = rows_of(made.files[f"syntactic/{split}/gold.csv"])
        assert list(rows[0]) == ["filename", "id", "voice", "type", "subtype", "transcription", "correct"]
        assert len(rows) == 60 * 2 and [row["correct"] for row in rows] == ["1", "0"] * 60
        for right, wrong in zip(rows[::2], rows[1::2], strict=True):
            assert all(right[name] == wrong[name] for name in ("id", "voice", "type", "subtype"))
            assert right["transcription"] != wrong["transcription"]
        ids = Counter((row["type"], row["subtype"], row["id"], row["voice"]) for row in rows)
        assert set(ids.values()) == {2} and len({row["id"] for row in rows}) < len(ids)
        for row in rows:
            words[row["correct"]].update(row["transcription"].lower().strip(".").split())
    agreement = {"this", "these", "itself", "themselves", "himself", "herself", "hides", "hide", "carries", "carry"}
    assert all(words["1"][word] == words["0"][word] for word in agreement)
    assert make_sblimp(Settings(voices=voices, count=60)).files == made.files
    assert make_sblimp(Settings(voices=voices, count=60, seed=1)).files != made.files


def test_a_grammar_of_another_language_beside_words(tmp_path: Path) -> None:
    grammar = tmp_path / "pairs.yaml"
    grammar.write_text(yaml.safe_dump(POLISH, allow_unicode=True, sort_keys=False))
    out = tmp_path / "out"
    (out / "lexical").mkdir(parents=True)
    (out / "index.json").write_text('{"subsets": {"lexical_dev": {}}}')
    lines = make_benchmark("sblimp", out, voices=("pl",), count=8, files={"grammar": str(grammar)}, num_jobs=1)
    assert any("8 pairs" in line for line in lines)
    subsets = json.loads((out / "index.json").read_text())["subsets"]
    assert set(subsets) == {"lexical_dev", "syntactic_dev", "syntactic_test"}
    rows = rows_of((out / "syntactic/test/gold.csv").read_text())
    assert {row["transcription"] for row in rows} <= {
        f"{who} {does} {where}."
        for who in ("kot", "koty", "pies", "psy")
        for does in ("śpi", "śpią")
        for where in POLISH["words"]["gdzie"]
    }
    for row in rows:
        samples, rate = soundfile.read(out / "syntactic/test" / f"{row['filename']}.wav")
        assert rate == 16_000 and 0.5 < len(samples) / rate < 3


def test_slots() -> None:
    lists = read_lists({"who": [{"one": "fox", "many": "foxes"}, {"one": "cat", "many": "cats"}], "how": ["red"]}, "x")
    template = SlottedTexts(["{who.one} {who#2.many} {how}", "{who.one}"], lists, "x")
    assert template.capacity == 2
    assert {tuple(template.fill(place)) for place in range(2)} == {("fox cats red", "fox"), ("cat foxes red", "cat")}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"words": {}}, "words must be lists"),
        ({"words": {"kto": []}}, r"words\.kto must be a list of words"),
        ({"words": {"kto": ["a", True]}}, r"words\.kto must hold texts .* has True"),
        ({"words": {"kto": ["a", "a"]}}, r"words\.kto must hold each word once"),
        ({"words": {"kto": ["a", {"one": "b"}]}}, r"words\.kto must have the same forms"),
        ({"words": {"kto": ["a"]}}, r"slots of kto must be \{kto\}, but pair 1 of .* has \{kto.jeden\}"),
        ({"pairs": []}, "grammar must hold a list of pairs"),
        ({"pairs": [{"type": "a"}]}, "pairs must have type, subtype, right, wrong, but pair 1 of .* has type instead"),
        ({"pairs": [{"right": "Nie wiem.", "wrong": "Nie wiem."}]}, "right and wrong must differ"),
        ({"pairs": [{"right": "{kto} śpi.", "wrong": "Nie."}]}, r"slots of kto must be \{kto.jeden\}, \{kto.wiele\}"),
        ({"pairs": [{"right": "{co} śpi.", "wrong": "Nie."}]}, r"slots must be of kto, gdzie, but .* has \{co\}"),
        ({"pairs": [{"right": "{kto.jeden śpi.", "wrong": "Nie."}]}, "texts must have slots as"),
        ({"pairs": [{"right": "{kto:1} śpi.", "wrong": "Nie."}]}, "slots must be"),
        ({"pairs": [{"right": "{kto#1.jeden} {kto#2.jeden} {kto#3.jeden}", "wrong": "Nie."}]}, "3 words or more"),
        ({"pairs": [{"right": "morze śpi {gdzie}", "wrong": "może śpi {gdzie}"}]}, "must sound different"),
        ({"pairs": [{"right": "Mam 42 {gdzie}.", "wrong": "Nie {gdzie}."}]}, "must be in words, but .* has '42'"),
        ({"pairs": [{"right": "A {gdzie}."}, {"right": "B {gdzie}.", "wrong": "A {gdzie}."}]}, "both in"),
    ],
)
def test_bad_grammars(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    grammar = tmp_path / "pairs.yaml"
    values = POLISH | changed
    if changed.get("pairs") and "type" not in changed["pairs"][0]:
        base = {"type": "a", "wrong": "C {gdzie}."}
        values["pairs"] = [base | {"subtype": str(n)} | pair for n, pair in enumerate(changed["pairs"])]
    grammar.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
    with pytest.raises(ValueError, match=message):
        make_benchmark("sblimp", tmp_path / "out", language="pl", count=4, files={"grammar": str(grammar)})
    assert not (tmp_path / "out").exists()


def test_bad_counts_and_files(tmp_path: Path) -> None:
    grammar = tmp_path / "pairs.yaml"
    grammar.write_text(yaml.safe_dump(POLISH, allow_unicode=True, sort_keys=False))
    files = {"grammar": str(grammar)}
    with pytest.raises(ValueError, match=r"count must be in \[4, 16\] \(pairs of the grammar, as zgoda jeden has 8\)"):
        make_benchmark("sblimp", tmp_path / "out", language="pl", count=17, files=files)
    with pytest.raises(ValueError, match="grammar must be given for language pl"):
        make_benchmark("sblimp", tmp_path / "out", language="pl")
    grammar.write_text("a: [1")
    with pytest.raises(ValueError, match="grammar must be YAML"):
        make_benchmark("sblimp", tmp_path / "out", language="pl", files=files)
