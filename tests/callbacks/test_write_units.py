from pathlib import Path

import pytest
import torch
from lightning import Trainer

from spiritlm_pl.callbacks.write_units import WriteUnits
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.speech.features import MFCCConfig
from spiritlm_pl.speech.kmeans import KMeans, KMeansConfig, MinibatchKMeans
from spiritlm_pl.speech.tokenizer import PhoneticTokenizer
from spiritlm_pl.tokens.corpus_store import UnitCorpus


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    extractor = MFCCConfig().build()
    features, _ = extractor(torch.randn(1, 160_000), torch.tensor([160_000]))
    quantizer = KMeans(KMeansConfig(num_units=12, feature_dim=39))
    MinibatchKMeans(quantizer).start(features[0])
    return PhoneticTokenizer(extractor, quantizer).save(tmp_path / "tokenizer")


def predict(tokenizer: Path, corpus: Path, folder: Path, **settings: object) -> None:
    values = {"devices": 1, **settings}
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[WriteUnits(str(folder))],
        enable_progress_bar=False,
        **values,  # type: ignore[arg-type]
    )
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
    with pytest.warns(UserWarning, match="across ranks is zero"):  # nothing is left to compute
        predict(tokenizer, tone_corpus, tmp_path)
    assert {path: path.read_bytes() for path in manifests} == manifests and contents(tmp_path) == parts


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


def test_another_tokenizer_redoes_all(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path / "units")
    changed = PhoneticTokenizer.load(tokenizer)
    changed.chunk_seconds = 50.0
    before = contents(tmp_path / "units")
    predict(changed.save(tmp_path / "changed"), tone_corpus, tmp_path / "units")
    after = contents(tmp_path / "units")
    assert before.keys() == after.keys() and all(before[name] != after[name] for name in before)


def test_training_with_it_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", logger=False)
    with pytest.raises(ValueError, match="must run in predict"):
        WriteUnits(str(tmp_path)).setup(trainer, TokenizeModule(str(tokenizer)), "fit")
