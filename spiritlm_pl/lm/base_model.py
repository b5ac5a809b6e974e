"""Reading of base models: whole causal language models of text whose code is part of `transformers`."""

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

from spiritlm_pl.lm.rotary_names import check_rotary_base
from spiritlm_pl.runtime.checksums import check_folder, checked
from spiritlm_pl.runtime.foreign_models import WRONG_VALUES
from spiritlm_pl.runtime.launch import is_first_of_machine
from spiritlm_pl.runtime.limits import check_layers

CONFIG_NAME = "config.json"
# What transformers raises over wrong values in a configuration, beside ValueError.
ADAPTER_FILE = "adapter_config.json"  # file in which the library peft describes an adapter
DESCRIPTIONS = ("*.json", "*.model", "*.txt")  # configuration, index of the weights, and text tokenizer


def model_folder(base: str, argument: str = "base") -> Path:
    """Return the folder of a model, after downloading it to the hub's cache where `base` is not a folder.

    Args:
        base: folder of a model, or its name on the Hugging Face hub.
        argument: name of the argument that `base` was given as, for error messages.

    Raises:
        ValueError: if `base` is neither a folder nor a model on the hub, or the download fails.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        folder = Path(snapshot_download(base, allow_patterns=[*DESCRIPTIONS, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(base, allow_patterns=[*DESCRIPTIONS, "*.bin"]))
    except (OSError, ValueError) as error:  # no network, no such model, no access, or not a valid name
        raise ValueError(
            f"{argument} must be a folder or a reachable model of the hub, but is {base!r}: {error}"
        ) from error
    return folder


def checkpoint_config(checkpoint: str) -> PreTrainedConfig:
    """Read the configuration of a causal language model.

    Args:
        checkpoint: folder of a model, or its name on the Hugging Face hub.

    Raises:
        ValueError: if `checkpoint` is neither, or the model is not a causal language model of text that `transformers`
            can build.
    """
    if (Path(checkpoint) / ADAPTER_FILE).is_file():
        raise ValueError(
            f"checkpoint must be a whole model, but {checkpoint!r} holds an adapter (LoRA); merge it with its base "
            "first: spiritlm merge-adapter"
        )
    checked(Path(checkpoint) / CONFIG_NAME)
    try:
        values, _ = PreTrainedConfig.get_config_dict(checkpoint)
    except (OSError, ValueError) as error:
        raise _unreadable(checkpoint) from error
    _check_known(values, checkpoint)
    check_rotary_base(values, checkpoint)
    check_layers(values, checkpoint)
    try:
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    except (OSError, ValueError, *WRONG_VALUES) as error:
        raise _unreadable(checkpoint) from error
    _check_text_model(config, checkpoint)
    return config


def config_of(values: dict[str, Any], where: str | Path) -> PreTrainedConfig:
    """Return the configuration that has these values.

    Args:
        values: values by name, model_type among them.
        where: what holds the values, for messages.

    Raises:
        ValueError: if a value is not of its kind, or the values do not fit together.
    """
    check_layers(values, where)
    try:
        found: PreTrainedConfig = AutoConfig.for_model(**values)
    except (ValueError, *WRONG_VALUES) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{where} must be a model's configuration, but is not: {told}") from error
    return found


def load_whole(checkpoint: str | Path, **options: Any) -> PreTrainedModel:
    """Load a model, and make sure that every weight was found, since `transformers` draws missing ones at random.

    Args:
        checkpoint: folder of a model, or its name on the Hugging Face hub.
        options: further arguments of `from_pretrained`.

    Raises:
        ValueError: if the checkpoint lacks some of the weights.
    """
    if is_first_of_machine():  # one of those that read it is enough
        check_folder(checkpoint)
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
        raise ValueError(f"checkpoint must be a causal language model, but {checkpoint!r} ({config.model_type}) is not")
