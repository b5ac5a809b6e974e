"""Templates by which a tuned model is asked: those that its folder keeps, by the names that users type."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiritlm_pl.conversations.template import RECORDS, ConversationTemplate, read_template
from spiritlm_pl.generation.loading import ModelFolders
from spiritlm_pl.interop.release.layout import Release
from spiritlm_pl.runtime.model_description import stored_templates

CHAT = "chat"  # what users call the template of conversations, which folders keep as records
HOW = "spiritlm build-conversations and fit --config tune/base_7b tune it on some"


def trained_templates(
    model: str | Path | ModelFolders, adapter: str | Path | None = None
) -> dict[str, ConversationTemplate]:
    """Read the templates that a model was tuned on, by the names of their tasks, and "chat" for conversations.

    Args:
        model: model folder or its parts; or directory of the published release, which has none.
        adapter: folder of an adapter of the model, whose templates take precedence; None for none.

    Raises:
        ValueError: if a folder's `spiritlm.json` is damaged.
    """
    known: dict[str, Any] = {}
    if isinstance(model, ModelFolders) or not Release.is_at(model):
        folders = model if isinstance(model, ModelFolders) else ModelFolders.find(model)
        known = stored_templates(folders.lm)
    if adapter is not None:
        known |= stored_templates(adapter)
    return {CHAT if name == RECORDS else name: ConversationTemplate.from_dict(values) for name, values in known.items()}


def chosen_template(known: Mapping[str, ConversationTemplate], name: str | None = None) -> ConversationTemplate:
    """Return a template that a model was tuned on.

    Args:
        known: templates of the model by their names.
        name: name of the template; None for that of conversations, or for the only one.

    Raises:
        ValueError: if the model was not tuned on it, or None leaves open which one of several is meant.
    """
    if not known:
        asked = "a template" if name is None else f"template {name}"
        raise ValueError(f"model must be one that was tuned on conversations to be asked by {asked}, but is not: {HOW}")
    if name is None:
        name = CHAT if CHAT in known else next(iter(known)) if len(known) == 1 else ""
    if name not in known:
        raise ValueError(
            f"template must be one that the model was tuned on ({', '.join(known)}), but is {name or 'left out'}"
        )
    return known[name]


def find_template(known: Mapping[str, ConversationTemplate], source: str) -> ConversationTemplate:
    """Return a template that a model was tuned on by its name, or that of a YAML file, which is taken as given.

    Raises:
        ValueError: as by `chosen_template`, and if the file is no template.
        FileNotFoundError: if a path is given, and there is no such file.
    """
    if source not in known and Path(source).suffix.lower() in (".yaml", ".yml"):
        return read_template(source)
    return chosen_template(known, source)
