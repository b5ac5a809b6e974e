import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml

from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.stsp import make_stsp
from spiritlm_pl.corpora.synthetic.espeak import Voice

MANIFESTS = ("emov/emov", "expresso/expresso_read")
SENTIMENTS = {
    "emov/emov": {"amused": "positive", "angry": "negative", "neutral": "neutral"},
    "expresso/expresso_read": {"happy": "positive", "sad": "negative", "default": "neutral"},
}


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_layout(tmp_path: Path) -> None:
    make_benchmark("stsp", tmp_path, count=24, voices=("en-us", "en-us+f2"), num_jobs=1, speed=250)
    number = 0
    for name in MANIFESTS:
        for split in ("train", "dev", "test"):
            rows = rows_of((tmp_path / f"manifest/{name}.{split}.jsonl").read_text())
            assert {row["sentiment"] for row in rows} == {"positive", "negative", "neutral"}
            for row in rows:
                assert list(row) == ["emotion", "sentiment", "wav_path", "split", "speaker", "id", "asr"]
                assert row["split"] == split and SENTIMENTS[name][row["emotion"]] == row["sentiment"]
                assert row["emotion"] in row["wav_path"].lower() and row["speaker"] in row["wav_path"]
                assert soundfile.info(tmp_path / "data" / row["wav_path"]).duration > 0.5
                number += 1
    assert number == 24
    wholes = {path.name: soundfile.info(path).duration for path in (tmp_path / "data").rglob("*.wav")}
    for direction in ("s2s", "s2t", "t2s", "t2t"):
        rows = rows_of((tmp_path / f"manifest/few_shot/{direction}.jsonl").read_text())
        assert Counter(row["sentiment"] for row in rows) == {"positive": 3, "negative": 3, "neutral": 3}
        for row in rows:
            for kind, key in zip((direction[0], direction[2]), ("prompt", "generation"), strict=True):
                assert (tmp_path / "data" / row[key]).is_file() == (kind == "s") and row[key].strip()
    for row in rows_of((tmp_path / "manifest/few_shot/s2s.jsonl").read_text()):
        halves = [wholes[Path(row[key]).name] for key in ("prompt", "generation")]
        whole = wholes[Path(row["prompt"]).name.replace("_first", "")]
        assert sum(halves) == pytest.approx(whole, abs=0.01) and min(halves) > 0.2


def test_texts_come_once_and_styles_differ() -> None:
    made = make_stsp(Settings(voices=(Voice("en-us"), Voice("en-gb+f2")), count=90))
    samples = [one for one in made.recordings if "few_shot" not in one.file]
    assert len({one.text for one in samples}) == len(samples) == 90
    styles = {(one.labels["emotion"], one.parts[0].voice.pitch, one.parts[0].voice.speed) for one in samples}
    assert len(styles) == 6 and len({one.parts[0].voice.name for one in samples}) == 2
    assert make_stsp(Settings(voices=(Voice("en-us"), Voice("en-gb+f2")), count=90)).files == made.files


def test_bad_texts(tmp_path: Path) -> None:
    grammar = tmp_path / "g.yaml"
    section = {name: [f"Das ist {name} {{n}}."] for name in ("positive", "negative")}
    words = {"n": ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]}
    files: dict[str, str | None] = {"grammar": str(grammar)}
    for neutral, count, message in (
        (None, 24, "but lacks neutral"),
        (["{n}"], 24, "two words or more, to be cut in halves"),
        (
            ["Das ist so."],
            24,
            "count must be at least 24, but there are only 3 texts of the grammar, as sentiment.neutral",
        ),
        (["So ist {n}."], 28, r"count must be in \[24, 27\]"),
        (["So ist {n}."], 2, r"count must be in \[24, 27\]"),
    ):
        texts = section | ({} if neutral is None else {"neutral": neutral})
        grammar.write_text(yaml.safe_dump({"words": words, "sentiment": texts}, allow_unicode=True))
        with pytest.raises(ValueError, match=message):
            make_benchmark("stsp", tmp_path / "o", language="de", count=count, files=files)
    make_benchmark("stsp", tmp_path / "o", language="de", count=27, files=files, text_only=True)
    with pytest.raises(FileExistsError, match="out must be without data|without manifest"):
        make_benchmark("stsp", tmp_path / "o", language="de", count=27, files=files, text_only=True)
