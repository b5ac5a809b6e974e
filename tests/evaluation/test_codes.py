"""Bitrates, use and entropy of codes against figures by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.evaluation.codes import code_report, code_table, nominal_bitrate
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout, Stream

PAPER = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0, num_pitches=64, num_styles=100)


def rows(kit: Any) -> list[Any]:
    """Two seconds each; style codes tell the style, pitch codes nothing, units only who speaks."""
    made = []
    for name, speaker, style in (("a", "ann", "high"), ("b", "bob", "high"), ("c", "ann", "low")):
        made.append(
            kit.tokens(
                kit.Said(name, speaker=speaker, style=style),
                units=np.array([1, 2, 1] if speaker == "ann" else [3, 4, 3], dtype=np.uint16),
                unit_starts=np.array([0, 10, 30], dtype=np.uint32),
                num_frames=50,
                codes={
                    PITCH: np.array([0] * 5 + [1] * 20, dtype=np.uint16),
                    STYLE: np.array([0, 0] if style == "high" else [1, 2], dtype=np.uint16),
                },
            )
        )
    return made


def test_the_nominal_bitrates_of_the_paper() -> None:
    assert nominal_bitrate(PAPER, expressive=False) == pytest.approx(25 * math.log2(501))
    assert nominal_bitrate(PAPER) == pytest.approx(25 * math.log2(501) + 12.5 * 6 + math.log2(100))
    assert round(nominal_bitrate(PAPER)) in range(300, 308)  # the paper says 307


def test_tokens_are_counted_as_a_language_model_sees_them(kit: Any, tmp_path: Path) -> None:
    report = code_report(UnitCorpus(kit.units(tmp_path / "units", rows(kit)), "test"))
    assert report["utterances"] == 3 and report["seconds"] == pytest.approx(6.0)
    units, pitches, styles = (report["kinds"][kind] for kind in ("units", "pitches", "styles"))
    assert [one["tokens"] for one in (units, pitches, styles)] == [9, 6, 6]  # pitch runs collapse, style does not
    assert report["tokens_per_second"] == pytest.approx(21 / 6)
    bits = 9 * math.log2(12) + 6 * math.log2(5) + 6 * math.log2(4)
    assert report["bitrate"] == pytest.approx(bits / 6)
    assert report["bitrate_of_units"] == pytest.approx(9 * math.log2(12) / 6)
    assert styles["used"] == 3 and styles["use"] == 0.75 and pitches["entropy_bits"] == pytest.approx(1.0)
    assert styles["entropy_bits"] == pytest.approx(4 / 6 * math.log2(6 / 4) + 2 / 6 * math.log2(6))


def test_corpora_are_counted_together(kit: Any, tmp_path: Path) -> None:
    parts = {"one": rows(kit)[:1], "other": rows(kit)[1:]}
    one, other = (UnitCorpus(kit.units(tmp_path / name, part), "test") for name, part in parts.items())
    whole = code_report(UnitCorpus(kit.units(tmp_path / "whole", rows(kit)), "test"))
    assert code_report(one, other) == whole
    base = UnitCorpus(kit.units(tmp_path / "base", rows(kit)[:1], kit.base), "test")
    with pytest.raises(ValueError, match="units must come from one tokenizer"):
        code_report(one, base)


def test_codes_tell_of_labels(kit: Any, tmp_path: Path) -> None:
    kinds = code_report(UnitCorpus(kit.units(tmp_path / "units", rows(kit)), "test"))["kinds"]
    styles, pitches, units = (kinds[kind] for kind in ("styles", "pitches", "units"))
    assert styles["of_style"]["purity"] == pytest.approx(1.0) and styles["of_style"]["information"] == pytest.approx(
        1.0
    )
    assert styles["of_style"]["commonest"] == pytest.approx(2 / 3) and styles["of_style"]["labels"] == 2
    assert styles["of_speaker"]["information"] < 0.4
    assert pitches["of_style"]["information"] == pytest.approx(0.0, abs=1e-9)
    assert pitches["of_style"]["purity"] == pytest.approx(pitches["of_style"]["commonest"])
    assert units["of_speaker"]["purity"] == pytest.approx(1.0)


def test_without_labels_and_of_base(kit: Any, tmp_path: Path) -> None:
    base = [kit.tokens(kit.Said(name), kit.base) for name in "ab"]
    report = code_report(UnitCorpus(kit.units(tmp_path / "units", base, kit.base), "test"))
    assert list(report["kinds"]) == ["units"] and report["bitrate"] == report["bitrate_of_units"]
    assert "of_style" not in report["kinds"]["units"] and "of_speaker" not in report["kinds"]["units"]
    page = code_table({"units/tones": report}, "Codes").markdown()
    assert "| tones | all |" in page and "|  | units |" in page and page.startswith("Codes")


def test_nothing_to_count_is_refused(kit: Any, tmp_path: Path) -> None:
    empty = kit.tokens(kit.Said("a"), num_frames=0)
    with pytest.raises(ValueError, match="units must hold utterances with tokens"):
        code_report(UnitCorpus(kit.units(tmp_path / "units", [empty]), "test"))


def test_constant_codebooks_have_no_entropy(tmp_path: Path) -> None:
    codec = Stream(name="codec", prefix="Co", size=16, rate=12.5, num_codebooks=4, deduplicated=False)
    frames = np.tile(np.array([1, 5, 9, 13], dtype=np.uint16), (25, 1))
    row = UnitUtterance(id="x", units=frames, unit_starts=np.arange(25, dtype=np.uint32), num_frames=25)
    write_part(tmp_path / "test", 0, [row], "print")
    finish_folder(tmp_path / "test", ["print"], layout=SpeechLayout((codec,)), provenance={})
    report = code_report(UnitCorpus(tmp_path, "test"))
    found = report["kinds"]["codec"]
    assert found["entropy_bits"] == pytest.approx(0.0) and found["perplexity"] == pytest.approx(1.0)
    assert report["bitrate"] == report["nominal_bitrate"] == pytest.approx(12.5 * 4 * 4) and found["used"] == 4
