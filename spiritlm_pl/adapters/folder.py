"""Folders of adapters: files that the library peft opens, and `spiritlm.json` with the base model that they belong to.

Weights are read from safetensors alone. Adapters that other programs trained on a model folder are read, too; they tell
no hash, so that their base is not checked.
"""

import json
import warnings
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from spiritlm_pl.adapters.injection import ADAPTER_NAME, peft_config
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.lm.base_model import ADAPTER_FILE, CONFIG_NAME
from spiritlm_pl.lm.identity import computation, weights_hash
from spiritlm_pl.runtime.checksums import CHECKSUMS, check_folder, read_object, record_all
from spiritlm_pl.runtime.foreign_models import WRONG_VALUES
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.model_description import ADAPTER_STAGE, DESCRIPTION_FILE, TEMPLATES
from spiritlm_pl.runtime.provenance import code_version
from spiritlm_pl.streams import differences
from spiritlm_pl.vocabulary import Vocabulary

ADAPTER = "adapter"  # key of the description in a checkpoint
WEIGHTS_FILE = "adapter_model.safetensors"  # peft's name
PREFIX = "base_model.model."  # of peft, before the names of a network
COMPUTATION = "computation"  # key of the base model's configuration in `spiritlm.json`
ROWS, PEFT_ROWS = ".rows", ".token_adapter.trainable_tokens_delta"


# What peft raises for values of a configuration that it does not check, such as rows that the model has not.
OF_PEFT = (ValueError, RuntimeError, ImportError, *WRONG_VALUES)


@dataclass(frozen=True)
class AdapterDescription:
    """What is stored with the weights of an adapter, in its folder and in checkpoints of its training.

    Attributes:
        peft: values of peft's `adapter_config.json`.
        base: base model, as it was named in the training.
        base_hash: `spiritlm_pl.lm.identity.weights_hash` of it.
        vocabulary: values of the vocabulary.
        computation: `identity.computation` of the network.
        templates: forms of the conversations that the adapted model knows, by the names of their tasks.
    """

    peft: dict[str, Any]
    base: str
    base_hash: str
    vocabulary: dict[str, Any]
    computation: dict[str, Any] = field(default_factory=dict)
    templates: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        network: PreTrainedModel,
        settings: LoRA,
        vocabulary: Vocabulary,
        base: str,
        base_hash: str,
        templates: dict[str, Any] | None = None,
    ) -> "AdapterDescription":
        """Describe the adapter of a network in which `put_adapter` has put it; see the attributes."""
        config = peft_config(network, settings, vocabulary)
        config.base_model_name_or_path, config.inference_mode = base, True
        values = json.loads(json.dumps(config.to_dict(), default=sorted))  # it holds sets
        return cls(values, base, base_hash, vocabulary.to_dict(), computation(network.config), dict(templates or {}))

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain Python, which a checkpoint holds."""
        return asdict(self)


def save_adapter(folder: str | Path, weights: dict[str, Tensor], description: AdapterDescription) -> Path:
    """Write an adapter; an earlier one there stays whole until the new one is complete.

    Args:
        folder: folder to write, which must not hold a whole model.
        weights: weights of the network by name; those that belong to no adapter are left out.
        description: what is stored beside them.

    Raises:
        ValueError: if the folder holds a whole model.
    """
    folder = Path(folder)
    check_no_model(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    own: dict[str, Any] = {"stage": ADAPTER_STAGE, "vocabulary": description.vocabulary, "code_version": code_version()}
    own |= {"base": description.base, "base_hash": description.base_hash, COMPUTATION: description.computation}
    if description.templates:
        own[TEMPLATES] = description.templates
    with temporary_folder(folder) as new:
        save_file(
            to_peft(weights, description.peft["trainable_token_indices"] or ()),
            new / WEIGHTS_FILE,
            metadata={"format": "pt"},
        )
        for name, values in ((ADAPTER_FILE, description.peft), (DESCRIPTION_FILE, own)):
            (new / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        names = sorted(path.name for path in new.iterdir())
        record_all(new)
        folder.mkdir(exist_ok=True)
        for name in (CHECKSUMS, *names):  # the checksums first, so that files of two adapters are not taken for one
            (new / name).chmod(0o644)
            (new / name).replace(folder / name)
    return folder


def check_no_model(folder: str | Path) -> None:
    """Refuse a folder for an adapter that holds a whole model, which may be the adapter's own base.

    Raises:
        ValueError: if it does.
    """
    if (Path(folder) / CONFIG_NAME).is_file():
        raise ValueError(
            f"folder of an adapter must not hold a whole model, but {folder} does: name another one (dirpath of "
            "ExportNetwork: --trainer.callbacks.init_args.dirpath)"
        )


def to_peft(weights: dict[str, Tensor], trained_rows: Collection[str]) -> dict[str, Tensor]:
    """Return the weights of an adapter under peft's names, without those of the base model and copies of tied rows.

    Args:
        weights: weights of a network in which `put_adapter` has put an adapter, by name.
        trained_rows: names of the layers whose rows are trained.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.removesuffix(ROWS) in trained_rows:
            renamed = PREFIX + name.removesuffix(ROWS) + PEFT_ROWS
        elif f".{ADAPTER_NAME}." in name:
            renamed = PREFIX + name.replace(f".{ADAPTER_NAME}.", ".")
        else:
            continue
        found[renamed] = value.contiguous()
    return found


def with_adapter(
    network: PreTrainedModel, adapter: str | Path, base: str | Path, vocabulary: Vocabulary, merged: bool = True
) -> PreTrainedModel:
    """Return a loaded model with an adapter, in evaluation mode; the model that is given is changed.

    Args:
        network: loaded model without an adapter.
        adapter: folder of the adapter.
        base: folder that the model was loaded from.
        vocabulary: layout of the model's token ids.
        merged: whether to add the updates to the matrices, which makes the model as fast as without; False keeps them
            apart, as quantized matrices need.

    Raises:
        FileNotFoundError: if a file of the adapter is missing.
        ValueError: if the adapter is damaged, of another base model, or does not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict

    folder = Path(adapter)
    _check_files(folder)
    _check_base(folder, Path(base), vocabulary, network.config)
    there = _names(folder / WEIGHTS_FILE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys, which are compared below
            found = PeftModel.from_pretrained(cast(Any, network), str(folder), ADAPTER_NAME)
            expected = set(get_peft_model_state_dict(found, save_embedding_layers=False))
            if there != expected:
                name = min(there ^ expected)
                holds = "holds" if name in there else "lacks"
                raise ValueError(f"{folder / WEIGHTS_FILE} {holds} {name}")
            result: Any = found.merge_and_unload(safe_merge=True) if merged else found.get_base_model()
    except OF_PEFT as error:
        lacks = f"{folder / WEIGHTS_FILE} lacks {error}" if isinstance(error, KeyError) else str(error)
        told = " ".join(lacks.split())
        raise ValueError(f"adapter must fit the model {base}, but {folder} does not: {told[:300]}") from error
    return cast(PreTrainedModel, result.requires_grad_(False).eval())


def _check_files(folder: Path) -> None:
    """Check that the folder holds an undamaged adapter of matrices, in safetensors.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if it holds something else.
    """
    if not (folder / ADAPTER_FILE).is_file():
        holds = "is a whole model" if (folder / CONFIG_NAME).is_file() else f"holds no {ADAPTER_FILE}"
        raise FileNotFoundError(f"adapter must be the folder of an adapter, but {folder} {holds}")
    if not (folder / WEIGHTS_FILE).is_file():
        raise FileNotFoundError(f"adapter must have its weights in {WEIGHTS_FILE}, but {folder} holds no such file")
    check_folder(folder)
    config = read_object(folder / ADAPTER_FILE)
    if config.get("peft_type") != "LORA":
        raise ValueError(f"adapter must be one of peft_type LORA, but {folder} is of {config.get('peft_type')} instead")
    if config.get("megatron_config") is not None:  # with which peft imports whatever module `megatron_core` names
        raise ValueError(f"adapter must be one of transformers, but {folder} has a megatron_config")


def _check_base(folder: Path, base: Path, vocabulary: Vocabulary, config: PreTrainedConfig) -> None:
    """Compare the base model and the vocabulary of an adapter's training with those that it is to be used with.

    Raises:
        ValueError: if they differ, or `spiritlm.json` is of something else.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        return
    description = read_object(folder / DESCRIPTION_FILE)
    stage = description.get("stage")
    if stage != ADAPTER_STAGE:
        raise ValueError(f"stage of {folder / DESCRIPTION_FILE} must be {ADAPTER_STAGE!r}, but is {stage!r}")
    for name, form in (("base_hash", str), ("vocabulary", dict), (COMPUTATION, dict)):
        if not isinstance(description.get(name), form | None):
            raise ValueError(
                f"{name} of {folder / DESCRIPTION_FILE} must be of type {form.__name__}, but is {description[name]!r}"
            )
    trained = description.get("base_hash")
    if trained is not None and trained != (own := weights_hash(base)):
        raise ValueError(
            f"adapter must be used with the base model that it was trained on, {description.get('base')} with the hash "
            f"{trained[:12]}, but {base} has {own[:12]} instead"
        )
    theirs, ours = description.get("vocabulary"), vocabulary.to_dict()
    if theirs is not None and theirs != ours:
        of_adapter, of_model = differences(theirs, ours)
        raise ValueError(f"vocabulary of {base} must be the adapter's, with {of_adapter}, but is with {of_model}")
    check_computation(description.get(COMPUTATION) or {}, computation(config), base)


def check_computation(trained: dict[str, Any], own: dict[str, Any], base: str | Path) -> None:
    """Compare the `identity.computation` of an adapter's training with that of the model that it is to be used with.

    Values are compared where both have them: other versions of `transformers` know others.

    Args:
        trained: that of the training; empty for adapters of other programs.
        own: that of the model.
        base: name of the model, for the message.

    Raises:
        ValueError: if they differ.
    """
    names = sorted(trained.keys() & own.keys())
    of_adapter, of_model = differences({name: trained[name] for name in names}, {name: own[name] for name in names})
    if of_adapter or of_model:
        raise ValueError(f"configuration of {base} must be the adapter's, with {of_adapter}, but is with {of_model}")


def _names(file: Path) -> set[str]:
    try:
        with safe_open(file, framework="pt") as opened:
            return set(opened.keys())
    except SafetensorError as error:
        raise ValueError(f"adapter must hold readable weights, but {file} is damaged: {error}") from error
