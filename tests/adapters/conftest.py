"""A tiny base model on the disk, and an adapter of it that is not zero."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spiritlm_pl.adapters.folder import AdapterDescription, save_adapter
from spiritlm_pl.adapters.injection import put_adapter
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.lm.identity import weights_hash
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
SETTINGS = LoRA(rank=4, alpha=8)


@pytest.fixture(scope="session")
def text() -> TextTokenizer:
    return train_text_tokenizer(["the cat sat on the mat", "a dog ran off"] * 5)


@pytest.fixture(scope="session")
def vocabulary(text: TextTokenizer) -> Vocabulary:
    return Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=20, multiple_of=16)


def make_base(folder: Path, text: TextTokenizer, vocabulary: Vocabulary, tied: bool = True, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = LanguageModelConfig(config={**LLAMA, "tie_word_embeddings": tied})
    return save_lm(folder, build_network(config, vocabulary), vocabulary, text)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary) -> Path:
    return make_base(tmp_path / "base", text, vocabulary, request.param)


def adapted(base: Path, vocabulary: Vocabulary, settings: LoRA = SETTINGS, **options: Any) -> PreTrainedModel:
    """The network as it is trained, with updates that are not zero."""
    network = build_network(LanguageModelConfig(checkpoint=str(base), **options), vocabulary)
    put_adapter(network, settings, vocabulary)
    generator = torch.Generator().manual_seed(1)
    for parameter in trained(network).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


def written(folder: Path, network: PreTrainedModel, base: Path, vocabulary: Vocabulary) -> Path:
    description = AdapterDescription.of(network, SETTINGS, vocabulary, str(base), weights_hash(base))
    return save_adapter(folder, dict(network.state_dict(keep_vars=True)), description)


@pytest.fixture
def tokens(vocabulary: Vocabulary) -> Tensor:
    return torch.randint(0, vocabulary.num_tokens, (2, 24), generator=torch.Generator().manual_seed(2))
