"""Where the user's cache is."""

import os
from pathlib import Path

USUAL = Path("~/.cache/spiritlm-pl")  # how options and documentation name it


def cache_folder(path: str | Path) -> Path:
    """Return a folder with the user's home for ~; one in ~/.cache/spiritlm-pl is in the user's cache, wherever it is.

    Args:
        path: path of the folder, such as the default of an option.

    Raises:
        OSError: if the user has no home folder, as in some containers.
    """
    path = Path(path)
    return user_cache(str(path.relative_to(USUAL))) if path.is_relative_to(USUAL) else path.expanduser()


def user_cache(name: str) -> Path:
    """Return the folder of a name in the user's cache, $XDG_CACHE_HOME/spiritlm-pl or ~/.cache/spiritlm-pl.

    Args:
        name: name of the folder, which need not exist.

    Raises:
        OSError: if the user has no home folder, as in some containers.
    """
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(folder):  # its specification says that others are to be ignored
        try:
            folder = str(Path("~/.cache").expanduser())
        except RuntimeError:
            raise FileNotFoundError(
                "XDG_CACHE_HOME must name a folder for caches, since this user has no home folder, but is not set"
            ) from None
    return Path(folder) / "spiritlm-pl" / name
