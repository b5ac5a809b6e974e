"""Pairs that differ in prosody alone: which they are, what differs of their units, and whether F0 follows."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from spiritlm_pl.evaluation.interval import Estimate
from spiritlm_pl.evaluation.prosody import (
    ALL,
    ProsodyReport,
    find_pairs,
    other_text_distance,
    pair_contours,
    prosody_report,
    unit_difference,
)
from spiritlm_pl.evaluation.resyntheses import resyntheses
from spiritlm_pl.evaluation.stored_speech import stored_speech
from spiritlm_pl.f0.extractors import YIN


def test_pairs_are_of_one_text_and_one_speaker(kit: Any) -> None:
    said = [
        kit.Said("1", text="press one", speaker="ann", style="high"),
        kit.Said("2", text="Press one.", speaker="ann", style="low"),
        kit.Said("3", text="press one", speaker="bob", style="low"),
        kit.Said("4", text="press two", speaker="ann", style="low"),
        kit.Said("5", text="press one", speaker="ann", style="fast"),
        kit.Said("6", text="press one", speaker="ann", style="low"),  # again
        kit.Said("7", text="press one", speaker="ann"),
        kit.Said("8", text="", speaker="ann", style="high"),
    ]
    rows = [kit.tokens(one) for one in said]
    pairs = find_pairs(rows)
    assert [(pair.first.id, pair.second.id, pair.contrast) for pair in pairs] == [
        ("5", "1", "fast / high"),
        ("5", "2", "fast / low"),
        ("1", "2", "high / low"),
    ]
    assert [pair.contrast for pair in find_pairs(rows, [("low", "high")])] == ["high / low"]
    with pytest.raises(ValueError, match="contrasts must be of the styles fast, high, low, but one is slow instead"):
        find_pairs(rows, [("slow", "high")])
    with pytest.raises(ValueError, match="one text by one speaker in fast and low, but no pair is among the 2 texts"):
        find_pairs([rows[4], rows[3]], [("low", "fast")])
    other = [kit.Said(style, text="нет" if style == "low" else "да", style=style) for style in ("high", "low", "fast")]
    assert [pair.contrast for pair in find_pairs([kit.tokens(one) for one in other])] == ["fast / high"]
    with pytest.raises(ValueError, match="in two styles, but no pair"):
        find_pairs(rows[2:4])


def test_differences_of_units_are_shares_of_their_number(kit: Any) -> None:
    rows = []
    for name, units in (("a", [1, 2, 3, 4]), ("b", [1, 3, 4, 5, 6, 7])):
        starts = np.arange(len(units), dtype=np.uint32)
        rows.append(kit.tokens(kit.Said(name), units=np.array(units, dtype=np.uint16), unit_starts=starts))
    assert unit_difference(*rows) == (4, 5.0)
    assert unit_difference(rows[0], rows[0]) == (0, 4.0)
    assert other_text_distance(rows) is None  # the same text
    other = kit.tokens(kit.Said("c", text="else"), units=rows[1].units, unit_starts=rows[1].unit_starts)
    found = other_text_distance([rows[0], other])
    assert found is not None and found.value == pytest.approx(80.0) and found.count == 1


@pytest.mark.parametrize(("differ", "warned"), [(19.0, True), (21.0, False)])
def test_units_that_do_not_tell_texts_apart_are_no_success(differ: float, warned: bool) -> None:
    page = ProsodyReport(contrasts={}, other_texts=Estimate(differ, None, None, 9)).table().markdown()
    assert ("hardly depend on what is said" in page) == warned


def report(kit: Any, mini: Any, **vocoders: Any) -> ProsodyReport:
    stored = stored_speech(mini.units, mini.corpus)
    utterances = [utterance for _, utterance in stored]
    return prosody_report(
        find_pairs(utterances), pair_contours(resyntheses(vocoders, stored), YIN()), other_text_distance(utterances)
    )


def test_f0_follows_or_not(kit: Any) -> None:
    mini = kit.mini()
    said = kit.originals(mini.corpus)
    flat = [kit.Said("x", 150.0).waveform()] * len(said)
    silent = [torch.zeros(len(waveform)) for waveform in said]
    found = report(kit, mini, same=kit.Parrot(said), flat=kit.Parrot(flat), silent=kit.Parrot(silent))
    assert list(found.contrasts) == [ALL, "high / low"]
    figures = found.contrasts["high / low"]
    assert figures.num_pairs == 4 and figures.unit_edit_distance is not None
    assert figures.unit_edit_distance.value == 0.0  # the miniature's units are those of the text
    assert found.other_texts is not None and found.other_texts.value > 50 and found.other_texts.count == 4
    original, same, flat_one, silent_one = (figures.systems[name] for name in ("original", "same", "flat", "silent"))
    octaves = [np.log2((200 + 20 * number) / (110 + 20 * number)) for number in (0, 1)]
    assert original.difference_cents is not None and original.followed is None and original.correlation is None
    assert original.difference_cents.value == pytest.approx(1200 * np.mean(octaves), rel=0.02)
    assert same.difference_cents == original.difference_cents
    assert same.followed is not None and same.followed.value == pytest.approx(1.0) and same.followed.count == 4
    assert same.correlation is not None and same.correlation.count == 8
    assert same.correlation.value == pytest.approx(1.0)
    assert same.pair_correlation is not None and same.pair_correlation.count == 4
    assert same.pair_correlation.value == pytest.approx(1.0) and original.pair_correlation is None
    assert flat_one.pair_correlation is not None and flat_one.pair_correlation.value < 0.8  # both at one height
    assert flat_one.followed is not None and flat_one.followed.value == pytest.approx(0.0, abs=1e-6)
    assert flat_one.correlation is not None and flat_one.correlation.value > 0.9  # its own melody, which is the same
    assert silent_one.followed is None and silent_one.difference_cents is None and silent_one.correlation is None


def test_of_all_pairs_differences_have_no_sign(kit: Any) -> None:
    said = [*kit.said, *(kit.Said(f"{one.id}-b", one.f0, "and more", one.speaker, "a" + one.style) for one in kit.said)]
    mini = kit.mini([kit.Said(one.id, 330 - one.f0, one.text, one.speaker, one.style) for one in said])
    found = report(kit, mini, same=kit.Parrot(kit.originals(mini.corpus)))
    assert list(found.contrasts) == [ALL, "ahigh / alow", "high / low"]
    one, every = (found.contrasts[name].systems["original"].difference_cents for name in ("high / low", ALL))
    assert one is not None and every is not None and one.value < 0 < every.value
    json.dumps(found.as_dict(), allow_nan=False)
    table = found.table("Prosody")
    assert [row[0] for row in table.rows] == [ALL, "", "ahigh / alow", "", "high / low", ""]
    assert [row[3] for row in table.rows[:2]] == ["original", "same"]
    assert "units of different texts" in table.markdown()
