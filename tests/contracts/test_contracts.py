"""What the rooms ask of each other: every shipped part keeps its contract, and what lacks a member is told which."""

from types import SimpleNamespace
from typing import Any

import pytest
from lightning import LightningModule, Trainer

from spiritlm_pl.contracts import data_modules as data
from spiritlm_pl.contracts import modules
from spiritlm_pl.contracts.check import checked, members_of
from spiritlm_pl.contracts.features import FeatureExtractor
from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer
from spiritlm_pl.contracts.vocoder import CodebookDecoder, UnitVocoder
from spiritlm_pl.datamodules.f0 import F0DataModule
from spiritlm_pl.datamodules.features import FeatureDataModule
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule
from spiritlm_pl.datamodules.labelled import LabelledDataModule
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.datamodules.unit_waveforms import UnitWaveformDataModule
from spiritlm_pl.modules.hubert import HubertModule
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.pitch import PitchModule
from spiritlm_pl.modules.quantizer import KMeansModule
from spiritlm_pl.modules.stage import data_of
from spiritlm_pl.modules.style import StyleModule
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.modules.vocoder import VocoderModule
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.neural_codec import NeuralCodec
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAEConfig
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

SHIPPED_DATA = {
    data.WaveformData: WaveformDataModule(["corpus"]),
    data.LabelData: WaveformDataModule(["corpus"]),
    data.PlannedData: WaveformDataModule(["corpus"]),
    data.FeatureData: FeatureDataModule(["corpus"], MFCCConfig()),
    data.F0Data: F0DataModule(["corpus"]),
    data.LabelledData: LabelledDataModule(["corpus"]),
    data.UnitWaveformData: UnitWaveformDataModule(["corpus"], ["units"]),
}
SHIPPED_CLASSES = {
    modules.ExportingModule: (HubertModule, KMeansModule, LanguageModelModule, PitchModule, StyleModule, VocoderModule),
    modules.SpeakingModule: (VocoderModule,),
    FeatureExtractor: (MFCCFeatures,),
}


@pytest.mark.parametrize("contract", SHIPPED_DATA, ids=lambda contract: contract.__name__)
def test_shipped_data_modules_keep_their_contracts(contract: type) -> None:
    assert checked(SHIPPED_DATA[contract], contract, "data", "a test") is SHIPPED_DATA[contract]


def test_the_data_module_of_tokens_keeps_its_contract() -> None:
    own = [*vars(InterleavedDataModule), "row_length"]  # the last is set in its constructor
    assert set(members_of(data.TokenData)) <= {*own, "vocabulary"}


@pytest.mark.parametrize("contract", SHIPPED_CLASSES, ids=lambda contract: contract.__name__)
def test_shipped_modules_keep_their_contracts(contract: type) -> None:
    for kind in SHIPPED_CLASSES[contract]:
        missing = [name for name in members_of(contract) if not hasattr(kind, name) and not name.startswith("__")]
        assert not missing, kind


def test_shipped_tokenizers_and_vocoders_keep_their_contracts() -> None:
    tokenizer = PhoneticTokenizer(MFCCConfig().build(), KMeans(KMeansConfig(num_units=4, feature_dim=39)))
    vocoder = InverseSTFTVocoder(InverseSTFTConfig(num_units=4, channels=8, hidden_channels=8, embedding_dim=8))
    assert isinstance(tokenizer, SpeechTokenizer) and not isinstance(tokenizer, CodebookDecoder)
    assert isinstance(vocoder, UnitVocoder) and not isinstance(vocoder, CodebookDecoder)
    for contract in (SpeechTokenizer, CodebookDecoder):
        assert all(hasattr(NeuralCodec, name) for name in members_of(contract))


@pytest.mark.parametrize(
    ("contract", "module"),
    [(data.F0Data, PitchModule(PitchVQVAEConfig())), (data.WaveformData, TokenizeModule("folder"))],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_the_member_that_is_missing_is_named(contract: Any, module: LightningModule) -> None:
    module.trainer = Trainer(accelerator="cpu", logger=False)
    assert data_of(module, contract) is None
    module.trainer.datamodule = SimpleNamespace(batch_size=3)
    (name,) = members_of(contract)
    expected = f"data must have {name} .*{contract.__name__}. for {type(module).__name__}, but SimpleNamespace has no "
    with pytest.raises(ValueError, match=expected + name):
        data_of(module, contract)
    module.trainer.datamodule = SimpleNamespace(**{name: None})
    assert data_of(module, contract) is module.trainer.datamodule
