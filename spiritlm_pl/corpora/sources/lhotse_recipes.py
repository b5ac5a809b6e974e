"""Corpora for which lhotse has a recipe (LibriSpeech, MLS, TED-LIUM, AMI ...), each with arguments of its own."""

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

import lhotse
from lhotse import CutSet, RecordingSet, SupervisionSet, recipes

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.sources.lhotse_manifests import Parts, cuts_of
from spiritlm_pl.runtime.found import found_at

_FOLDERS = ("_dir", "_root", "_dir_path")  # endings of names of arguments that are folders
_OUTPUTS = ("output_dir", "manifest_dir", "workdir")  # folders that a recipe writes to, which need not exist yet


def recipe_names() -> list[str]:
    """Return the names of lhotse's recipes, sorted."""
    return sorted(name.removeprefix("prepare_") for name in dir(recipes) if name.startswith("prepare_"))


def _recipe(name: str) -> Callable[..., Any]:
    prepare: Callable[..., Any] | None = getattr(recipes, f"prepare_{name}", None)
    if prepare is None:
        raise ValueError(f"recipe must be one of lhotse ({', '.join(recipe_names())}), but is {name!r} instead")
    return prepare


def recipe_arguments(name: str) -> tuple[list[str], list[str]]:
    """Return the names of the arguments that a recipe needs, and of those that are optional.

    The folder that it writes to (`output_dir`) is in neither list, since it is chosen by `run_recipe`.

    Raises:
        ValueError: if there is no such recipe.
    """
    parameters = [p for p in inspect.signature(_recipe(name)).parameters.values() if p.name != "output_dir"]
    needed = [parameter.name for parameter in parameters if parameter.default is Parameter.empty]
    return needed, [parameter.name for parameter in parameters if parameter.name not in needed]


def recipe_table() -> str:
    """Return a page of Markdown with the arguments of each recipe of the installed lhotse."""
    lines = [
        f"# Recipes of lhotse {lhotse.__version__}",
        "",
        "`spiritlm prepare lhotse-recipes` prints this page for the lhotse that is installed. A recipe that needs",
        "`corpus_dir` alone is given the folder; all others are given their arguments by name:",
        "",
        "```sh",
        "spiritlm prepare lhotse-recipe librispeech /data/LibriSpeech data/corpora/librispeech",
        "spiritlm prepare lhotse-recipe icsi '{audio_dir: /data/icsi, transcripts_dir: /data/icsi/transcripts}' OUT",
        "```",
        "",
        "| recipe | needs | takes as well |",
        "|---|---|---|",
    ]
    for name in recipe_names():
        needed, others = (", ".join(f"`{argument}`" for argument in names) for names in recipe_arguments(name))
        lines.append(f"| {name} | {needed or 'see its own documentation'} | {others} |")
    return "\n".join(lines) + "\n"


def run_recipe(
    name: str, corpus: str | Path | Mapping[str, Any], options: Mapping[str, Any] | None, scratch: str | Path
) -> tuple[Parts, list[Skipped]]:
    """Run a recipe of lhotse on a corpus on disk; return its cuts by part, and the items that were left out.

    Args:
        name: name of the recipe, such as librispeech, mls or voxpopuli.
        corpus: folder of the corpus as it was downloaded, for recipes with an argument `corpus_dir`; or arguments of
            `lhotse.recipes.prepare_<name>` by name.
        options: further arguments of the recipe; None for none.
        scratch: folder for the files that the recipe writes (manifests, annotations that it fetches), unless it is
            given another `output_dir`. It must exist until the cuts have been read.

    Raises:
        ValueError: if there is no such recipe, or it does not take these arguments, fails, or finds nothing.
        FileNotFoundError: if a file or folder among the arguments is missing.
        NotADirectoryError: if the recipe fails, and a file was given in place of a folder.
        ModuleNotFoundError: if the recipe needs a package that is not installed.
    """
    prepare = _recipe(name)
    parameters = inspect.signature(prepare).parameters
    folder_or_arguments = corpus if isinstance(corpus, Mapping) else {"corpus_dir": str(corpus)}
    given: dict[str, Any] = {**folder_or_arguments, **(options or {})}
    needed, others = recipe_arguments(name)
    faults = [f"{argument} is missing" for argument in needed if argument not in given]
    faults += [f"{argument} is not one of them" for argument in given if argument not in parameters]
    if faults:
        takes = ", ".join((*needed, *(f"[{argument}]" for argument in others)))
        raise ValueError(
            f"arguments of the recipe {name} must be given by name, '{{name: value, ...}}', and are {takes}; "
            f"but {' and '.join(faults)}"
        )
    typed = {"corpus_dir": "corpus"} if not isinstance(corpus, Mapping) else {}
    paths = {
        argument: value
        for argument, value in given.items()
        if "Path" in str(parameters[argument].annotation) and argument not in _OUTPUTS and isinstance(value, str)
    }
    for argument, value in paths.items():
        if not Path(value).exists():
            raise FileNotFoundError(f"{typed.get(argument, argument)} must be a file or folder, but {found_at(value)}")
    if "output_dir" in parameters:
        given.setdefault("output_dir", str(scratch))
    try:
        manifests = prepare(**given)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # recipes check little, and raise errors of many kinds
        for argument, value in paths.items():
            if argument.endswith(_FOLDERS) and not Path(value).is_dir():
                raise NotADirectoryError(
                    f"{typed.get(argument, argument)} must be a folder, but {found_at(value)}"
                ) from error
        raise ValueError(f"the corpus must be laid out as {name} is, but the recipe fails: {error!r}") from error
    parts: Parts = {}
    skipped: list[Skipped] = []
    _add_parts(name, "", manifests, parts, skipped)
    if not any(parts.values()):
        raise ValueError(f"the corpus must be laid out as {name} is, but the recipe finds no recordings")
    return parts, skipped


def _add_parts(recipe: str, part: str, found: Any, parts: Parts, skipped: list[Skipped]) -> None:
    """Flatten the result of a recipe, {part: {...}}, {language: {part: {...}}} or pairs, into cuts by part."""
    if isinstance(found, tuple | list) and len(found) == 2 and isinstance(found[0], RecordingSet):
        found = {"recordings": found[0], "supervisions": found[1]}
    if isinstance(found, CutSet):
        parts.setdefault(part, []).extend(found)
    elif isinstance(found, Mapping) and isinstance(found.get("recordings"), RecordingSet):
        cuts, lost = cuts_of(found["recordings"], found.get("supervisions") or (), f"recipe {recipe}")
        parts.setdefault(part, []).extend(cuts)
        skipped += lost
    elif isinstance(found, Mapping):
        for key, inner in found.items():
            if not isinstance(inner, SupervisionSet):
                _add_parts(recipe, f"{part}-{key}" if part else str(key), inner, parts, skipped)
