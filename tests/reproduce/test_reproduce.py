"""The whole command in miniature, on the tokenizer of a tiny corpus; a second call has nothing left to do."""

import json
from pathlib import Path

import pytest

from spiritlm_pl.cli.main import run
from spiritlm_pl.reproduce.run import reproduce

UNITS = "{num_units: 20, feature_dim: 39}"
EXPORT = "[{class_path: spiritlm_pl.callbacks.export.ExportNetwork, init_args: {dirpath: qs/model/speech_tokenizer}}]"


def make_quickstart() -> None:
    """Make the folder of a quickstart that has nothing but a tokenizer of MFCC units."""
    run(["prepare", "stories", "qs/corpora/stories", "--count=24", "--num-jobs=1"])
    tokenizer = ["--data.init_args.corpora=[qs/corpora/stories]", f"--model.init_args.config={UNITS}"]
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", f"--trainer.callbacks={EXPORT}"]
    short = ["--model.init_args.start_frames=500", "--trainer.default_root_dir=qs/runs"]
    run(["fit", "--config", "quantizer/quickstart_mfcc", *tokenizer, *short, *quiet])


@pytest.mark.slow
@pytest.mark.usefixtures("warm_processes")
def test_a_finding_from_stories_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_quickstart()
    reproduce("out", "qs", seeds=1, only=[2], stories=40, budget=0.01, jobs=2)
    results = {path.stem: path.stat().st_mtime for path in Path("out/results").glob("*.json")}
    assert set(results) == {"stories", "text_tokenizer", "units", "blocks", "interleaved-0", "text-0", "warm-0"}
    report = json.loads(Path("out/report.json").read_text())
    finding = report["findings"]["2"]
    assert finding["verdict"] == "too few runs" and finding["statements"][0]["difference"]["seeds"] == 1
    assert finding["conditions"]["warm"]["text_to_text"]["items"] > 1
    assert report["core_hours"] > 0 and report["settings"]["stories"] == 40
    assert "checkpoint: runs/text-0/export" in Path("out/runs/warm-0/config.yaml").read_text()
    assert not list(Path("out/claims").glob("*.json"))
    reproduce("out", seeds=1, only=[2], jobs=2)
    assert {path.stem: path.stat().st_mtime for path in Path("out/results").glob("*.json")} == results
