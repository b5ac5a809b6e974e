from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from spiritlm_pl.benchmarks.make.acoustics import OverBackground
from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.salmon import make_salmon
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.speaking import MORE_VARIANTS
from spiritlm_pl.corpora.synthetic.espeak import Voice

FOLDERS = {
    "bg_alignment", "bg_all_consistency", "bg_domain_consistency", "gender_consistency", "rir_consistency",
    "sentiment_alignment", "sentiment_consistency", "speaker_consistency",
}  # fmt: skip
VOICES = tuple(Voice("en-us" + variant) for variant in MORE_VARIANTS)


def test_layout_lengths_and_levels(tmp_path: Path) -> None:
    lines = make_benchmark("salmon", tmp_path, count=2, num_jobs=1, speed=300)
    assert any("16 pairs" in line for line in lines)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == FOLDERS
    for folder in FOLDERS:
        assert {path.name for path in (tmp_path / folder).iterdir()} == {
            f"sample_{i}_{k}.wav" for i in range(2) for k in range(2)
        }
        for i in range(2):
            right, wrong = (soundfile.read(tmp_path / folder / f"sample_{i}_{k}.wav")[0] for k in range(2))
            assert not np.array_equal(right, wrong) and abs(np.log(len(right) / len(wrong))) < 0.15
            levels = [float(np.sqrt((sound**2).mean())) for sound in (right, wrong)]
            assert levels[0] == pytest.approx(levels[1], rel=0.02) and max(abs(right).max(), abs(wrong).max()) < 0.96


def test_each_condition_is_right_as_often_as_wrong() -> None:
    made = make_salmon(Settings(voices=VOICES, count=60))
    conditions: dict[str, list[Counter[str]]] = {folder: [Counter(), Counter()] for folder in FOLDERS}
    texts: dict[str, set[str]] = {}
    for one in made.recordings:
        told = one.instruction.rpartition("second part ")[2]
        conditions[str(one.labels["task"])][one.correct][told] += 1
        texts.setdefault(one.pair, set()).add(one.text)
    assert all(len(found) == 1 for found in texts.values()) and len(texts) == 8 * 60
    for folder in ("sentiment_alignment", "bg_alignment"):
        wrong, right = conditions[folder]
        assert right == wrong and len(right) >= 2
    assert set(conditions["rir_consistency"][1]) == {"booth", "office", "hall", "church"}
    for folder, (wrong, right) in conditions.items():
        assert set(wrong) == set(right), folder
        assert sum(abs(wrong[name] - right[name]) for name in right) < 40, folder
    assert make_salmon(Settings(voices=VOICES, count=60)).recordings == made.recordings


def test_families_of_backgrounds_and_genders() -> None:
    made = make_salmon(Settings(voices=VOICES, count=20))
    families = {"white": 0, "pink": 0, "brown": 0, "drizzle": 1, "shower": 1, "breeze": 2, "gusts": 2}
    families |= {"fridge": 3, "motor": 3, "slow clock": 4, "fast clock": 4}
    for one in made.recordings:
        names = [part.voice.name for part in one.parts]
        if one.labels["task"] == "gender_consistency" and not one.correct:
            assert len({"+f" in name for name in names}) == 2
        if one.labels["task"] == "speaker_consistency" and not one.correct:
            assert len(set(names)) == 2 and len({"+f" in name for name in names}) == 1
        if "bg_" in one.pair and "consistency" in one.pair and not one.correct:
            assert isinstance(one.treatment, OverBackground)
            first, second = one.treatment.backgrounds
            assert (families[first] == families[second]) == ("domain" in one.pair) and first != second
        if one.correct:
            assert len(set(names)) == 1


def test_another_language(tmp_path: Path) -> None:
    stories, grammar = tmp_path / "s.txt", tmp_path / "g.yaml"
    stories.write_text("Der Hund lief zum Fluss. Er trank Wasser. Dann schlief er. Die Frau kaufte Brot.")
    files: dict[str, str | None] = {"stories": str(stories)}
    lines = make_benchmark("salmon", tmp_path / "six", language="de", count=2, files=files, text_only=True)
    assert any("left out" in line for line in lines)
    assert len((tmp_path / "six/salmon-recordings.csv").read_text().splitlines()) == 1 + 6 * 2 * 2
    section = {"positive": ["Wie schön das ist."], "negative": ["Wie traurig das ist."]}
    sounds = {"rain": ["Es regnet."], "clock": ["Die Uhr tickt."]}
    grammar.write_text(yaml.safe_dump({"sentiment": section, "background": sounds}, allow_unicode=True))
    files["grammar"] = str(grammar)
    make_benchmark("salmon", tmp_path / "eight", language="de", count=2, files=files, text_only=True)
    assert len((tmp_path / "eight/salmon-recordings.csv").read_text().splitlines()) == 1 + 8 * 2 * 2
    with pytest.raises(
        ValueError, match=r"count must be in \[1, 2\] \(texts of the grammar, as sentiment.negative has 1\)"
    ):
        make_benchmark("salmon", tmp_path / "x", language="de", count=3, files=files, text_only=True)
    grammar.write_text(yaml.safe_dump({"sentiment": {"happy": ["Ja."], "positive": ["Ja."]}}))
    with pytest.raises(
        ValueError, match="sentiment with texts for two or more of positive, neutral, negative, but .* has happy"
    ):
        make_benchmark("salmon", tmp_path / "x", language="de", count=2, files=files, text_only=True)


def test_voices_that_do_not_do() -> None:
    for names, message in (
        (("en-us", "en-us+m3"), "of both genders for gender_consistency"),
        (("en-us", "en-us+f2"), "two of one gender for speaker_consistency"),
    ):
        with pytest.raises(ValueError, match=message):
            make_salmon(Settings(voices=tuple(Voice(name) for name in names), count=2))
