"""What can be a base: a whole causal language model of text, whose code `transformers` has."""

from pathlib import Path
from typing import Any, cast

import transformers
from huggingface_hub import snapshot_download
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

ADAPTER_FILE = "adapter_config.json"  # of the library peft
DESCRIPTIONS = ("*.json", "*.model", "*.txt")  # configuration, weights' index and text tokenizer


def model_folder(base: str, argument: str = "base") -> Path:
    """The folder of a model, downloaded into the hub's cache where `base` is no folder.

    Args:
        base: folder or hub name.
        argument: what it is called in errors.

    Raises:
        ValueError: if it is neither, or cannot be downloaded.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        folder = Path(snapshot_download(base, allow_patterns=[*DESCRIPTIONS, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(base, allow_patterns=[*DESCRIPTIONS, "*.bin"]))
    except (OSError, ValueError) as error:  # no network, no such model, no access, no name
        raise ValueError(
            f"{argument} must be a folder or a hub model within reach, but is {base!r}: {error}"
        ) from error
    return folder


def checkpoint_config(checkpoint: str) -> PreTrainedConfig:
    """The configuration of a causal language model.

    Args:
        checkpoint: model folder or hub name.

    Raises:
        ValueError: if it is neither, or the model is no causal language model of text that `transformers` can build.
    """
    if (Path(checkpoint) / ADAPTER_FILE).is_file():
        raise ValueError(
            f"checkpoint must be a whole model, but {checkpoint!r} holds an adapter (LoRA); merge it with its base "
            "first: merge_and_unload() of peft, then save_pretrained()"
        )
    try:
        values, _ = PreTrainedConfig.get_config_dict(checkpoint)
    except (OSError, ValueError) as error:
        raise _unreadable(checkpoint) from error
    _check_known(values, checkpoint)
    try:
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unreadable(checkpoint) from error
    _check_text_model(config, checkpoint)
    return config


def load_whole(checkpoint: str | Path, **options: Any) -> PreTrainedModel:
    """A model of which every weight was found: `transformers` draws those that were not at random.

    Args:
        checkpoint: model folder or hub name.
        options: of `from_pretrained`.

    Raises:
        ValueError: if the checkpoint lacks some.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True, **options)
    network, found = loaded
    if found["missing_keys"]:
        lacking = min(found["missing_keys"])
        raise ValueError(f"checkpoint must hold all weights of the model, but {str(checkpoint)!r} lacks {lacking}")
    return cast(PreTrainedModel, network)


def _unreadable(checkpoint: str) -> ValueError:
    rule = "have a readable config.json" if Path(checkpoint).exists() else "be a folder or a hub name"
    return ValueError(f"checkpoint must {rule}, but is {checkpoint!r}")


def _check_known(values: dict[str, Any], checkpoint: str) -> None:
    kind = values.get("model_type")
    if kind in CONFIG_MAPPING:
        return
    here = f"transformers {transformers.__version__}"
    if "auto_map" in values:
        raise ValueError(
            f"checkpoint must be a model that {here} has itself, but {checkpoint!r} ({kind}) brings code of its own, "
            "and code from a checkpoint is not run"
        )
    if kind is not None:
        raise ValueError(f"model_type must be one that {here} knows, but is {kind!r} in {checkpoint!r}")


def _check_text_model(config: PreTrainedConfig, checkpoint: str) -> None:
    if not config.is_encoder_decoder and config.get_text_config(decoder=True) is not config:
        raise ValueError(
            f"checkpoint must be a language model alone, but {checkpoint!r} ({config.model_type}) wraps one for images "
            "or sound; save its text model first (docs/own-corpus.md shows how)"
        )
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"checkpoint must be a causal language model, but {checkpoint!r} ({config.model_type}) is none"
        )
