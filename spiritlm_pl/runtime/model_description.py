"""The file `spiritlm.json` of a model folder: the meaning of the ids above those of text, without loading the model."""

from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.checksums import read_object, values_of
from spiritlm_pl.runtime.found import lacks
from spiritlm_pl.vocabulary import Vocabulary

DESCRIPTION_FILE = "spiritlm.json"
CONFIG_FILE = "config.json"  # configuration of `transformers`
STAGE = "language_model"
ADAPTER_STAGE = "adapter"
TEMPLATES = "templates"  # key of the forms of conversations that a model was tuned on, by the names of their tasks
LM, SPEECH_TOKENIZER, VOCODER = "lm", "speech_tokenizer", "vocoder"  # names of the folders of a model's parts


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read the `spiritlm.json` of a model folder.

    Raises:
        ValueError: if the folder has none, or it is damaged or of another stage.
    """
    path = Path(folder) / DESCRIPTION_FILE
    if not path.is_file():
        raise ValueError(f"language model must be a folder with {DESCRIPTION_FILE}, but {lacks(folder)}")
    description = read_object(path)
    if description.get("stage") == ADAPTER_STAGE:
        raise ValueError(
            f"language model must be a whole one, but {folder} is an adapter: give the folder of its base model, and "
            "this one as adapter"
        )
    if description.get("stage") != STAGE:
        raise ValueError(f"stage of {path} must be {STAGE!r}, but is {description.get('stage')!r} instead")
    return description


def read_vocabulary(folder: str | Path) -> Vocabulary:
    """Read the vocabulary of a model folder.

    Raises:
        ValueError: as by `read_description`, and if this version cannot read the vocabulary.
    """
    description = read_description(folder)
    with values_of(Path(folder) / DESCRIPTION_FILE):
        return Vocabulary.from_dict(description["vocabulary"])


def stored_vocabulary(folder: str | Path) -> Vocabulary | None:
    """Read the vocabulary of a folder; None where it has no `spiritlm.json`, and for a hub name."""
    return read_vocabulary(folder) if (Path(folder) / DESCRIPTION_FILE).is_file() else None


def stored_templates(folder: str | Path) -> dict[str, Any]:
    """Read the templates of conversations that a model was tuned on, as dictionaries; none for a hub name.

    Args:
        folder: folder of a model, or of an adapter, which knows those of its base model, too.

    Raises:
        ValueError: if its `spiritlm.json` is damaged or of another stage.
    """
    path = Path(folder) / DESCRIPTION_FILE
    if not path.is_file():
        return {}
    of_adapter = read_object(path).get("stage") == ADAPTER_STAGE
    description = read_object(path) if of_adapter else read_description(folder)
    with values_of(path):
        return dict(description.get(TEMPLATES, {}))
