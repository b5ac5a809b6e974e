import csv
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml

from spiritlm_pl.benchmarks.make.intents import make_intents, read_intents
from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.synthetic.stories import vocabulary

VOICES = tuple(Voice(name) for name in ("en-us", "en-us+f2", "en-us+m3", "en-us+f4"))
GERMAN: dict[str, Any] = {
    "words": {"bitte": ["bitte", "jetzt", "sofort"]},
    "intents": [
        {"action": "an", "object": "licht", "location": "none", "say": ["Mach {bitte} das Licht an."]},
        {"action": "aus", "object": "licht", "location": "none", "say": ["Mach {bitte} das Licht aus."]},
    ],
}


def test_layout_of_fluent_speech_commands(tmp_path: Path) -> None:
    lines = make_benchmark("intents", tmp_path, count=10, num_jobs=1)
    assert any("12 intents; train 6, valid 2, test 2" in line for line in lines)
    speakers: dict[str, set[str]] = {}
    for split, number in (("train", 6), ("valid", 2), ("test", 2)):
        with (tmp_path / f"data/{split}_data.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == ["", "path", "speakerId", "transcription", "action", "object", "location"]
        assert [row[""] for row in rows] == [str(index) for index in range(number)]
        speakers[split] = {row["speakerId"] for row in rows}
        for row in rows:
            samples, rate = soundfile.read(tmp_path / row["path"])
            assert row["speakerId"] in row["path"] and rate == 16_000 and 0.5 < len(samples) / rate < 6
    assert not speakers["train"] & speakers["valid"] and not (speakers["train"] | speakers["valid"]) & speakers["test"]


def test_layout_of_slurp(tmp_path: Path) -> None:
    make_benchmark("intents", tmp_path, count=5, voices=("en-us", "en-us+f2", "en-gb"), layout="slurp", num_jobs=1)
    rows = [
        json.loads(line)
        for split in ("train", "devel", "test")
        for line in (tmp_path / f"dataset/slurp/{split}.jsonl").read_text().splitlines()
    ]
    assert [set(row) for row in rows] == [{"slurp_id", "sentence", "intent", "recordings"}] * 5
    for row in rows:
        near, far = (soundfile.info(tmp_path / "slurp_real" / one["file"]) for one in row["recordings"])
        assert "-headset" in row["recordings"][0]["file"] and near.format == "FLAC"
        assert far.duration == pytest.approx(near.duration + 0.5, abs=0.01)


def test_intents_are_even_and_nothing_is_said_twice() -> None:
    made = make_intents(Settings(voices=VOICES, count=240, layout="fsc"))
    said = [(one.text, one.parts[0].voice.name) for one in made.recordings]
    assert len(set(said)) == len(said) == 240
    numbers = [
        sum(1 for one in made.recordings if one.labels["split"] == split) for split in ("train", "valid", "test")
    ]
    assert numbers == [144, 48, 48]
    assert make_intents(Settings(voices=VOICES, count=240, layout="fsc")).files == made.files


def test_as_many_as_the_grammar_gives(tmp_path: Path) -> None:
    grammar = tmp_path / "g.yaml"
    grammar.write_text(yaml.safe_dump(GERMAN, allow_unicode=True))
    voices = tuple(Voice(name) for name in ("de", "de+f2", "de+m3", "de+f4"))
    for count in range(5, 18):
        made = make_intents(Settings(voices=voices[1:], count=min(count, 7), grammar=grammar, layout="fsc"))
        assert (
            len(make_intents(Settings(voices=voices, count=count, grammar=grammar, layout="fsc")).recordings) == count
        )
        assert len(made.recordings) == min(count, 7)
    with pytest.raises(
        ValueError, match=r"count must be in \[5, \d+\] \(commands, as an intent has 3 texts and 2 voices"
    ):
        make_intents(Settings(voices=voices, count=31, grammar=grammar, layout="fsc"))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "a list of two intents or more"),
        ([GERMAN["intents"][0]] * 2, "intents must be different"),
        ([{"action": "a"}] * 2, "intents must have action, object, location, say, but intent 1 of .* has action"),
        ([GERMAN["intents"][0] | {"object": True}, GERMAN["intents"][1]], "object must be a text .* but is True"),
        ([GERMAN["intents"][0] | {"say": []}, GERMAN["intents"][1]], "say of intent 1 of .* is"),
        ([GERMAN["intents"][0] | {"say": ["{wer}"]}, GERMAN["intents"][1]], "slots must be of bitte"),
        ([GERMAN["intents"][0] | {"say": GERMAN["intents"][1]["say"]}, GERMAN["intents"][1]], "must have one intent"),
    ],
)
def test_bad_intents(tmp_path: Path, entries: list[dict[str, Any]], message: str) -> None:
    grammar = tmp_path / "g.yaml"
    grammar.write_text(yaml.safe_dump(GERMAN | {"intents": entries}, allow_unicode=True))
    with pytest.raises(ValueError, match=message):
        make_benchmark("intents", tmp_path / "o", language="de", count=6, files={"grammar": str(grammar)})
    with pytest.raises(ValueError, match="voices must be three or more"):
        make_benchmark("intents", tmp_path / "o", voices=("en-us", "en-gb"))


def test_the_example_has_commands_in_the_words_of_the_stories() -> None:
    grammar = Path(__file__).parents[3] / "examples" / "commands.yaml"
    settings = Settings(voices=VOICES[:3], count=1200, grammar=grammar, layout="fsc")
    intents = read_intents(settings)
    assert len({(one.action, one.object) for one in intents}) == len(intents) == 24
    texts = {part.text for recording in make_intents(settings).recordings for part in recording.parts}
    assert {word.strip(".").lower() for text in texts for word in text.split()} <= vocabulary()
