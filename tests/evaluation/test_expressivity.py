"""Table 9: the original is its own best resynthesis, silence the worst, and what cannot be measured is left out."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch

from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.evaluation.classifiers import VoiceClassifier
from spiritlm_pl.evaluation.expressivity import Expressivity, ExpressivityModels
from spiritlm_pl.evaluation.expressivity_report import ExpressivityReport
from spiritlm_pl.evaluation.recognition import Recogniser
from spiritlm_pl.evaluation.resyntheses import resyntheses
from spiritlm_pl.evaluation.stored_speech import stored_speech
from spiritlm_pl.f0.extractors import YIN


def measured(kit: Any, mini: Any, vocoders: Mapping[str, Any], **models: Any) -> ExpressivityReport:
    stored = stored_speech(mini.units, mini.corpus)
    measure = Expressivity(
        ExpressivityModels(extractor=YIN(), **models),
        stored.layout,
        {name: one.expressive for name, one in vocoders.items()},
    )
    for resynthesis in resyntheses(vocoders, stored):
        measure.add(resynthesis)
    return measure.report()


def parrots(kit: Any, mini: Any) -> dict[str, Any]:
    """One says the originals, another nothing, a third what is said of another utterance."""
    said = kit.originals(mini.corpus)
    return {
        "same": kit.Parrot(said),
        "silent": kit.Parrot([torch.zeros(len(waveform)) for waveform in said]),
        "other": kit.Parrot(said[1:] + said[:1], kit.base),
    }


def by_energy(words: Iterable[str]) -> Recogniser:
    """Hears the words where there is a sound."""
    return lambda waveform: " ".join(words) if float(waveform.abs().max()) > 0.01 else ""


def plain(report: ExpressivityReport) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    return found


def test_the_original_is_perfect_and_silence_is_not(kit: Any) -> None:
    mini = kit.mini()
    models = {
        "style": VoiceClassifier(kit.classifier(("high", "low"))),
        "speaker": VoiceClassifier(kit.classifier(("ann", "bob"))),
    }
    report = plain(measured(kit, mini, parrots(kit, mini), **models, recognisers={"ear": by_energy(["press", "one"])}))
    original, same, silent, other = (report["systems"][name] for name in ("original", "same", "silent", "other"))
    assert report["num_utterances"] == 8 and report["seconds"] == pytest.approx(8 * 1.6)
    assert same["f0_frame_error"] == {"value": 0.0, "low": None, "high": None, "count": 8}  # all alike
    assert same["f0_rmse_cents"]["value"] == 0 and same["f0_correlation"]["value"] == pytest.approx(1.0)
    assert same["speaker_similarity"]["value"] == pytest.approx(1.0)
    assert same["style"] == original["style"] and same["recognition"] == original["recognition"]
    assert silent["voicing_error"]["value"] > 0.9 and silent["f0_frame_error"] == silent["voicing_error"]
    assert silent["f0_rmse_cents"] is None and silent["f0_correlation"] is None
    assert silent["speaker_similarity"]["value"] < 0.999
    assert other["f0_frame_error"]["value"] > 0.9 > other["voicing_error"]["value"]  # high for low and low for high
    words = {name: one["recognition"]["ear"]["word_error_rate"] for name, one in report["systems"].items()}
    assert words["original"]["value"] == words["same"]["value"] == 50.0  # half of the utterances say something else
    assert words["silent"]["value"] == 100.0 and words["silent"]["count"] == 8
    for name in ("f0_frame_error", "bitrate", "speaker_similarity"):
        assert original[name] is None
    assert report["speaker_scale"]["same_speaker"]["count"] == 8


def test_what_a_vocoder_gains_is_counted_utterance_by_utterance(kit: Any) -> None:
    """One has every pitch right, the first has those of other utterances."""
    mini = kit.mini()
    said = kit.originals(mini.corpus)
    heard = {
        tuple(waveform.tolist()): style for waveform, style in zip(said, [one.style for one in kit.said], strict=True)
    }

    class Ear:
        labels = ("high", "low")

        def label(self, waveform: torch.Tensor) -> str:
            return heard[tuple(waveform.tolist())]

    vocoders = {"first": kit.Parrot(said[1:] + said[:1]), "second": kit.Parrot(said)}
    report = measured(kit, mini, vocoders, style=Ear())
    original, first, second = (plain(report)["systems"][name] for name in ("original", "first", "second"))
    assert original["style"]["value"] == second["style"]["value"] == 100.0
    assert original["style_gain"] is None and first["style_gain"] is None
    gain = second["style_gain"]
    assert gain["value"] == 100.0 - first["style"]["value"] > 0 and gain["count"] == 8
    (row,) = [row for row in report.table().rows if row[0] == "... points more than first"]
    assert row[1] == row[2] == "-" and row[3].startswith(f"+{gain['value']:.1f}")


def test_bitrates_are_those_of_what_a_vocoder_is_given(kit: Any) -> None:
    mini = kit.mini()
    systems = plain(measured(kit, mini, parrots(kit, mini)))["systems"]
    same, other = systems["same"], systems["other"]
    assert other["nominal_bitrate"] == pytest.approx(25 * math.log2(12))
    assert same["nominal_bitrate"] == pytest.approx(25 * math.log2(12) + 12.5 * math.log2(5) + 2)
    rows = [kit.tokens(one) for one in kit.said]
    units = sum(len(row.units) for row in rows) * math.log2(12) / (8 * 1.6)
    assert other["bitrate"] == pytest.approx(units) and units < other["nominal_bitrate"]
    assert units < same["bitrate"] < same["nominal_bitrate"]
    assert systems["original"]["style"] is None and same["style"] is None  # no classifier


class Ear:
    """A classifier of styles that hears how high a voice is."""

    labels = ("high", "low")

    def label(self, waveform: torch.Tensor) -> str:
        crossings = int((waveform[1:] * waveform[:-1] < 0).sum())
        return "high" if crossings / 2 / (len(waveform) / 16_000) > 190 else "low"


def test_style_is_told_right_against_labels(kit: Any) -> None:
    mini = kit.mini([*kit.said, kit.Said("odd", style="sung"), kit.Said("plain")])
    report = plain(measured(kit, mini, parrots(kit, mini), style=Ear()))
    assert report["style_measure"] == "accuracy" and report["styles"] == {"high": 4, "low": 4}
    assert report["unknown_styles"] == ["sung"]
    style = {name: one["style"] for name, one in report["systems"].items()}
    assert style["original"]["value"] == style["same"]["value"] == 100.0 and style["same"]["count"] == 8
    assert style["same"]["low"] == pytest.approx(100 * 0.6756, abs=0.1)  # Wilson's of 8 of 8
    assert style["silent"]["value"] == 50.0 and style["other"]["value"] == 12.5  # the next one's, but "odd" is low


def test_style_is_to_be_kept_where_there_are_no_labels(kit: Any) -> None:
    mini = kit.mini([kit.Said(str(f0), f0) for f0 in (110.0, 230.0, 120.0, 125.0)])
    report = measured(kit, mini, parrots(kit, mini), style=Ear())
    style = {name: one["style"] for name, one in plain(report)["systems"].items()}
    assert report.style_measure == "kept" and report.styles == {"high": 1, "low": 3}
    assert style["original"] is None and style["same"]["value"] == 100.0
    assert style["silent"]["value"] == 75.0 and style["other"]["value"] == 50.0
    assert "style kept (no labels), %" in report.table().markdown()
    assert "75.0 % of them low" in report.table().markdown()


def test_speakers_that_nobody_knows_give_no_scale(kit: Any) -> None:
    mini = kit.mini([kit.Said("a", speaker=""), kit.Said("b", speaker="")])
    stored = stored_speech(mini.units, mini.corpus)
    vocoder = kit.Parrot(kit.originals(mini.corpus), speakers=("unknown",))
    measure = Expressivity(
        ExpressivityModels(extractor=YIN(), speaker=VoiceClassifier(kit.classifier(("ann", "bob")))),
        stored.layout,
        {"x": True},
    )
    for resynthesis in resyntheses({"x": vocoder}, stored):
        measure.add(resynthesis)
    report = plain(measure.report())
    assert report["speaker_scale"] == {"same_speaker": None, "different_speakers": None}
    assert report["systems"]["x"]["speaker_similarity"]["value"] == pytest.approx(1.0)


def test_utterances_without_voice_count_for_what_they_can(kit: Any) -> None:
    mini = kit.mini([kit.Said("voiced"), kit.Said("hiss")])
    torch.manual_seed(0)
    said = kit.originals(mini.corpus)
    hiss = 0.05 * torch.randn(len(said[1]))
    stored = stored_speech(mini.units, mini.corpus)
    save_wav(mini.corpus / "audio" / "hiss.wav", hiss)
    measure = Expressivity(ExpressivityModels(extractor=YIN()), stored.layout, {"x": True})
    for resynthesis in resyntheses({"x": kit.Parrot([said[0], hiss])}, stored):
        measure.add(resynthesis)
    found = plain(measure.report())["systems"]["x"]
    assert found["f0_frame_error"]["count"] == 2 and found["f0_frame_error"]["value"] < 0.05
    assert found["f0_correlation"]["count"] == 1 and found["f0_correlation"]["value"] == pytest.approx(1.0)


def test_without_transcripts_no_words_are_wrong(kit: Any) -> None:
    mini = kit.mini([kit.Said("a", text=""), kit.Said("b", text="")])
    report = measured(kit, mini, parrots(kit, mini), recognisers={"ear": by_energy([])})
    assert report.systems["same"].recognition["ear"].word_error_rate is None
    assert "| words heard wrong (WER), %, ear | - | - | - | - | - |" in report.table().markdown()
    report = measured(kit, mini, parrots(kit, mini))
    assert "| words heard wrong (WER), % | - | - | - | - | - |" in report.table().markdown()


def test_a_table_has_a_row_for_each_measure(kit: Any) -> None:
    mini = kit.mini()
    table = measured(kit, mini, parrots(kit, mini)).table("Tones [x]", ["a note"])
    page = table.markdown().splitlines()
    assert page[0] == "Tones [x]" and page[2] == "| measure | original | same | silent | other | utterances |"
    assert "| voicing error | - | 0.00 | " in table.markdown() and page[-1] == "- a note"
    rows = {row[0]: row for row in table.rows}
    assert rows["F0 RMSE, cents"][3] == "-" and rows["F0 RMSE, cents"][-1] == "8"
    assert table.rich().row_count == len(table.rows)


def test_wrong_vocoders_are_refused(kit: Any) -> None:
    mini = kit.mini()
    stored = stored_speech(mini.units, mini.corpus)
    for vocoders in ({}, {"original": kit.vocoder(kit.base)}):
        with pytest.raises(ValueError, match="vocoders must have names, none of them 'original'"):
            resyntheses(vocoders, stored)
    with pytest.raises(ValueError, match="vocoder 'x' does not fit: speaker must be one of ann, bob"):
        resyntheses({"x": kit.vocoder(kit.base)}, stored, speaker="carol")
    with pytest.raises(ValueError, match="resyntheses must be at least one"):
        Expressivity(ExpressivityModels(extractor=YIN()), stored.layout, {}).report()
