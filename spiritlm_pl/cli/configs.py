"""Look-up of configurations by name, such as `lm/base_7b`, which works from any folder."""

import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from spiritlm_pl.runtime.found import found_at

CONFIG_OPTIONS = ("--config", "-c")
PARTS = "parts/"  # in front of the name of a part of configurations
# Options that take one.
OF_PARTS = ("--model", "--data", "--trainer.strategy", "--trainer.logger", "--trainer.callbacks")
# Earlier name of a shipped configuration -> its present name.
OLDER_CONFIGS: dict[str, str] = {
    "style/base_judge": "style/base_classifier",
    "style/base_speaker_judge": "style/base_speaker_classifier",
    "style/quickstart_judge": "style/quickstart_classifier",
    "style/quickstart_judge_dialogue": "style/quickstart_classifier_dialogue",
    "style/quickstart_speaker_judge": "style/quickstart_speaker_classifier",
}


def config_folder() -> Path:
    """Return the folder of the shipped configurations."""
    return Path(str(files("spiritlm_pl.conf")))


def shipped_configs() -> list[str]:
    """List the names of the runnable shipped configurations, such as `lm/base_7b`, without `parts/`."""
    root = config_folder().resolve()
    paths = (path.relative_to(root) for path in root.rglob("*.yaml"))
    return sorted(str(path.with_suffix("")) for path in paths if path.parts[0] != "parts")


def find_config(name: str) -> Path:
    """Find the file of a configuration: the path itself if it exists, else the shipped one of this name.

    A name that a shipped configuration had in an earlier version is accepted with a warning that tells the present one.

    Args:
        name: a path, or a name below `conf/`, with or without `conf/` and `.yaml`.

    Raises:
        FileNotFoundError: if there is neither; the message names the nearest shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    relative = name.removeprefix("conf/").removesuffix(".yaml")
    shipped = config_folder() / f"{relative}.yaml"
    if shipped.is_file():
        return shipped
    if relative in OLDER_CONFIGS:
        present = OLDER_CONFIGS[relative]
        warnings.warn(
            f"configuration {relative} is now {present}, and the folders that it writes are renamed alike",
            FutureWarning,
            stacklevel=2,
        )
        return config_folder() / f"{present}.yaml"
    known = shipped_configs()
    near = get_close_matches(relative, known, n=3, cutoff=0.4)
    kinds = dict.fromkeys(one.partition("/")[0] for one in known)
    told = f"such as {', '.join(near)}" if near else f"such as lm/base_quickstart; of {', '.join(kinds)}"
    raise FileNotFoundError(
        f"--config must be a file or one of the shipped configurations ({told}), but is {name!r} instead"
    )


def resolve_configs(arguments: list[str]) -> list[str]:
    """Replace names of configurations after `--config`, and of their parts as values of `OF_PARTS`, by their files.

    Raises:
        FileNotFoundError: if a configuration or a part does not exist.
        ValueError: if a file is not YAML, or holds no settings.
    """
    resolved = list(arguments)
    for index, argument in enumerate(arguments):
        option, separator, value = argument.partition("=")
        if separator and option in CONFIG_OPTIONS:
            resolved[index] = f"{option}={_checked(find_config(value))}"
        elif index > 0 and arguments[index - 1] in CONFIG_OPTIONS:
            resolved[index] = str(_checked(find_config(argument)))
        elif separator and option in OF_PARTS and value.startswith(PARTS):
            resolved[index] = f"{option}={_part(value, option)}"
        elif index > 0 and arguments[index - 1] in OF_PARTS and argument.startswith(PARTS):
            resolved[index] = str(_part(argument, arguments[index - 1]))
    return resolved


def check_configs(words: Sequence[str]) -> None:
    """Check the files that a command line names after `--config`, for a command that has no shipped ones.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a file is not YAML, or holds no settings.
    """
    for before, word in pairwise(["", *words]):
        option, separator, value = word.partition("=")
        if before == "--config" or (separator and option == "--config"):
            path = Path(word if before == "--config" else value).expanduser()
            if not path.is_file():
                raise FileNotFoundError(f"--config must be a YAML file, but {found_at(path)}")
            _checked(path)


def _part(name: str, option: str) -> Path:
    """Find the file of a part of configurations: the path itself if it exists, else the shipped one of this name."""
    if Path(name).is_file():
        return Path(name)
    root = config_folder()
    path = root / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        kind = path.parent if path.parent.is_dir() else root / PARTS
        names = ", ".join(sorted(str(one.relative_to(root).with_suffix("")) for one in kind.rglob("*.yaml")))
        raise FileNotFoundError(f"{option} must be one of the shipped parts ({names}), but is {name!r} instead")
    return path


def config_contents(name: str) -> list[Any]:
    """Return the values of a configuration, and of the files that it names, as `config_files` finds them."""
    return [*config_files(name).values()]


def config_files(name: str) -> dict[Path, Any]:
    """Return the values of a configuration, and of the files that it names, such as `../parts/model/hubert_tiny.yaml`.

    Args:
        name: name or path of the configuration, as `find_config` takes it. Parts may name further parts; their paths
            are relative to the file that names them.

    Returns:
        Values by the resolved path of their file, the configuration itself first.
    """
    first = find_config(name)
    found: dict[Path, Any] = {}
    waiting = [first.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = yaml.safe_load(file.read_text(encoding="utf-8"))
            named = [(file.parent / text).resolve() for text in _strings(found[file]) if text.endswith(".yaml")]
            waiting += [part for part in named if part.is_file()]
    return found


def _strings(value: object) -> list[str]:
    """Return all strings among the values of a configuration."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _strings(one)]


def _checked(path: Path) -> Path:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config must be YAML, but {path} is not: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else "a list" if isinstance(content, list) else "a value"
        raise ValueError(f"--config must hold settings by their names, but {path} holds {found}")
    return path
