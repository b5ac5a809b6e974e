"""A model folder with every part, all of them tiny and untrained."""

import pytest
import soundfile
import torch

from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

SIZES = {  # of a small network, whatever its family
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": None,
}


@pytest.fixture(scope="session")
def model_folder(tiny_lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    network, text, vocabulary = tiny_lm
    torch.manual_seed(0)  # whatever ran before
    save_lm(folder / "lm", network, vocabulary, text)
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=20, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids)
    PhoneticTokenizer(features, quantizer).save(folder / "speech_tokenizer")
    config = InverseSTFTConfig(num_units=20, speakers=("anna", "bert"), embedding_dim=8, channels=16)
    save_network(folder / "vocoder", InverseSTFTVocoder(config), "vocoder")
    time = torch.arange(44_100) / 44_100
    stereo = torch.stack([torch.sin(2 * torch.pi * 200 * time), torch.zeros(44_100)], dim=1)
    soundfile.write(folder / "tone.wav", stereo.numpy(), 44_100)
    return folder
