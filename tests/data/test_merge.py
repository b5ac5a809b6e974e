"""The merged stream: the published strings both ways, and nothing lost whatever is merged."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.data.merge import merge, run_starts, units_with_expression
from spiritlm_pl.streams import PITCH, PITCH_RATE, STYLE, UNIT, SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary

CASES = json.loads((Path(__file__).parent.parent / "fixtures" / "merged_strings.json").read_text())
EXPRESSIVE = Vocabulary.spirit_lm(num_pitches=64, num_styles=100)
WIDE = SpeechLayout.spirit_lm(num_units=9_999, frame_rate=25.0, num_pitches=9_999, num_styles=9_999)
NAMES = {"hubert": UNIT, "pitch": PITCH, "style": STYLE}
PREFIXES = {"Hu": UNIT, "Pi": PITCH, "St": STYLE}
LAYOUT = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0, num_pitches=64, num_styles=100)
UNIT_RATE = 24.99  # units a second by which the published stream counts their time


def integers(text: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(text.split(), dtype=np.int64)


def rates_of(name: str, options: dict[str, Any]) -> dict[str, float]:
    """The rate of a stream that a case asks for, if it asks for one; the clock of units is then the same."""
    key = {UNIT: "hubert_rate", PITCH: "pitch_rate"}.get(name)
    return {"rate": options[key], "clock": 1.0} if key in options else {}


@pytest.mark.parametrize("case", CASES["units_to_string"], ids=lambda case: case["note"])
def test_published_strings(case: dict[str, Any]) -> None:
    codes = {NAMES[kind]: integers(text) for kind, text in case["units"].items()}
    units = codes.pop(UNIT)
    starts = run_starts(units)
    rates = {stream.name: rates_of(stream.name, case["args"]) for stream in WIDE.streams}
    streams = tuple(replace(s, **rates[s.name]) for s in WIDE.streams if s.name in (UNIT, *codes))
    vocabulary = Vocabulary(streams=streams)
    found = merge(units[starts], starts, codes, SpeechLayout(streams), streams)
    assert "".join(str(vocabulary.name(token)) for token in found.ids(vocabulary)) == case["string"]


@pytest.mark.parametrize("case", CASES["string_to_units"], ids=lambda case: case["note"])
def test_published_strings_back(case: dict[str, Any]) -> None:
    tokens = re.findall(r"\[(Hu|Pi|St)(\d+)\]", case["string"])
    names = list(PREFIXES.values())
    streams = np.array([names.index(PREFIXES[prefix]) for prefix, _ in tokens])
    units, pitches, styles = units_with_expression(names, streams, np.array([int(value) for _, value in tokens]))
    assert units.tolist() == integers(case["units"]["hubert"]).tolist()
    if "pitch" in case["units"]:
        assert pitches.tolist() == integers(case["units"]["pitch"]).tolist()
    if "style" in case["units"] and "style_any_of" not in case:
        assert styles.tolist() == integers(case["units"]["style"]).tolist()
    if "style_any_of" in case:
        assert set(styles.tolist()) == {-1}


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200),
    st.lists(st.integers(0, 2), max_size=100),
    st.lists(st.integers(0, 2), max_size=10),
)
def test_every_unit_keeps_its_pitch_and_style(frames: list[int], pitches: list[int], styles: list[int]) -> None:
    units = np.array(frames)
    starts = run_starts(units)
    codes = {PITCH: np.array(pitches, dtype=np.int64), STYLE: np.array(styles, dtype=np.int64)}
    found = merge(units[starts], starts, codes, LAYOUT, EXPRESSIVE.streams)
    assert (np.diff(found.times) >= 0).all()
    back, unit_pitches, unit_styles = units_with_expression(EXPRESSIVE.layout.names, found.streams, found.values)
    assert back.tolist() == units[starts].tolist()
    for values, rate, kept in ((pitches, PITCH_RATE, unit_pitches), (styles, 1.0, unit_styles)):
        for start, code in zip(starts, kept.tolist(), strict=True):
            at = min(int(start / UNIT_RATE * rate + 1e-9), len(values) - 1)
            assert code == (values[at] if values else -1)


def test_codes_outside_the_vocabulary_are_named() -> None:
    units = np.array([1, 2])
    with pytest.raises(ValueError, match=r"pitch must be in \[0, 64\), but is 64 instead"):
        merge(units, np.array([0, 3]), {PITCH: np.array([64]), STYLE: np.array([0])}, LAYOUT, EXPRESSIVE.streams)
    with pytest.raises(ValueError, match=r"unit must be in \[0, 2\), but is 2 instead"):
        merge(units, np.array([0, 3]), {}, LAYOUT, Vocabulary.spirit_lm(num_units=2).streams)
    with pytest.raises(ValueError, match=r"style must be in \[0, 100\), but is -1 instead"):
        merge(units, np.array([0, 3]), {PITCH: np.array([3]), STYLE: np.array([-1])}, LAYOUT, EXPRESSIVE.streams)


def test_codes_that_a_vocabulary_has_not_are_left_aside() -> None:
    found = merge(np.array([1, 2]), np.array([0, 3]), {PITCH: np.array([3])}, LAYOUT, Vocabulary().streams)
    assert found.ids(Vocabulary()).tolist() == [32_003, 32_004]
