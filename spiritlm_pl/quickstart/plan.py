"""Plans of the quickstart: stages that YAML files beside this one list, filled in for one machine and one size."""

import shlex
import shutil
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf

from spiritlm_pl.cli.configs import find_config
from spiritlm_pl.corpora.debian import find_packages, given_packages, package_folder
from spiritlm_pl.corpora.sources.amazon_queen import PACKAGE
from spiritlm_pl.corpora.sources.prompts import PACKAGES
from spiritlm_pl.quickstart.stage import ROOT, Stage
from spiritlm_pl.runtime.devices import cpu_has_bfloat16

Variant = Literal["base", "expressive"]
SHORTEST_RUN = 4  # optimizer steps
APT, SYNTHETIC = "apt", "synthetic"  # sources of real speech, apart from paths
STYLED = 1000  # largest number of sentences of a corpus of spoken styles
CONTRASTED = 128  # smallest number of sentences of the corpus of contrasts: fewer leave too few held-out pairs


@cache
def plan_file(variant: Variant) -> dict[str, Any]:
    """Read the plan of a variant, with the variables and the shared stages of the plan that it extends.

    Returns:
        Mapping with `variables`, `stages` by name in their order, and `sources`: changes of stages by source of speech.
    """
    text = (files("spiritlm_pl.quickstart") / f"{variant}.yaml").read_text(encoding="utf-8")
    plan: dict[str, Any] = yaml.safe_load(text)
    if "extends" not in plan:
        return plan
    base, shared = plan_file(plan["extends"]), plan["shared"]
    sources = {
        source: {name: changes[name] for name in shared if name in changes} | plan["sources"].get(source, {})
        for source, changes in (dict.fromkeys(plan["sources"], {}) | base["sources"]).items()
    }
    stages = {name: base["stages"][name] for name in shared} | plan["stages"]
    return plan | {"variables": base["variables"] | plan["variables"], "stages": stages, "sources": sources}


def variables(variant: Variant) -> dict[str, str]:
    """Return the variables of a plan, such as the folders `model` and `reports`, with all names filled in."""
    settings = OmegaConf.create({"root": str(ROOT), **plan_file(variant)["variables"]})
    found = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(found, dict)
    return {str(name): str(value) for name, value in found.items()}


def found_source(source: str) -> str:
    """Resolve the source `auto` for this machine; other sources are returned unchanged.

    Raises:
        ValueError: if the source is neither `auto`, `apt`, `synthetic` nor a path that exists.
    """
    if source == "auto":
        return APT if shutil.which("apt-get") else SYNTHETIC
    if source not in (APT, SYNTHETIC) and not Path(source).exists():
        raise ValueError(f"source must be auto, apt, synthetic, or a folder or .deb that exists, but is {source!r}")
    return source


def _changes(source: str) -> tuple[str, ...]:
    """Return the names of the plan's `sources` that hold for a source of speech, in the order in which they apply."""
    if source == APT:
        return ()
    if source == SYNTHETIC:
        return ("synthetic",)
    acted = find_packages([PACKAGE], package_folder(Path(source)))
    return ("packages",) if acted else ("packages", "packages_without_acted_speech")


def check_packages(stages: Iterable[Stage]) -> None:
    """Refuse a source without the packages of the prompts before a stage that reads them has begun.

    Args:
        stages: stages that are to run.

    Raises:
        PackageError: if a package is missing.
    """
    for words in (words for stage in stages for words in stage.commands if words[1] == "debian_prompts"):
        for given in (word.removeprefix("--source=") for word in words if word.startswith("--source=")):
            given_packages(PACKAGES, Path(given))


def quickstart_stages(variant: Variant, source: str, budget: float, stories: int) -> list[Stage]:
    """Return all stages of a variant, each after those it needs.

    Args:
        variant: base or expressive.
        source: source of the real speech, as in `quickstart`.
        budget: factor that all numbers of training steps are multiplied by.
        stories: number of spoken stories, for training and test.

    Raises:
        ValueError: if the source does not exist.
    """
    source = found_source(source)
    styled = min(STYLED, 2 * stories)
    contrasted = max(CONTRASTED, styled // 3)
    plan = plan_file(variant)
    sizes = {"stories": str(stories), "styled": str(styled), "contrasted": str(contrasted)}
    values = variables(variant) | sizes | {"source": source}
    wanted = {"source": source, "budget": budget, "stories": stories}
    stages: list[Stage] = []
    for name, settings in plan["stages"].items():
        for change in _changes(source):
            settings = settings | plan["sources"].get(change, {}).get(name, {})
        filled = {
            "needs": tuple(settings.get("needs", ())),
            "run_folders": tuple(Template(folder).substitute(values) for folder in settings.get("run_folders", ())),
            "makes": tuple(Template(path).substitute(values) for path in settings.get("makes", ())),
            "commands": tuple(_command(line, values, budget) for line in settings["commands"]),
        }
        needed = [stage for stage in stages if stage.name in filled["needs"]]
        reads = dict.fromkeys(path for stage in needed for path in (*stage.reads, *stage.makes))
        stages.append(Stage(name=name, settings=wanted, reads=tuple(reads), **(settings | filled)))
    return stages


def _command(line: str, values: dict[str, str], budget: float) -> tuple[str, ...]:
    """Split a command into words as a shell does, then fill in the variables, so that their spaces split nothing."""
    words = tuple(Template(word).substitute(values) for word in shlex.split(line))
    return (*words, *fit_options(budget, words[2::2])) if words[0] == "fit" else words


def fit_options(budget: float, configs: tuple[str, ...]) -> tuple[str, ...]:
    """Return options that scale a training's steps by the budget and choose a precision for this processor.

    The training has at least one validation, at its end.

    Args:
        budget: factor that the number of steps is multiplied by.
        configs: names of the configuration and its overlays, of which the last that has a setting decides.
    """
    settings = [OmegaConf.load(find_config(config)) for config in configs]
    steps, interval, precision = (
        next((found for one in reversed(settings) if (found := OmegaConf.select(one, f"trainer.{name}"))), None)
        for name in ("max_steps", "val_check_interval", "precision")
    )
    options = []
    if budget != 1 and steps is not None:
        count = max(SHORTEST_RUN, round(steps * budget))
        options.append(f"--trainer.max_steps={count}")
        if interval is not None and interval > count:
            options.append(f"--trainer.val_check_interval={count}")
    if precision == "bf16-mixed" and not cpu_has_bfloat16():
        options.append("--trainer.precision=32-true")
    return tuple(options)
