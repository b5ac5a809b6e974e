"""Names of the first version: every public one is found, and folders that it wrote are read and count as the same."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from spiritlm_pl.runtime.checkpoint import CONFIG_FILE, load_network, save_network
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.older_names import MODULES, first_name, todays_name
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer, tokenizer_fingerprint

FIRST_NAMES = Path(__file__).parents[1] / "fixtures" / "older_names.txt"  # module: its public names, a module a line


# Constants that said which kinds of speech tokens there are, which a list of streams says now, functions in whose place
# others give more (`score_choices(...).results()`), and internal names and sizes, such as those of building blocks one
# document after the other, and of units of a whole corpus in memory.
GONE = {
    "callbacks.bystander.part",
    "callbacks.export.Exporting",
    "datamodules.speech.UnitIndex",
    "datamodules.speech.load_units",
    "datamodules.unit_waveforms.commonest",
    "evaluation.choice.evaluate_choice",
    "evaluation.codes.KINDS",
    "generation.loading.check_vocoder",
    "generation.stream.SPEECH_KINDS",
    "generation.streaming.SpeechStream",
    "generation.sampling.SPEECH_TOKENS",
    "generation.sampling.TEXT_TOKENS",
    "generation.sampling.TEXT_TO_SPEECH_TOKENS",
    "lm.attention.MATMUL_LIMIT",
    "lm.fast_tokenizer.check_probe",
    "lm.kinds.SUFFIXES",
    "speech.contract.SIZES",
    "tokens.build_blocks.PARTS_IN_10_000",
    "tokens.build_blocks.delimited",
    "tokens.build_blocks.file_texts",
    "tokens.build_blocks.put_in_place",
    "tokens.build_blocks.speech_document",
    "tokens.build_blocks.text_document",
    "tokens.build_blocks.write_stream",
    "tokens.corpus_store.CODES",
    "tokens.corpus_store.check_part",
    "tokens.corpus_store.EXPRESSIVE_SCHEMA",
    "tokens.merge.BASE_RATE",
    "tokens.merge.UNIT_RATE",
    "tokens.shuffling.BUCKET_BITS",
    "tokens.shuffling.Shuffler",
    "tokens.shuffling.TOKENS_IN_MEMORY",
}


@pytest.mark.filterwarnings("ignore:spiritlm_pl.* is now:DeprecationWarning")
@pytest.mark.parametrize("line", FIRST_NAMES.read_text().splitlines(), ids=lambda line: line.partition(":")[0])
def test_every_public_name_of_the_first_version_is_found(line: str) -> None:
    module, _, names = line.partition(": ")
    for name in [name for name in names.split() if f"{module}.{name}" not in GONE]:
        found = getattr(import_module(f"spiritlm_pl.{module}"), name)
        home, _, attribute = todays_name(f"spiritlm_pl.{module}.{name}").rpartition(".")
        assert found is getattr(import_module(home), attribute)


def test_an_older_name_is_told_and_is_the_same_object() -> None:
    sys.modules.pop("spiritlm_pl.speech.kmeans", None)
    with pytest.warns(DeprecationWarning, match="speech.kmeans.KMeans is now spiritlm_pl.tokenizers.kmeans.KMeans"):
        from spiritlm_pl.speech.kmeans import KMeans as Older  # type: ignore[import-not-found]
    assert Older is KMeans
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from spiritlm_pl.speech.kmeans import Nothing  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        import_module("spiritlm_pl.speech.nothing")


def test_todays_modules_are_there_and_those_of_before_are_gone() -> None:
    here = Path(import_module("spiritlm_pl").__file__ or "").parent
    for older, homes in MODULES.items():
        assert not (here / f"{older.replace('.', '/')}.py").exists()
        for home in homes:
            import_module(f"spiritlm_pl.{home}")


def test_a_folder_of_the_first_version_is_read_and_counts_as_the_same(tmp_path: Path) -> None:
    quantizer = KMeans(KMeansConfig(num_units=12, feature_dim=39))
    quantizer.centroids.copy_(torch.randn_like(quantizer.centroids))
    tokenizer = PhoneticTokenizer(MFCCConfig().build(), quantizer)
    today, older = (tokenizer.save(tmp_path / name) for name in ("today", "older"))
    for part in ("extractor", "quantizer"):
        path = older / part / CONFIG_FILE
        description = json.loads(path.read_text())
        description["class_path"] = first_name(description["class_path"])
        assert description["class_path"].startswith("spiritlm_pl.speech.")
        path.write_text(json.dumps(description))
        (path.parent / CHECKSUMS).unlink()  # the first version wrote none
    waveforms, lengths = torch.randn(2, 16_000), torch.tensor([16_000, 9_000])
    for found, expected in zip(
        PhoneticTokenizer.load(older).encode(waveforms, lengths), tokenizer.encode(waveforms, lengths), strict=True
    ):
        torch.testing.assert_close(found.values, expected.values)
    assert tokenizer_fingerprint(older) == tokenizer_fingerprint(today)
    assert isinstance(load_network(save_network(tmp_path / "k", quantizer, "quantizer"), "quantizer"), KMeans)
