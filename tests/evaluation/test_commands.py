"""`spiritlm evaluate` of what is said: reports, tables, pictures and audio; errors before any work."""

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.evaluate import COMMANDS
from spiritlm_pl.cli.main import run
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.streams import SpeechLayout


def test_expressivity_in_one_table(kit: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mini = kit.mini()
    out, audio = tmp_path / "reports" / "tones.json", tmp_path / "audio"
    classifiers = [f"--style_classifier={mini.style_classifier}", f"--speaker_classifier={mini.speaker_classifier}"]
    command = ["evaluate", "expressivity", mini.vocoders(), str(mini.units), str(mini.corpus), str(out)]
    run([*command, *classifiers, "--f0=yin", f"--audio={audio}", "--utterances=6"])
    report = json.loads(out.read_text())
    assert report["num_utterances"] == 6 and report["f0"] == "yin" and report["codes"] == "stream"
    assert set(report["systems"]) == {"original", "Base", "Expressive"}
    assert report["style_measure"] == "accuracy" and report["utterances_without_units"] == 0
    for figures in report["systems"].values():
        assert figures["recognition"]["pocketsphinx"]["word_error_rate"]["count"] == 6
        assert figures["style"]["count"] == 6
    for name in ("Base", "Expressive"):
        assert report["systems"][name]["f0_frame_error"]["count"] == 6
        assert -1 <= report["systems"][name]["speaker_similarity"]["value"] <= 1
    shown = capsys.readouterr().out
    assert "Expressive" in shown and "speaker similarity" in shown
    assert out.with_suffix(".md").read_text().startswith("Expressivity: corpus, test, 6 utterances, 10 s")
    names = sorted(path.name for path in audio.iterdir())
    first = names[0].removesuffix(".png")
    assert len(names) == 4 * 4
    assert names[:4] == [f"{first}.png", *(f"{first}_{what}.wav" for what in ("Base", "Expressive", "original"))]


def test_codes_at_frames_are_others(kit: Any, tmp_path: Path) -> None:
    mini = kit.mini([kit.Said("a/b", text=""), kit.Said("c", 230.0, text="")])
    found = {}
    for codes in ("stream", "frames"):
        out = tmp_path / f"{codes}.json"
        command = ["evaluate", "expressivity", mini.vocoders(), str(mini.units), str(mini.corpus), str(out)]
        run([*command, "--f0=yin", f"--codes={codes}", "--speaker=1"])
        found[codes] = json.loads(out.read_text())
        assert sorted(path.name for path in out.with_suffix("").iterdir()) == ["a_b.png", "c.png"]
    assert all(one["recognition"] == {} for one in found["frames"]["systems"].values())  # no transcripts
    assert found["frames"]["systems"]["Base"] == found["stream"]["systems"]["Base"]
    assert str(found["frames"]["speaker"]) == "1" and found["frames"]["systems"]["original"]["style"] is None


def test_what_cannot_be_measured_is_told_before_any_work(kit: Any, tmp_path: Path) -> None:
    mini, out = kit.mini(), tmp_path / "out.json"
    fewer = SpeechLayout.spirit_lm(num_units=11, frame_rate=25.0)
    save_network(tmp_path / "fewer", kit.vocoder(fewer), "vocoder")
    base = [kit.tokens(one, kit.base) for one in kit.said]
    base_units = kit.units(tmp_path / "base_units", base, kit.base)
    foreign = kit.units(tmp_path / "foreign", [kit.tokens(kit.Said("foreign"))])
    paths = [str(mini.units), str(mini.corpus), str(out)]
    for arguments, message in (
        ([f'{{"x": "{tmp_path}/fewer"}}', *paths], "vocoder 'x' does not fit: .*num_units must be at least .*12"),
        ([mini.vocoders(), str(base_units), *paths[1:]], "vocoder 'Expressive' does not fit: UNITS must have pitch"),
        ([mini.vocoders(), str(foreign), *paths[1:]], "UNITS must be those of the corpus"),
        (
            [mini.vocoders(), *paths, f"--style_classifier={mini.base}"],
            "style_classifier: checkpoint must be of stage 'style'",
        ),
        ([mini.vocoders(), *paths, "--device=nowhere"], "device must be available on this machine, but is 'nowhere'"),
        (["{}", *paths], "VOCODERS must have names"),
    ):
        with pytest.raises(ValueError, match=message):
            run(["evaluate", "expressivity", *arguments])
    assert not out.exists()


def test_prosody(kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mini, out = kit.mini(), tmp_path / "prosody.json"
    command = ["evaluate", "prosody", mini.vocoders(), str(mini.units), str(mini.corpus), str(out), "--f0=yin"]
    run([*command, "--contrasts=[[low, high]]"])
    report = json.loads(out.read_text())
    assert list(report["contrasts"]) == ["all pairs", "high / low"]
    assert report["contrasts"]["high / low"]["num_pairs"] == 4
    assert set(report["contrasts"]["high / low"]["systems"]) == {"original", "Base", "Expressive"}
    page = out.with_suffix(".md").read_text()
    assert "| high / low | 4 |" in page and "4 pairs of 8 utterances" in page
    assert "Prosody: corpus, test" in capsys.readouterr().out
    with pytest.raises(ValueError, match="contrasts must be of the styles high, low, but one is fast"):
        run([*command, "--contrasts=[[fast, slow]]"])


def test_codes(kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mini, out = kit.mini(), tmp_path / "codes.json"
    run(["evaluate", "codes", f"[{mini.units}]", str(out), "--split", "test"])
    report = json.loads(out.read_text())[str(mini.units)]
    assert set(report["kinds"]) == {"units", "pitches", "styles"} and report["utterances"] == 8
    assert report["kinds"]["styles"]["of_style"]["labels"] == 2
    assert "Codes of split test" in capsys.readouterr().out and "| units | all |" in out.with_suffix(".md").read_text()
    with pytest.raises(ValueError, match="UNITS must name at least one tokenised corpus"):
        run(["evaluate", "codes", "[]", str(out)])
    with pytest.raises(FileNotFoundError, match="UNITS must have the split 'validation', but .* has test alone"):
        run(["evaluate", "codes", f"[{mini.units}]", str(out), "--split", "validation"])


@pytest.mark.parametrize("name", ["base", "expressive"])
def test_resynthesis_of_either_kind(kit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    mini, out, audio = kit.mini(), tmp_path / "out.json", tmp_path / "audio"
    command = ["evaluate", "resynthesis", str(getattr(mini, name)), str(mini.units), str(mini.corpus), str(out)]
    run([*command, f"--audio={audio}", "--utterances=2"])
    report = json.loads(out.read_text())
    assert report["num_utterances"] == 2 and set(report["recognition"]["pocketsphinx"]) == {"original", "resynthesis"}
    assert "pocketsphinx, resynthesis: word accuracy" in capsys.readouterr().out
    assert [path.suffix for path in sorted(audio.iterdir())] == [".png", ".wav", ".wav"] * 2


def test_whisper_is_looked_for_before_any_work(tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("vocoder", "units", "corpus", "out.json")]
    with pytest.raises(ValueError, match="whisper must be a folder with a faster-whisper model, but .* is not there"):
        run(["evaluate", "resynthesis", *folders, f"--whisper={tmp_path / 'missing'}"])


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_reports_that_cannot_be_written_are_refused_before_anything_is_measured(
    command: Callable[..., None], tmp_path: Path
) -> None:
    """Nothing else that is given exists, so that the check must come first."""
    parameters = signature(command).parameters
    given = {name: ["nothing"] for name, one in parameters.items() if one.default is one.empty}
    (tmp_path / "file").touch()
    for name in ("out", "scores"):
        if name not in parameters:
            continue
        for where, rule in (
            (str(tmp_path), "be a local file, but .* is a folder$"),
            ("s3://mine/report.json", "be a local file, but .* is an address$"),
            ("/", "be a local file, but / is a folder$"),
            (str(tmp_path / "report.md"), r"have an ending such as .json, .*, but is .*\.md$"),
            (str(tmp_path / "report"), r"have an ending such as .json, .*, but is .*report$"),
            (str(tmp_path / "file" / "report.json"), "be a file that can be written, but is .*file is no folder$"),
        ):
            files = {"out": str(tmp_path / "report.json"), name: where}
            with pytest.raises(ValueError, match=f"^{name} must {rule}"):
                command(**given | files)
