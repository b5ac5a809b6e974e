"""Messages that name the optional dependency a command lacks and the command that installs it."""

from importlib.metadata import PackageNotFoundError, distribution, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DISTRIBUTION = "spiritlm-pl"


def extras_with(module: str) -> list[str]:
    """List the extras of this package that bring a module, in the order of pyproject.toml.

    Args:
        module: name of a module that cannot be imported, such as "lightning.pytorch".
    """
    wanted = canonicalize_name(module.partition(".")[0])
    return [extra for name, extra in _optional() if name == wanted]


def check_extra(extra: str, command: str) -> None:
    """Raise an error before a command starts if packages that it needs are not installed; all are named at once.

    Args:
        extra: optional dependency group whose packages must all be installed, with those of the groups it includes.
        command: name of the command, for the message.

    Raises:
        ModuleNotFoundError: if a package of the extra is not installed.
    """
    missing = _missing(extra)
    if missing:
        raise ModuleNotFoundError(
            f'spiritlm {command} needs {", ".join(missing)}: pip install "{DISTRIBUTION}[{extra}]"'
        )


def _missing(extra: str) -> list[str]:
    names = [name for name, brought_by in _optional() if brought_by == extra and name != DISTRIBUTION]
    inner = [part for found in _requirements() if _extra(found) == extra for part in sorted(found.extras)]
    return [part for name in inner for part in _missing(name)] + [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:  # run from the source tree, without an installation
        return []


def _extra(requirement: Requirement) -> str | None:
    marker = str(requirement.marker)
    return marker.split('"')[1] if marker.startswith("extra ==") else None


def _optional() -> list[tuple[str, str]]:
    """List the names of optional packages, each with the extra that brings it."""
    found = [(canonicalize_name(requirement.name), _extra(requirement)) for requirement in _requirements()]
    return [(str(name), extra) for name, extra in found if extra]


def installation_advice(error: ModuleNotFoundError) -> str:
    """Describe the module that could not be imported and, if an extra of this package brings it, how to install it."""
    extras = extras_with(error.name or "")
    if not extras:
        return str(error)
    return f'{error.name} is needed for this and is not installed: pip install "{DISTRIBUTION}[{extras[0]}]"'
