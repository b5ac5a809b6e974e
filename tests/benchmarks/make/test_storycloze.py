import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.storycloze import make_storycloze
from spiritlm_pl.benchmarks.make.texts import Tale, swap_endings
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.synthetic.stories import ANIMALS, PLACES, THINGS

GERMAN = """Der Hund lief zum Fluss.
Er trank Wasser.
Dann schlief er.
* Der Hund hat nie getrunken.

Die Frau kaufte Brot. Sie ging nach Hause.

Es regnete den ganzen Tag. Alle blieben im Haus.
*Die Sonne schien.
"""


def test_wrong_endings_of_the_built_in_stories() -> None:
    made = make_storycloze(Settings(voices=(Voice("en-us"),), count=31, layout="whole"))
    for part, shared in (("tStoryCloze", 0), ("sStoryCloze", 2)):
        endings: dict[str, list[str]] = {"correct": [], "incorrect": []}
        for number in range(31):
            right, wrong = (
                made.files[f"{part}/{2 * number + k}_story{number:05d}_{name}.txt"].strip()
                for k, name in enumerate(("correct", "incorrect"))
            )
            begun, right_end = right.rsplit(". ", 1)
            other, wrong_end = wrong.rsplit(". ", 1)
            assert begun == other and right_end != wrong_end
            endings["correct"].append(right_end)
            endings["incorrect"].append(wrong_end)
            known = [
                {word for word in words if re.search(rf"\b{word}\b", right_end)} for words in (ANIMALS, PLACES, THINGS)
            ]
            assert sum(bool(set(wrong_end.strip(".").split()) & words) for words in known) == shared
        if part == "tStoryCloze":  # no ending is likelier to be a wrong one
            assert Counter(endings["correct"]) == Counter(endings["incorrect"])
    assert len(made.recordings) == 31 * 4 == len(made.files)


def test_whole_layout(tmp_path: Path) -> None:
    lines = make_benchmark("storycloze", tmp_path, count=2, voices=("en-us", "en-us+f2"), speed=300, num_jobs=1)
    assert any("4 pairs" in line for line in lines)
    folder = tmp_path / "tStoryCloze"
    names = ["0_story00000_correct", "1_story00000_incorrect", "2_story00001_correct", "3_story00001_incorrect"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}{s}" for n in names for s in (".txt", ".wav"))
    right, wrong = (soundfile.read(folder / f"{name}.wav")[0] for name in names[:2])
    start = slice(0, 2 * 16_000)  # the beginning that both share is the same speech
    assert np.corrcoef(right[start], wrong[start])[0, 1] > 0.99


def test_cross_layout_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "stories.txt"
    file.write_text(GERMAN)
    out = tmp_path / "out"
    voices = ("de", "de+f2")
    files: dict[str, str | None] = {"stories": str(file)}
    make_benchmark("storycloze", out, count=3, voices=voices, layout="cross", files=files, num_jobs=1)
    for part, count in (("tStoryCloze", 3), ("sStoryCloze", 2)):
        for voice in ("de", "de-f2"):
            names = {path.name for path in (out / part / voice).glob("*.wav")}
            assert len(names) == 3 * count and {name.rsplit("_")[-1] for name in names} == {
                "mutual.wav", "correct.wav", "incorrect.wav"
            }  # fmt: skip
    texts = {path.read_text().strip() for path in (out / "sStoryCloze").rglob("*_incorrect.txt")}
    assert texts == {"Der Hund hat nie getrunken.", "Die Sonne schien."}
    text_only = make_benchmark("storycloze", tmp_path / "t", count=2, language="de", files=files, text_only=True)
    assert "to make" in text_only[0] and not list((tmp_path / "t").rglob("*.wav"))
    assert (tmp_path / "t" / "storycloze-recordings.csv").is_file()


def test_a_story_that_is_left_joins_a_cycle() -> None:
    tales = [Tale("A.", f"Ending {'x' * number}.") for number in range(5)]
    given = swap_endings(tales)
    assert sorted(given) == list(range(5)) and all(place != other for place, other in enumerate(given))
    with pytest.raises(ValueError, match="fits with none"):
        swap_endings([Tale("A.", "Same."), Tale("B.", "Same.")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "stories must hold text"),
        ("Nur ein Satz.\n\nZwei Sätze. Sind hier.", "two sentences or more"),
        ("Eins. Zwei.\nDrei. Vier.\nEins. Zwei.", "holds one twice"),
        ("Eins. Zwei.\n* Zwei.\n\nDrei. Vier.", "right and wrong endings must differ"),
        ("Eins. Zwei.\n* A.\n* B.\n\nDrei. Vier.", "at most one wrong ending"),
        ("Eins. Zwei 42.\nDrei. Vier.", "stories.txt must be in words"),
        ("Eins. Zwei.\nDrei. Vier.", r"count must be in \[2, 2\] \(stories in stories.txt\)"),
    ],
)
def test_bad_stories(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "stories.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        make_benchmark("storycloze", tmp_path / "out", count=3, language="de", files={"stories": str(file)})
    with pytest.raises(ValueError, match="stories must be given for language de"):
        make_benchmark("storycloze", tmp_path / "out", count=3, language="de")
