from pathlib import Path

import pytest
import torch
from lightning import Trainer

from spiritlm_pl.callbacks.write_units import WriteUnits
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.speech.features import MFCCConfig
from spiritlm_pl.speech.kmeans import KMeansConfig, fit_kmeans
from spiritlm_pl.speech.tokenizer import PhoneticTokenizer
from spiritlm_pl.tokens.corpus_store import UnitCorpus


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    extractor = MFCCConfig().build()
    features, _ = extractor(torch.randn(1, 160_000), torch.tensor([160_000]))
    quantizer = fit_kmeans(features[0], KMeansConfig(num_units=12, feature_dim=39), epochs=1)
    return PhoneticTokenizer(extractor, quantizer).save(tmp_path / "tokenizer")


def predict(tokenizer: Path, corpus: Path, folder: Path, **settings: object) -> None:
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[WriteUnits(str(folder))],
        enable_progress_bar=False,
        **settings,  # type: ignore[arg-type]
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


@pytest.mark.slow
def test_two_ranks_write_the_same_shards(tokenizer: Path, tone_corpus: Path, tmp_path: Path) -> None:
    predict(tokenizer, tone_corpus, tmp_path / "one")
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        logger=False,
        enable_progress_bar=False,
        callbacks=[WriteUnits(str(tmp_path / "two"))],
    )
    data = WaveformDataModule([str(tone_corpus)], part_size=3, batch_seconds=4.0)
    trainer.predict(TokenizeModule(str(tokenizer)), data)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


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
