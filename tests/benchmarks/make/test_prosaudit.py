import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.prosaudit import Sentence, make_prosaudit, read_sentence
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.treatments import Paused
from spiritlm_pl.corpora.synthetic.espeak import Voice


def test_marks_and_punctuation_tell_the_places() -> None:
    assert read_sentence("When the_fox left | he saw a_red_lamp", "en") == Sentence(
        ("when", "the", "fox", "left", "he", "saw", "a", "red", "lamp"), (4,), (2, 7, 8)
    )
    assert read_sentence("Als der Hund kam, schlief die Katze noch.", "de") == Sentence(
        ("als", "der", "hund", "kam", "schlief", "die", "katze", "noch"), (4,), (1, 2, 6, 7)
    )
    assert read_sentence("Der Hund schlief.", "de") is None
    assert read_sentence("Ja, ja.", "de") is None
    assert read_sentence("Er kam, 1999 mal und wieder.", "en") is None


def test_both_files_of_a_pair_are_the_same_but_for_the_place(tmp_path: Path) -> None:
    lines = make_benchmark("prosaudit", tmp_path, count=4, voices=("en-us", "en-us+f2"), num_jobs=1)
    assert any("8 pairs; the right file is the shorter one in 50.0 %" in line for line in lines)
    assert any("differ by 0.0 % on average, levels by 0.00 dB" in line for line in lines)
    for split in ("dev", "test"):
        rows = list(csv.DictReader((tmp_path / split / "gold.csv").read_text().splitlines()))
        assert list(rows[0]) == ["filename", "id", "voice", "type", "correct"] and len(rows) == 8
        for right, wrong in zip(rows[::2], rows[1::2], strict=True):
            assert (right["correct"], wrong["correct"]) == ("1", "0")
            sounds = [soundfile.read(tmp_path / split / f"{row['filename']}.wav")[0] for row in (right, wrong)]
            assert len(sounds[0]) == len(sounds[1]) and not np.array_equal(*sounds)
            for sound in sounds:
                silent = np.flatnonzero(np.convolve(np.abs(sound) > 1e-4, np.ones(6300), "valid") < 0.5)
                assert len(silent) >= 1  # a pause of 0.4 s


def test_wrong_pauses_come_before_and_after() -> None:
    made = make_prosaudit(Settings(voices=(Voice("en-us"),), count=60))
    pairs: dict[str, dict[bool, int]] = {}
    for one in made.recordings:
        assert "|" not in one.text and "_" not in one.text
        if one.labels["type"] == "protosyntax":
            assert isinstance(one.treatment, Paused)
            pairs.setdefault(one.pair, {})[one.correct] = one.treatment.word
    sides = Counter(found[False] < found[True] for found in pairs.values())
    assert sum(sides.values()) == 30 and abs(sides[True] - sides[False]) <= 10
    assert make_prosaudit(Settings(voices=(Voice("en-us"),), count=60)).files == made.files


def test_a_file_and_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text(
        "Als der große Hund kam, schlief die kleine Katze noch. Wenn es morgen regnet, bleiben alle Kinder zu Hause. "
        "Das ist kurz."
    )
    files: dict[str, str | None] = {"stories": str(file)}
    lines = make_benchmark("prosaudit", tmp_path / "out", language="de", count=4, files=files, text_only=True)
    assert any("1 sentences have no two clauses" in line for line in lines)
    table = (tmp_path / "out/prosaudit-recordings.csv").read_text()
    assert "a pause of 0.4 s before word 6, 'schlief'" in table and "inside word" in table
    with pytest.raises(ValueError, match=r"count must be in \[4, 4\]"):
        make_benchmark("prosaudit", tmp_path / "x", language="de", count=5, files=files)
    with pytest.raises(ValueError, match="stories must be given for language de"):
        make_benchmark("prosaudit", tmp_path / "x", language="de")
    file.write_text("Nur kurz.")
    with pytest.raises(ValueError, match="at least 4, but there are only 0 pairs from sentences of two clauses"):
        make_benchmark("prosaudit", tmp_path / "x", language="de", count=4, files=files)
