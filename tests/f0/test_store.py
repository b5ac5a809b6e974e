"""F0 beside its corpus: extracted once, kept, mended, read by the data module."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from spiritlm_pl.cli.main import run
from spiritlm_pl.corpora.manifest import load_cuts, write_cuts
from spiritlm_pl.datamodules.f0 import F0DataModule
from spiritlm_pl.f0 import store as f0_store
from spiritlm_pl.f0.contour_index import f0_folder
from spiritlm_pl.f0.frames import num_frames
from spiritlm_pl.f0.reader import StoredF0
from spiritlm_pl.f0.store import extract_corpus, load_f0, read_f0_info
from spiritlm_pl.runtime import checksums
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.devices import cpu_has_bfloat16
from spiritlm_pl.runtime.left_over import this_machine
from spiritlm_pl.runtime.packed_linear import has_products


@pytest.fixture
def corpus(make_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "tones")


def extract(corpus: Path, kind: str = "yin") -> None:
    extract_corpus(corpus, "yin", kind, part_size=3)


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
        extract(corpus, "torchaudio")
    assert times(corpus) == after and read_f0_info(corpus, "yin").extractor == {"extractor": "yin"}


def test_f0_that_was_to_be_in_bfloat16_is_recorded_as_it_was_computed(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("spiritlm_pl.f0.fcpe.cpu_has_bfloat16", lambda: False)
    f0_store._extractor.cache_clear()
    run(["extract-f0", str(corpus), "--half", "--num-jobs=1"])
    assert "; computed in float32, as this processor has no bfloat16; mean" in capsys.readouterr().out
    assert read_f0_info(corpus, "fcpe").extractor == {"extractor": "fcpe"}
    f0_store._extractor.cache_clear()
    run(["extract-f0", str(corpus)])  # the same F0: nothing to do
    assert "float32" not in capsys.readouterr().out


@pytest.mark.skipif(not (cpu_has_bfloat16() and has_products(torch.bfloat16)), reason="the processor has no bfloat16")
def test_f0_in_bfloat16_is_that_of_another_extractor(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="--half must be false for extractor yin, which has no bfloat16"):
        run(["extract-f0", str(corpus), "--extractor", "yin", "--half"])
    run(["extract-f0", str(corpus), "--half"])
    assert read_f0_info(corpus, "fcpe").extractor == {"extractor": "fcpe", "half": True}
    before = [path.read_bytes() for path in sorted(f0_folder(corpus, "fcpe").glob("*.parquet"))]
    with pytest.raises(
        ValueError, match="holds the F0 of fcpe in bfloat16 instead of fcpe \\(--overwrite replaces it\\)"
    ):
        run(["extract-f0", str(corpus)])
    assert [path.read_bytes() for path in sorted(f0_folder(corpus, "fcpe").glob("*.parquet"))] == before
    run(["extract-f0", str(corpus), "--overwrite"])
    assert read_f0_info(corpus, "fcpe").extractor == {"extractor": "fcpe"} and load_f0(corpus, "fcpe", "train")


@pytest.mark.parametrize("name", ["../../up", "..", "a/b", "/up"])
def test_f0_stays_within_its_corpus(name: str, corpus: Path) -> None:
    with pytest.raises(ValueError, match=f"name must be that of a folder within the corpus, .* is '{name}' instead"):
        extract_corpus(corpus, name, "yin")


def test_f0_of_one_name_is_extracted_by_one_process(corpus: Path) -> None:
    folder = f0_folder(corpus, "yin")
    folder.mkdir(parents=True)
    owner = {"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}
    (folder / f"{WRITER}.1.json").write_text(json.dumps(owner))
    with pytest.raises(ValueError, match="corpus must be a folder that no other process writes to, but process .* on"):
        extract(corpus)
    assert len([*folder.iterdir()]) == 1


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


def test_batches_change_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = list(load_cuts(corpus, "train"))
    Path(cuts[1].recording.sources[0].source).write_bytes(b"")
    extract_corpus(corpus, "alone", "fcpe")
    monkeypatch.setattr("spiritlm_pl.f0.store._batches", lambda cuts, device: batches_of_three(len(cuts)))
    extract_corpus(corpus, "together", "fcpe")
    alone, together = (load_f0(corpus, name, "train")[0] for name in ("alone", "together"))
    assert alone.keys() == together.keys() == {cut.id for cut in cuts} - {cuts[1].id}
    for name, contour in alone.items():
        np.testing.assert_allclose(together[name].f0, contour.f0, atol=0.01)
        assert np.array_equal(together[name].voiced, contour.voiced)
    assert read_f0_info(corpus, "together").skipped == 1


def batches_of_three(count: int) -> list[list[int]]:
    places = list(reversed(range(count)))
    return [places[start : start + 3] for start in range(0, count, 3)]


@pytest.mark.parametrize(
    ("kind", "sample", "reason"),
    [
        ("yin", np.nan, "audio must be finite, but has NaN or infinity instead"),
        ("yin", np.inf, "audio must be finite, but has NaN or infinity instead"),
        ("fcpe", 1e30, "audio must be in [-1, 1], but has a peak of 1e+30 instead"),
    ],
)
def test_samples_that_are_no_sound_are_skipped_and_listed(corpus: Path, kind: str, sample: float, reason: str) -> None:
    cut = next(iter(load_cuts(corpus, "train")))
    recording = Path(cut.recording.sources[0].source)
    samples, rate = soundfile.read(recording, dtype="float32")
    samples[2000:2100] = sample
    soundfile.write(recording, samples, rate, subtype="FLOAT")
    info = extract_corpus(corpus, "f0", kind)
    listed = (f0_folder(corpus, "f0") / "skipped.jsonl").read_text()
    assert (info.utterances, info.skipped) == (11, 1) and cut.id in listed and reason in listed
    contours, means = load_f0(corpus, "f0", "train")
    assert cut.id not in contours and len(contours) == 7
    assert all(np.isfinite(contour.f0).all() for contour in contours.values())
    assert all(np.isfinite(mean) for mean in means.values())


def test_one_speaker_and_one_without_voice(corpus: Path) -> None:
    for split in ("train", "validation", "test"):
        for cut in load_cuts(corpus, split):
            if cut.supervisions[0].speaker == "speaker1":
                recording = Path(cut.recording.sources[0].source)
                soundfile.write(recording, np.zeros(cut.num_samples), 16_000)
    extract(corpus)
    assert set(read_f0_info(corpus, "yin").speaker_means) == {"speaker0"}
    data = F0DataModule([str(corpus)], "yin")
    data.setup("fit")
    silent = 0
    for batch in [*data.train_dataloader(), *data.val_dataloader()]:
        assert batch.contours.isfinite().all() and batch.means.isfinite().all()
        silent += int((batch.contours.abs().sum((1, 2)) == 0).sum())
    assert silent >= 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fcpe", "yaapt"])
def test_processes_change_nothing(make_corpus: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    corpus = make_corpus(tmp_path / "tones", train=64)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    for jobs in (1, 2):
        extract_corpus(corpus, f"jobs{jobs}", kind, num_jobs=jobs)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    one, two = (load_f0(corpus, f"jobs{jobs}", "train")[0] for jobs in (1, 2))
    assert list(one) == list(two) and len(one) == 64
    for name, contour in one.items():
        assert np.array_equal(contour.f0, two[name].f0) and np.array_equal(contour.voiced, two[name].voiced)
    assert read_f0_info(corpus, "jobs1").speaker_means == read_f0_info(corpus, "jobs2").speaker_means


def test_unfinished_and_damaged(corpus: Path) -> None:
    with pytest.raises(FileNotFoundError, match="spiritlm extract-f0"):
        load_f0(corpus, "yin", "train")
    extract(corpus)
    path = f0_folder(corpus, "yin") / "train-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="train-00001.parquet must have SHA-256"):
        load_f0(corpus, "yin", "train")
    (path.parent / CHECKSUMS).unlink()  # as it was extracted before there were checksums
    with pytest.raises(ValueError, match="train-00001.parquet must be a readable part, but is damaged"):
        load_f0(corpus, "yin", "train")


def test_a_corpus_that_has_grown_is_told(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(corpus)
    cuts = list(load_cuts(corpus, "train"))
    write_cuts(corpus, "train", cuts[:-1])
    extract(corpus)
    write_cuts(corpus, "train", cuts)
    data = F0DataModule([str(corpus)], "yin")
    with pytest.raises(
        ValueError, match=f"F0 must be that of the present corpus, but lacks {cuts[-1].id} of split train"
    ):
        data.setup("fit")
    written: list[object] = []

    def killed_at_the_second(*given: object, **named: object) -> None:
        written.append(given)
        if len(written) == 2:
            raise KeyboardInterrupt
        write_table(*given, **named)

    write_table = f0_store.pq.write_table
    write_cuts(corpus, "train", cuts[3:] + cuts[:3])  # other parts
    monkeypatch.setattr(f0_store.pq, "write_table", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        extract(corpus)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match="F0 must have been extracted"):
        F0DataModule([str(corpus)], "yin").setup("fit")
    extract(corpus)
    F0DataModule([str(corpus)], "yin").setup("fit")


def test_without_the_means_of_speakers(corpus: Path) -> None:
    extract(corpus)
    cuts = list(load_cuts(corpus, "train"))[:2]
    lengths = [cut.num_samples for cut in cuts]
    means = {known: StoredF0([str(corpus)], "yin", known).batch(cuts, lengths)[2] for known in (True, False)}
    assert means[True].isfinite().all() and means[False].isnan().all()
    prints = {StoredF0([str(corpus)], "yin", known).fingerprint([str(corpus)]) for known in (True, False)}
    assert len(prints) == 2  # what was tokenised with the one is not what the other gives


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


def test_the_list_of_checksums_is_not_read_for_each_part(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract_corpus(corpus, "yin", "yin", part_size=1)
    reads: list[Path] = []
    read = checksums._read
    monkeypatch.setattr(checksums, "_read", lambda folder: reads.append(folder) or read(folder))
    extract_corpus(corpus, "yin", "yin", part_size=1)
    load_f0(corpus, "yin", "train")
    assert len(times(corpus)) == 12 and len(reads) < 12
