"""The merged stream: the published strings both ways, and nothing lost whatever is merged."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.data.merge import PITCH_RATE, UNIT_RATE, merge, run_starts, split
from spiritlm_pl.vocabulary import TokenKind, Vocabulary

CASES = json.loads((Path(__file__).parent.parent / "fixtures" / "merged_strings.json").read_text())
EXPRESSIVE = Vocabulary(num_pitches=64, num_styles=100)
WIDE = Vocabulary(num_units=9_999, num_pitches=9_999, num_styles=9_999)
RATES = {"unit_rate": "hubert_rate", "pitch_rate": "pitch_rate"}
KINDS = {"Hu": TokenKind.UNIT, "Pi": TokenKind.PITCH, "St": TokenKind.STYLE}


def integers(text: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(text.split(), dtype=np.int64)


@pytest.mark.parametrize("case", CASES["units_to_string"], ids=lambda case: case["note"])
def test_published_strings(case: dict[str, Any]) -> None:
    codes = {kind: integers(text) for kind, text in case["units"].items()}
    starts = run_starts(codes["hubert"])
    rates = {name: case["args"][key] for name, key in RATES.items() if key in case["args"]}
    found = merge(codes["hubert"][starts], starts, codes.get("pitch"), codes.get("style"), **rates)
    assert "".join(str(WIDE.name(token)) for token in found.ids(WIDE)) == case["string"]


@pytest.mark.parametrize("case", CASES["string_to_units"], ids=lambda case: case["note"])
def test_published_strings_back(case: dict[str, Any]) -> None:
    tokens = re.findall(r"\[(Hu|Pi|St)(\d+)\]", case["string"])
    kinds = np.array([KINDS[name] for name, _ in tokens])
    units, pitches, styles = split(kinds, np.array([int(value) for _, value in tokens]))
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
    found = merge(units[starts], starts, np.array(pitches, dtype=np.int64), np.array(styles, dtype=np.int64))
    assert (np.diff(found.times) >= 0).all()
    back, unit_pitches, unit_styles = split(found.kinds, found.values)
    assert back.tolist() == units[starts].tolist()
    for codes, rate, kept in ((pitches, PITCH_RATE, unit_pitches), (styles, 1.0, unit_styles)):
        for start, code in zip(starts, kept.tolist(), strict=True):
            at = min(int(start / UNIT_RATE * rate + 1e-9), len(codes) - 1)
            assert code == (codes[at] if codes else -1)


def test_codes_outside_the_vocabulary_are_named() -> None:
    units = np.array([1, 2])
    with pytest.raises(ValueError, match=r"pitch must be in \[0, 64\), but is 64 instead"):
        merge(units, np.array([0, 3]), np.array([64])).ids(EXPRESSIVE)
    with pytest.raises(ValueError, match=r"pitch must be in \[0, 0\), but is 3 instead"):
        merge(units, np.array([0, 3]), np.array([3])).ids(Vocabulary())
