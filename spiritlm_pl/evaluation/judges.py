"""Networks of `transformers` that judge texts, loaded from a folder or by name, for causal and for labelling ones.

Weights come from safetensors, or from a pickle that holds nothing but tensors; code of a checkpoint is not run.
"""

import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")  # with or without its owner
HUB_SECONDS = 10.0  # to wait for an answer of the hub


def load_judge(
    argument: str, opener: Any, checkpoint: str | Path, device: str | torch.device = "cpu"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a network in evaluation mode and its text tokenizer.

    Args:
        argument: name of the argument that gives the checkpoint, for errors.
        opener: class of `transformers` that opens networks of the kind, such as `AutoModelForCausalLM`.
        checkpoint: folder of a model, or its name on the Hugging Face hub.
        device: device that the network computes on.

    Raises:
        ValueError: if there is no such folder or name, the hub cannot be reached, it holds another kind of model, or
            its weights are damaged or incomplete.
    """
    from transformers import AutoTokenizer

    local = Path(checkpoint).is_dir()
    if not local and not HUB_NAME.fullmatch(str(checkpoint)):
        raise ValueError(f"{argument} must be a model folder or a hub name, but is {checkpoint} instead")
    if local and not (Path(checkpoint) / "config.json").is_file():
        raise ValueError(f"{argument} must be a model folder with config.json, but {checkpoint} has none")
    source = str(checkpoint)
    local = local or not _on_hub(argument, source)
    try:
        loaded: Any = opener.from_pretrained(
            source,
            local_files_only=local,
            weights_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=local, trust_remote_code=False)
    except Exception as error:  # of many kinds, depending on the fault in the files
        reason = _reason(error)
        raise ValueError(f"{argument} must be a model that {opener.__name__} opens, but {source}: {reason}") from error
    network, found = loaded
    lacking = sorted(map(str, found["missing_keys"]))
    if lacking:  # transformers would draw them at random
        kind = opener.__name__.removeprefix("AutoModelFor")
        raise ValueError(f"{argument} must hold all weights of a {kind} model, but {source} lacks {lacking[0]}")
    rows = len(network.get_input_embeddings().weight)
    if len(tokenizer) > rows:
        raise ValueError(
            f"{argument} must have a text tokenizer of its model, but in {source} it has {len(tokenizer)} tokens, and "
            f"the model has {rows}"
        )
    if not _knows_words(tokenizer):
        raise ValueError(f"{argument} must have a text tokenizer that knows words, but in {source} it knows none")
    return network.to(device).eval(), tokenizer


def _on_hub(argument: str, name: str) -> bool:
    """Return whether the hub has a model, which one short question tells; False if it is in the local cache alone.

    Raises:
        ValueError: if neither has it.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import RepositoryNotFoundError

    rule = f"{argument} must be a model folder or a hub name, but {name} is no folder"
    try:
        HfApi().model_info(name, timeout=HUB_SECONDS)
    except RepositoryNotFoundError as error:
        raise ValueError(f"{rule}, and the hub has none of that name") from error
    except Exception as error:  # of whichever library the hub's client speaks with
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return False
        raise ValueError(
            f"{rule}, is not in the local cache, and the hub cannot be reached ({_reason(error)})"
        ) from error
    return True


def _knows_words(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether any token has a letter or digit; where its files are missing, `transformers` makes one without."""
    added = set(tokenizer.all_special_tokens)
    return any(token not in added and any(map(str.isalnum, token)) for token in tokenizer.get_vocab())


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "its weights are damaged, or hold more than tensors"
    return " ".join(str(error).split())[:200]


def longest_text(network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Return the largest number of tokens that a network and its tokenizer take; None if neither tells."""
    told = getattr(network.config, "max_position_embeddings", None)
    if told is not None and network.config.model_type in ("roberta", "xlm-roberta", "camembert"):
        told -= 2  # positions of RoBERTa begin behind that of padding
    limits = [limit for limit in (told, tokenizer.model_max_length) if isinstance(limit, int) and 0 < limit < 1 << 20]
    return min(limits, default=None)
