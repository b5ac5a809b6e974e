"""Which optional part of the installation a command lacks, told with the command that installs it."""

from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DISTRIBUTION = "spiritlm-pl"


def extras_with(module: str) -> list[str]:
    """List the extras of this package that bring a module, in the order of pyproject.toml.

    Args:
        module: name of a module that cannot be imported, such as "lightning.pytorch".
    """
    wanted = canonicalize_name(module.partition(".")[0])
    try:
        requirements = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:  # run from the source tree, without an installation
        return []
    markers = [str(found.marker) for found in requirements if canonicalize_name(found.name) == wanted]
    return [marker.split('"')[1] for marker in markers if marker.startswith("extra ==")]


def installation_advice(error: ModuleNotFoundError) -> str:
    """Say what an import lacks and, where an extra of this package brings it, how to install that."""
    extras = extras_with(error.name or "")
    if not extras:
        return str(error)
    return f'{error.name} is needed for this and is not installed: pip install "{DISTRIBUTION}[{extras[0]}]"'
