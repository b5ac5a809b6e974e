"""Look-up of pluggable classes and functions by a registered name or a dotted path.

Names are entry points of groups `spiritlm_pl.<group>`, of this package as of any other installed one. A dotted path
names any class. If a file names it, rather than the user, the class must be trusted, since importing its module runs
code.
"""

import os
import warnings
from collections.abc import Container
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

PACKAGE = "spiritlm_pl"
GROUPS = {
    "commands": "commands of `spiritlm`",
    "corpora": "kinds of corpora that `spiritlm prepare` makes",
    "aligners": "methods of `spiritlm align`",
    "f0": "F0 extractors",
    "features": "frame features of waveforms",
    "quantizers": "quantizers of frame features",
    "speech_tokenizers": "speech tokenizers that are one class",
    "vocoders": "vocoders",
    "objectives": "objectives of language models",
    "metrics": "measurements of `spiritlm evaluate`",
    "benchmarks": "benchmarks of `spiritlm benchmark`",
    "scorers": "scorers of `spiritlm prepare preferences`",
}
TRUST = "SPIRITLM_TRUST"  # an environment variable, since worker processes inherit it


@cache
def registered(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by their names, those of this package first.

    Args:
        group: group of names, a key of `GROUPS`.

    Raises:
        ValueError: if two packages have registered the same name, or this package is installed without its names.
    """
    found: dict[str, EntryPoint] = {}
    points = entry_points(group=f"{PACKAGE}.{group}")
    for point in sorted(points, key=lambda point: not point.value.startswith(f"{PACKAGE}.")):
        if point.name in found and found[point.name].value != point.value:
            raise ValueError(
                f"names of {GROUPS[group]} must be unique, but {point.name!r} is registered as "
                f"{found[point.name].value} and as {point.value}: uninstall one of the two packages"
            )
        found.setdefault(point.name, point)
    if group != "commands" and not any(point.value.startswith(f"{PACKAGE}.") for point in found.values()):
        raise ValueError(
            f"{PACKAGE} must be installed with its names, but has none of {GROUPS[group]}: run make install again "
            "(or pip install --editable .), as its sources are newer than what is installed"
        )
    return found


def find(group: str, name: str, argument: str) -> Any:
    """Load the class or function that a name or a dotted path stands for.

    Args:
        group: group of names, a key of `GROUPS`.
        name: registered name, or a path such as `package.module.Class`.
        argument: argument that the name was given for, for the error.

    Raises:
        ValueError: if the name is neither, or is a path that is not trusted; see `check_trusted`.
    """
    points = registered(group)
    if name in points:
        return points[name].load()
    check_name(group, name, argument)
    check_trusted(name, argument)
    return load_path(name, argument)


def find_all(group: str, leave_out: Container[str] = ()) -> dict[str, Any]:
    """Load everything that is registered in a group; what cannot be loaded is left out with a warning.

    Args:
        group: group of names, a key of `GROUPS`.
        leave_out: names that are not loaded.
    """
    found = {}
    for name, point in registered(group).items():
        if name in leave_out:
            continue
        try:
            found[name] = point.load()
        except Exception as error:  # the code of another package may raise anything
            if point.value.startswith(f"{PACKAGE}."):
                raise
            warnings.warn(f"{name!r} of {GROUPS[group]} cannot be loaded from {point.value}: {error!r}", stacklevel=2)
    return found


def check_name(group: str, name: str, argument: str) -> None:
    """Check that a name is registered or a dotted path, without importing anything.

    Raises:
        ValueError: if it is neither; the message lists the registered names.
    """
    points = registered(group)
    if name not in points and not is_path(name):
        known = ", ".join(points)
        raise ValueError(
            f"{argument} must be one of {known}, or the path of a class (package.module.Class), but is {name!r} instead"
        )


def is_path(name: str) -> bool:
    """Whether a name has the form of a dotted path."""
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def load_path(path: str, argument: str) -> Any:
    """Import the class or function that a dotted path names.

    Raises:
        ValueError: if the module does not exist, or does not have the name.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module exists, but something that it imports does not
        raise ValueError(f"{argument} must be the path of a class, but there is no module {module!r}") from error
    except AttributeError as error:
        raise ValueError(f"{argument} must be the path of a class, but {module} has no {name}") from error


def path_of(kind: type) -> str:
    """Return the dotted path of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def name_of(group: str, kind: type) -> str:
    """Return the registered name of a class, or its path if it has none."""
    value = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, point in registered(group).items() if point.value == value), path_of(kind))


def trust(*names: str) -> None:
    """Allow classes that a file names to be loaded.

    Args:
        names: dotted paths of trusted classes, modules or packages.

    Raises:
        ValueError: if a name is not a dotted path.
    """
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"trust must be a class, module or package (package.module.Class), but is {name!r} instead"
            )
    os.environ[TRUST] = ",".join(dict.fromkeys([*_trusted(), *names]))


def check_trusted(path: str, where: object) -> None:
    """Check that a class that a file names may be loaded.

    Allowed are the classes of this package, those that an installed package has registered under a name, and those that
    the user trusts.

    Args:
        path: dotted path of the class.
        where: file or folder that names the class, for the error.

    Raises:
        ValueError: if the class is not allowed; no code of its module has run then.
    """
    points = [point.value.replace(":", ".") for group in GROUPS for point in registered(group).values()]
    known = [PACKAGE, *_trusted(), *points]
    if not any(f"{path}.".startswith(f"{name}.") for name in known):
        raise ValueError(
            f"classes must be of {PACKAGE}, registered by an installed package, or trusted, but {where} names {path}: "
            f"--trust {path.partition('.')[0]} runs code of that package"
        )


def trust_given(*names: str) -> None:
    """Trust the dotted paths among names that the user has typed; registered names need no trust."""
    trust(*(name for name in names if is_path(name)))


def _trusted() -> list[str]:
    return [name for name in os.environ.get(TRUST, "").split(",") if name]
