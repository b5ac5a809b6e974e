"""A model that speaks, judges of texts, and stories."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

WORDS = ["<s>", "<pad>", "<unk>", *"the cat sat on mat a dog ran off bad very".split()]


@pytest.fixture(scope="session")
def speaker(tiny_lm, speech_tokenizer):
    """The untrained model with an untrained vocoder."""
    network, text, vocabulary = tiny_lm
    torch.manual_seed(1)
    vocoder = InverseSTFTVocoder(InverseSTFTConfig(num_units=20, speakers=("anna",), embedding_dim=8, channels=16))
    return SpiritLM(network, text, vocabulary, speech_tokenizer, vocoder.eval())


def save_tokenizer(folder):
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>")
    words.save_pretrained(folder)


def save_language_model(folder, seed=0, guesses=False):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        initializer_range=0.5,
    )
    network = LlamaForCausalLM(config)
    if guesses:
        torch.nn.init.zeros_(network.lm_head.weight)
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def language_model(tmp_path_factory):
    """Folder of a language model of fourteen words."""
    return save_language_model(tmp_path_factory.mktemp("language_model"))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """Folder of a classifier for which a text is toxic if it has the word "bad"."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        pad_token_id=1,
        id2label={0: "fine", 1: "toxic"},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def stories(tmp_path):
    """Twelve whole stories, spoken and written; the last one is too short for a prompt."""
    folder = tmp_path / "stories"
    generator = torch.Generator().manual_seed(0)
    for number in range(12):
        for offset, kind in enumerate(("correct", "incorrect")):
            name = f"{2 * number + offset:03d}_{number:02d}_{kind}"
            samples = 2000 if number == 11 else 16_000 + 100 * number
            save_wav(folder / f"{name}.wav", 0.1 * torch.randn(samples, generator=generator))
            third, ending = WORDS[3 + number % 8], f"sat on the mat {'very ' * offset}off"
            (folder / f"{name}.txt").write_text(f"The cat {third}. A dog {ending}." if number < 11 else "A dog.")
    return folder
