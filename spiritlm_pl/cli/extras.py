"""Which optional part of the installation a command lacks, told with the command that installs it."""

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
    """Refuse a command that would find out in its middle, or one by one, what is not installed.

    Args:
        extra: which must be there whole, with the extras that are part of it.
        command: that is asked for.

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
    """Names of packages, each with the extra that brings it."""
    found = [(canonicalize_name(requirement.name), _extra(requirement)) for requirement in _requirements()]
    return [(str(name), extra) for name, extra in found if extra]


def installation_advice(error: ModuleNotFoundError) -> str:
    """Say what an import lacks and, where an extra of this package brings it, how to install that."""
    extras = extras_with(error.name or "")
    if not extras:
        return str(error)
    return f'{error.name} is needed for this and is not installed: pip install "{DISTRIBUTION}[{extras[0]}]"'
