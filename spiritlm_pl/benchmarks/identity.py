"""Identity of a model and of data in results, so that results of two of them never end in one table row."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

SAMPLE = 64  # values at both ends of a weight that its hash is made from


def model_identity(model: "SpiritLM") -> dict[str, str | None]:
    """Return hashes of the language model and of the speech tokenizer (None for none).

    Both are made from the vocabulary, the names and shapes of all weights, and some values of each: quick for 7B, and
    different for any two models that were trained.
    """
    tokenizer = model.speech_tokenizer
    return {
        "language_model": _hash(model.model, json.dumps(model.vocabulary.to_dict(), sort_keys=True)),
        "speech_tokenizer": _hash(tokenizer, "") if isinstance(tokenizer, nn.Module) else None,
        "dtype": str(model.model.dtype).removeprefix("torch."),
    }


def items_hash(items: Iterable[Any]) -> str:
    """Hash the ids, names and labels of items; their audio may be mended in the middle of a run."""
    digest = sha256()
    for item in items:
        digest.update(json.dumps([item.id, getattr(item, "names", ()), getattr(item, "labels", {})]).encode())
    return digest.hexdigest()[:16]


def _hash(network: nn.Module, description: str) -> str:
    digest = sha256(description.encode())
    for name, values in sorted(network.state_dict().items()):
        flat = values.detach().reshape(-1)
        some = [*flat[:SAMPLE].tolist(), *flat[-SAMPLE:].tolist()]
        digest.update(f"{name} {tuple(values.shape)} {some}".encode())
    return digest.hexdigest()[:16]
