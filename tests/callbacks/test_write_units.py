import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from spiritlm_pl.callbacks.write_units import WriteUnits, earlier_fingerprint, part_fingerprint, warn_of_one_unit
from spiritlm_pl.corpora.manifest import load_cuts, write_cuts
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.parts import plan_corpus
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.unit_index import UnitIndex
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer


@pytest.fixture
def own_corpus(tone_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tone_corpus, tmp_path / "corpora" / tone_corpus.name))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    extractor = MFCCConfig().build()
    features, _ = extractor(torch.randn(1, 160_000), torch.tensor([160_000]))
    quantizer = KMeans(KMeansConfig(num_units=12, feature_dim=39))
    MinibatchKMeans(quantizer).start(features[0])
    return PhoneticTokenizer(extractor, quantizer).save(tmp_path / "tokenizer")


def predict(tokenizer: Path, corpus: Path, folder: Path, **settings: object) -> None:
    values = {"devices": 1, **settings}
    writer = WriteUnits(str(folder), overwrite=bool(values.pop("overwrite", False)))
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False, **values)
    data = WaveformDataModule([str(corpus)], part_size=3, batch_seconds=4.0)
    trainer.predict(TokenizeModule(str(tokenizer)), data)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_interrupted_and_resumed_is_the_same(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path / "whole")
    corpus = UnitCorpus(tmp_path / "whole" / "tones", "train")
    assert len(corpus) == 8 and corpus.num_units == 12 and corpus[0].words and corpus[0].speaker == "speaker0"
    assert corpus[0].num_frames == int(corpus[0].duration * 25) and corpus[0].custom["story"] == corpus[0].id
    assert corpus.manifest["provenance"]["tokenizer_sha256"]
    with pytest.raises(FileNotFoundError):  # cut short: no manifest, but the first part stays
        predict(tokenizer, tone_corpus, tmp_path / "resumed", limit_predict_batches=3)
    first = contents(tmp_path / "resumed")
    assert 0 < len(first) < len(contents(tmp_path / "whole"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "resumed").rglob("*.parquet")}
    predict(tokenizer, tone_corpus, tmp_path / "resumed")
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_killed_before_the_manifests(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path)
    manifests = {path: path.read_bytes() for path in tmp_path.rglob("tones/*/manifest.json")}
    assert len(manifests) == 3
    parts = contents(tmp_path)
    for path in manifests:
        path.unlink()
    predict(tokenizer, tone_corpus, tmp_path)  # nothing is left to compute, of which no warning is told
    assert {path: path.read_bytes() for path in manifests} == manifests and contents(tmp_path) == parts


def test_broken_recordings_are_skipped_listed_and_tried_again(
    tokenizer: Path, own_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(tokenizer, own_corpus, tmp_path / "whole")
    cuts = list(load_cuts(own_corpus, "train"))
    zero, missing = (Path(cuts[index].recording.sources[0].source) for index in (0, 5))
    contents_of = {path: path.read_bytes() for path in (zero, missing)}
    zero.write_bytes(b"")
    missing.unlink()
    predict(tokenizer, own_corpus, tmp_path / "units")
    home = tmp_path / "units" / "tones" / "train"
    assert "train: skipped 2 of 8 utterances, see skipped.jsonl; the first:" in capsys.readouterr().out
    listed = [json.loads(line) for line in (home / "skipped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in listed] == [cuts[0].id, cuts[5].id]
    assert "zero bytes" in listed[0]["reason"] and "missing" in listed[1]["reason"]
    corpus = UnitCorpus(tmp_path / "units" / "tones", "train")
    assert corpus.ids() == [cut.id for cut in cuts if cut.id not in {cuts[0].id, cuts[5].id}]
    for path, content in contents_of.items():
        path.write_bytes(content)
    predict(tokenizer, own_corpus, tmp_path / "units")
    assert contents(tmp_path / "units") == contents(tmp_path / "whole")
    assert (home / "skipped.jsonl").read_text() == ""


def test_audio_that_is_not_there_replaces_nothing(tokenizer: Path, own_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, own_corpus, tmp_path / "units")
    changed = PhoneticTokenizer.load(tokenizer)
    changed.chunk_seconds = 50.0
    (own_corpus / "audio").rename(tmp_path / "elsewhere")
    before = contents(tmp_path / "units")
    with pytest.raises(FileNotFoundError, match="by this run, but was not: no utterance of the corpus could be read"):
        predict(changed.save(tmp_path / "changed"), own_corpus, tmp_path / "units", overwrite=True)
    assert contents(tmp_path / "units") == before


def test_another_corpus_of_the_same_name(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path / "units")
    before = contents(tmp_path / "units")
    other = tmp_path / "other" / tone_corpus.name
    shutil.copytree(tone_corpus, other)
    cuts = list(load_cuts(other, "train"))
    write_cuts(other, "train", cuts[:-1])
    with pytest.raises(ValueError, match="folder must not hold units of another corpus of the same name"):
        predict(tokenizer, other, tmp_path / "units")
    assert contents(tmp_path / "units") == before and UnitCorpus(tmp_path / "units" / "tones", "train")


def test_the_only_recording_of_a_part_is_broken(tokenizer: Path, own_corpus: Path, tmp_path: Path) -> None:
    cut = list(load_cuts(own_corpus, "train"))[-1]  # parts of 3, 3 and 2
    for broken in list(load_cuts(own_corpus, "train"))[-2:]:
        Path(broken.recording.sources[0].source).write_bytes(b"")
    predict(tokenizer, own_corpus, tmp_path / "units")
    corpus = UnitCorpus(tmp_path / "units" / "tones", "train")
    assert len(corpus) == 6 and cut.id not in UnitIndex(corpus) and len(list(corpus)) == 6
    recording = Path(cut.recording.sources[0].source)
    recording.write_bytes(b"")  # touched, and still broken
    predict(tokenizer, own_corpus, tmp_path / "units")
    assert len(UnitCorpus(tmp_path / "units" / "tones", "train")) == 6


def test_a_second_run_is_refused_until_the_first_has_ended(
    tokenizer: Path, tone_corpus: Path, own_corpus: Path, tmp_path: Path
) -> None:
    units = tmp_path / "units"
    claim = units / tone_corpus.name / f"{WRITER}.1.json"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}))
    with pytest.raises(ValueError, match=r"^folder must be a folder that no other process writes to, but .* on b wri"):
        predict(tokenizer, tone_corpus, units)
    assert [*units.rglob("*.*")] == [claim]
    info = own_corpus / "corpus.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"name": "others"}))
    predict(tokenizer, own_corpus, units)  # units of another corpus do not mix with those of the first
    claim.write_text(json.dumps({"machine": this_machine(), "process": 2**22 + 1}))  # of a job that was killed
    predict(tokenizer, tone_corpus, units)
    assert len(UnitCorpus(units / "tones", "train")) == 8 and not [*units.rglob(f"{WRITER}*")]


def test_a_run_that_has_lost_its_folder_writes_no_manifest(
    tokenizer: Path, tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_parts = WriteUnits._write_empty_parts

    def taken_over(self: WriteUnits) -> None:
        (claim,) = (tmp_path / "tones").glob(f"{WRITER}.*")
        claim.rename(claim.with_name(f"{WRITER}.2.json"))
        empty_parts(self)

    monkeypatch.setattr(WriteUnits, "_write_empty_parts", taken_over)
    with pytest.raises(ValueError, match="another one has begun to write to .*tones while this one stood still"):
        predict(tokenizer, tone_corpus, tmp_path)
    assert not [*tmp_path.rglob("manifest.json")]


def test_a_run_with_nothing_to_do_leaves_its_trainer_as_it_was(
    tokenizer: Path, tone_corpus: Path, own_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = WriteUnits(str(tmp_path / "units"))
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, callbacks=[writer], enable_progress_bar=False)
    (own_corpus / "corpus.json").write_text(json.dumps({"name": "others"}))
    for corpus in (tone_corpus, tone_corpus, own_corpus):
        trainer.predict(
            TokenizeModule(str(tokenizer)), WaveformDataModule([str(corpus)], part_size=3, batch_seconds=4.0)
        )
    assert len(UnitCorpus(tmp_path / "units" / "others", "train")) == 8

    def broken(*_: object, stage: str) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(TokenizeModule, "setup", broken)
    data = WaveformDataModule([str(tone_corpus)], part_size=3, batch_seconds=4.0)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.predict(TokenizeModule(str(tokenizer)), data)
    assert trainer.limit_predict_batches == 1.0


def test_nothing_to_do(tokenizer: Path, tone_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(tokenizer, tone_corpus, tmp_path / "units")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "units").rglob("*.*")}
    predict(tokenizer, tone_corpus, tmp_path / "units")
    assert "has the units of all 3 splits already: nothing was done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "units").rglob("*.*")} == files


def test_no_manifests_after_an_error(
    tokenizer: Path, tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tokenizer, tone_corpus, tmp_path)
    (tmp_path / "tones" / "train" / "part-00001.parquet").unlink()

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(TokenizeModule, "predict_step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(tokenizer, tone_corpus, tmp_path)
    assert not (tmp_path / "tones" / "train" / "manifest.json").exists()


def test_a_damaged_part_is_redone(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path)
    whole = contents(tmp_path)
    path = tmp_path / "tones" / "train" / "part-00001.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1  # in the middle of the data: the schema can still be read
    path.write_bytes(damaged)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part-*.parquet")}
    predict(tokenizer, tone_corpus, tmp_path)
    assert contents(tmp_path) == whole
    assert {part for part, time in before.items() if part.stat().st_mtime_ns != time} == {path}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*local rank has zero length")
@pytest.mark.usefixtures("warm_processes")
def test_two_ranks_write_the_same_shards(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path / "one")
    two = {"devices": 2, "strategy": "ddp_spawn"}
    predict(tokenizer, tone_corpus, tmp_path / "two", **two)
    whole = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == whole
    manifest = tmp_path / "two" / "tones" / "train" / "manifest.json"
    (manifest.parent / "part-00001.parquet").unlink()  # one part for two ranks
    predict(tokenizer, tone_corpus, tmp_path / "two", **two)
    assert contents(tmp_path / "two") == whole and manifest.is_file()


@pytest.fixture
def changed(tokenizer: Path, tmp_path: Path) -> Path:
    """Another tokenizer."""
    other = PhoneticTokenizer.load(tokenizer)
    other.chunk_seconds = 50.0
    return other.save(tmp_path / "changed")


def test_another_tokenizer_replaces_units_only_when_told(
    tokenizer: Path, changed: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    units = tmp_path / "units"
    predict(tokenizer, tone_corpus, units)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in units.rglob("*.*")}
    with pytest.raises(
        ValueError, match="must not hold units of another speech tokenizer, but .*tones/test does: give"
    ):
        predict(changed, tone_corpus, units)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in units.rglob("*.*")} == before
    predict(changed, tone_corpus, units, overwrite=True)
    after = {path: path.stat().st_mtime_ns for path in units.rglob("part-*.parquet")}
    assert after and all(before[path][1] != time for path, time in after.items())
    assert UnitCorpus(units / "tones", "train").manifest["provenance"]["tokenizer"] == str(changed)


def test_units_that_another_tokenizer_has_begun_are_kept(
    tokenizer: Path, changed: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):  # cut short
        predict(tokenizer, tone_corpus, tmp_path / "units", limit_predict_batches=3)
    begun = contents(tmp_path / "units")
    with pytest.raises(ValueError, match="must not hold units of another speech tokenizer"):
        predict(changed, tone_corpus, tmp_path / "units")
    assert begun and contents(tmp_path / "units") == begun
    predict(tokenizer, tone_corpus, tmp_path / "units")
    assert begun.items() <= contents(tmp_path / "units").items()


def test_training_with_it_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", logger=False)
    with pytest.raises(ValueError, match="must run in predict"):
        WriteUnits(str(tmp_path)).setup(trainer, TokenizeModule(str(tokenizer)), "fit")


def test_one_unit_for_everything_is_told(tone_corpus: Path, tmp_path: Path) -> None:
    alike = KMeans(KMeansConfig(num_units=12, feature_dim=39))  # its centroids are all zero: the first is the nearest
    with pytest.warns(UserWarning, match=r"all frames of \d utterances \(tone.*\) are unit 0: .* train it for more"):
        predict(PhoneticTokenizer(MFCCConfig().build(), alike).save(tmp_path / "one"), tone_corpus, tmp_path / "units")


def test_the_same_codes_for_everything_are_told() -> None:
    def row(name: str, codes: list[list[int]]) -> UnitUtterance:
        found = np.array(codes, dtype=np.uint16)
        return UnitUtterance(id=name, units=found, unit_starts=np.arange(len(found)), num_frames=len(found))

    alike = [row("a", [[3, 5], [3, 5]]), row("b", [[3, 5]])]
    with pytest.warns(UserWarning, match=r"all frames of 2 utterances \(a, ...\) are unit \[3 5\]"):
        warn_of_one_unit(alike)
    warn_of_one_unit([*alike, row("c", [[3, 3]])])


def test_parts_of_an_earlier_version_are_kept(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    predict(tokenizer, tone_corpus, units)
    plan = plan_corpus([tone_corpus], part_size=3, batch_seconds=4.0)
    sha256 = json.loads((units / "tones" / "train" / "manifest.json").read_text())["provenance"]["tokenizer_sha256"]
    for part in plan.parts:
        record = units / part.corpus / part.split / f"part-{part.index:05d}.json"
        entry = json.loads(record.read_text())
        assert entry["fingerprint"] == part_fingerprint(plan, part, sha256)
        entry["fingerprint"] = earlier_fingerprint(plan, part, sha256)
        record.write_text(json.dumps(entry))
    for manifest in units.glob("*/*/manifest.json"):
        manifest.unlink()  # as in a run that was interrupted at its end
    before = {path: path.stat().st_mtime_ns for path in units.rglob("*.parquet")}
    predict(tokenizer, tone_corpus, units)
    assert len(UnitCorpus(units / "tones", "train")) == 8
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_what_is_said_is_part_of_the_fingerprint(tokenizer: Path, own_corpus: Path) -> None:
    def prints() -> list[str]:
        plan = plan_corpus([own_corpus], splits=["train"], part_size=4)
        return [part_fingerprint(plan, part, "x") for part in plan.parts]

    first, last = prints()
    cuts = list(load_cuts(own_corpus, "train"))
    for change in ("text", "speaker", "custom", "words"):
        changed = load_cuts(own_corpus, "train")
        (supervision,) = list(changed)[0].supervisions
        if change == "words":
            supervision.alignment["word"] = supervision.alignment["word"][1:]
        else:
            setattr(supervision, change, {"a": 1} if change == "custom" else "other")
        write_cuts(own_corpus, "train", changed)
        other, same = prints()
        assert other != first and same == last, change
        write_cuts(own_corpus, "train", cuts)
    assert prints() == [first, last]


def test_a_folder_that_cannot_be_written_is_told_before_units_are_made(
    tokenizer: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "units").touch()
    with pytest.raises(ValueError, match="^folder must be a folder that can be written, but .*units.* cannot: "):
        predict(tokenizer, tone_corpus, tmp_path / "units")
