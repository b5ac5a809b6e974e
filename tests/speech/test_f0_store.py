"""F0 beside its corpus: extracted once, kept, mended, read by the data module."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.main import run
from spiritlm_pl.corpora.manifest import load_cuts
from spiritlm_pl.datamodules.f0 import F0DataModule
from spiritlm_pl.speech.f0 import YIN, num_frames
from spiritlm_pl.speech.f0_store import extract_corpus, f0_folder, load_f0, read_f0_info


@pytest.fixture
def corpus(make_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "tones")


def extract(corpus: Path, **settings: object) -> None:
    list(extract_corpus(corpus, "yin", YIN(), {"extractor": "yin", **settings}, part_size=3))


def times(corpus: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in f0_folder(corpus, "yin").glob("*.parquet")}


def test_the_command_extracts_all_splits(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["extract-f0", str(corpus), "--extractor", "yin"])
    assert "F0 of 12 utterances; mean F0, Hz: speaker0" in capsys.readouterr().out
    contours, means = load_f0(corpus, "yin", "train")
    cuts = list(load_cuts(corpus, "train"))
    assert set(contours) == {cut.id for cut in cuts} and set(means) == {"speaker0", "speaker1"}
    for cut in cuts:
        assert len(contours[cut.id].f0) == len(contours[cut.id].voiced) == num_frames(round(cut.duration * 16_000))
    assert all(100 < mean < 900 for mean in means.values())


def test_finished_parts_are_kept_and_other_settings_refused(corpus: Path) -> None:
    extract(corpus)
    before = times(corpus)
    gone = next(iter(before))
    gone.unlink()
    extract(corpus)
    after = times(corpus)
    assert {path for path in before if before[path] != after[path]} == {gone}
    with pytest.raises(ValueError, match="name must be another one for another extractor"):
        extract(corpus, threshold=0.5)
    assert times(corpus) == after and read_f0_info(corpus, "yin").extractor == {"extractor": "yin"}


def test_what_cannot_be_read_is_skipped_and_tried_again(corpus: Path) -> None:
    cut = next(iter(load_cuts(corpus, "train")))
    recording = Path(cut.recording.sources[0].source)
    content = recording.read_bytes()
    recording.write_bytes(b"")
    extract(corpus)
    assert read_f0_info(corpus, "yin").skipped == 1 and cut.id not in load_f0(corpus, "yin", "train")[0]
    assert "zero bytes" in (f0_folder(corpus, "yin") / "skipped.jsonl").read_text()
    recording.write_bytes(content)
    extract(corpus)
    assert read_f0_info(corpus, "yin").skipped == 0 and cut.id in load_f0(corpus, "yin", "train")[0]


def test_unfinished_and_damaged(corpus: Path) -> None:
    with pytest.raises(FileNotFoundError, match="spiritlm extract-f0"):
        load_f0(corpus, "yin", "train")
    extract(corpus)
    path = f0_folder(corpus, "yin") / "train-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="train-00001.parquet must be a readable part, but is damaged"):
        load_f0(corpus, "yin", "train")


def test_batches_of_contours(corpus: Path) -> None:
    extract(corpus)
    data = F0DataModule([str(corpus)], "yin", crop_frames=64, batch_seconds=2.0)
    data.setup("fit")
    seen = []
    for batch in data.train_dataloader():
        assert batch.contours.shape == (len(batch.ids), 2, 64) and (batch.lengths <= 64).all()
        seen += batch.ids
    assert set(seen) == {cut.id for cut in load_cuts(corpus, "train")}
    contours, means = load_f0(corpus, "yin", "validation")
    speakers = {cut.id: cut.supervisions[0].speaker for cut in load_cuts(corpus, "validation")}
    for batch in data.val_dataloader():
        for row, name in enumerate(batch.ids):
            assert float(batch.means[row]) == pytest.approx(means[speakers[name]])
            whole = torch.from_numpy(contours[name].f0) - batch.means[row]
            torch.testing.assert_close(batch.contours[row, 0, : batch.lengths[row]], whole)
    own = F0DataModule([str(corpus)], "yin", speaker_means=False)
    own.setup("validate")
    batch = next(iter(own.val_dataloader()))
    voiced = batch.contours[:, 1] > 0
    assert abs(float(batch.contours[:, 0][voiced].mean())) < 1.0
