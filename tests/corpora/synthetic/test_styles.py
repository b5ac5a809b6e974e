import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch
from lhotse import MonoCut

from spiritlm_pl.cli.prepare.synthetic import styles
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, phone_alignment, read_info, word_alignment
from spiritlm_pl.corpora.synthetic.espeak import whispering
from spiritlm_pl.corpora.synthetic.styles import STYLES, draw_conditions, style_lines
from spiritlm_pl.f0.extractors import YIN

VOICES = ("en-us", "en-us+f2", "en-gb+m3", "en-gb+f4")


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[MonoCut]]:
    out = tmp_path_factory.mktemp("styles")
    styles(str(out), sentences=32, num_jobs=1)
    info = read_info(out)
    assert info is not None and info["aligned"] == 32
    return {split: list(load_cuts(out, split)) for split in SPLITS}


def _style(cut: MonoCut) -> str:
    return str(cut.supervisions[0].custom["style"])


def test_styles_and_speakers_are_balanced_and_independent(cuts: dict[str, list[MonoCut]]) -> None:
    told = Counter((_style(cut), cut.supervisions[0].speaker) for members in cuts.values() for cut in members)
    assert told == Counter({(style, f"espeak-{voice}"): 1 for style in STYLES for voice in VOICES})
    for count in (1, 7, 45):
        conditions = draw_conditions(count, VOICES, random.Random(count))
        assert conditions.total() == count and max(conditions.values()) - min(conditions.values()) <= 1
        for position, values in enumerate((STYLES, VOICES)):
            totals = Counter({value: 0 for value in values})
            for key, times in conditions.items():
                totals[key[position]] += times
            assert max(totals.values()) - min(totals.values()) <= 1


def test_no_text_is_in_two_splits(cuts: dict[str, list[MonoCut]]) -> None:
    texts = [{cut.supervisions[0].text for cut in cuts[split]} for split in SPLITS]
    assert all(texts) and sum(map(len, texts)) == len(set.union(*texts)) <= 16
    for members in cuts.values():
        for cut in members:
            assert " ".join(word.text for word in word_alignment(cut)) == cut.supervisions[0].text
            assert 2.0 < cut.duration < 5.0


def test_what_is_heard_is_what_was_set(cuts: dict[str, list[MonoCut]]) -> None:
    yin = YIN()
    f0, spread, tempo, voiced = (defaultdict[str, list[float]](list) for _ in range(4))
    for cut in (cut for members in cuts.values() for cut in members):
        row, style = yin.row(load_waveform(cut)), _style(cut)
        found = row[row > 0]
        voiced[style].append(len(found) / len(row))
        tempo[style].append(len(phone_alignment(cut)) / cut.duration)
        if style != "whisper":
            semitones = 12 * torch.log2(found / found.median())
            f0[style + cut.supervisions[0].speaker].append(float(found.median()))
            spread[style].append(float(semitones.quantile(0.9) - semitones.quantile(0.1)))
    for speaker in (f"espeak-{voice}" for voice in VOICES):
        low, default, high = (f0[style + speaker] for style in ("low", "default", "high"))
        assert 1.2 * max(low) < min(default) and 1.2 * max(default) < min(high)
    assert max(spread["monotone"]) < min(spread["default"]) and max(spread["monotone"]) < 1.0
    assert sum(spread["lively"]) > 1.3 * sum(spread["default"])
    assert max(tempo["slow"]) < min(tempo["default"]) and max(tempo["default"]) < min(tempo["fast"])
    assert max(voiced["whisper"]) < 0.1 < min(voiced["default"])


def test_lines_are_the_same_again_and_grow_no_doubles(tmp_path: Path) -> None:
    lines = style_lines(300, 1, VOICES, tmp_path)
    assert lines == style_lines(300, 1, VOICES, tmp_path) and len({line.id for line in lines}) == 300
    assert len({(line.text, str(line.custom), line.speaker) for line in lines}) == 300
    whispers = {line.speaker: line.voice.name for line in lines if line.custom and line.custom["style"] == "whisper"}
    assert whispers == {voice: whispering(voice) for voice in VOICES}
    assert whispering("en-gb+f4") == "en-gb+whisperf" and whispering("en-us") == "en-us+whisper"


def test_parallel_lines_have_each_text_in_every_style(tmp_path: Path) -> None:
    asked = ("higher", "lower", "fast")
    lines = style_lines(3 * len(VOICES) * 5 + 1, 0, VOICES, tmp_path, asked, parallel=True)
    said = {(line.text, line.custom["style"], line.speaker) for line in lines if line.custom}
    texts = {text for text, _, _ in said}
    assert len(texts) == 5 and said == {(text, style, voice) for text in texts for style in asked for voice in VOICES}
    assert {line.voice.pitch for line in lines if line.custom and line.custom["style"] == "higher"} == {65}


@pytest.mark.parametrize("parallel", [True, False])
def test_few_styles_have_as_many_texts_as_they_need(tmp_path: Path, parallel: bool) -> None:
    lines = style_lines(400, 0, VOICES[:1], tmp_path, ("high",), parallel)
    assert len(lines) == len({line.text for line in lines}) == 400


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="styles must be of default, .* but one is angry instead"):
        styles(str(tmp_path), styles=("angry",))
    with pytest.raises(ValueError, match="styles must be different ones"):
        styles(str(tmp_path), styles=("high", "high"))
    with pytest.raises(ValueError, match="styles must be different ones, but are none"):
        styles(str(tmp_path), styles=())
    with pytest.raises(ValueError, match="sentences must be at least styles times voices 8, but is 7 instead"):
        styles(str(tmp_path), sentences=7, styles=("high", "low"), parallel=True)
    with pytest.raises(ValueError, match=r"sentences must be in \[1, "):
        styles(str(tmp_path), sentences=0)
    with pytest.raises(ValueError, match="voices must differ"):
        styles(str(tmp_path), voices=("en-us", "en-us"))
    with pytest.raises(ValueError, match="^voices must be of eSpeak NG, such as .*, but one is 'nowhere' instead"):
        styles(str(tmp_path), voices=("nowhere",))
