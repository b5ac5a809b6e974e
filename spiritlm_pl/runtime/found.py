"""What is at a path that does not fit, in the words of errors."""

from pathlib import Path
from tempfile import TemporaryDirectory


def found_at(path: str | Path) -> str:
    """Return the end of an error over a path: that it is not there, or is a file or a folder."""
    path = Path(path)
    return f"{path} is not there" if not path.exists() else f"{path} is a {'folder' if path.is_dir() else 'file'}"


def lacks(folder: str | Path) -> str:
    """Return the end of an error over a folder without a file that it must have: that it has none, or is no folder."""
    return f"{folder} has none" if Path(folder).is_dir() else found_at(folder)


def held_in(folder: str | Path) -> list[str]:
    """Return the sorted names of what a folder holds, but for hidden ones, such as claims; if it is none, nothing."""
    folder = Path(folder)
    return sorted(one.name for one in folder.iterdir() if not one.name.startswith(".")) if folder.is_dir() else []


def check_folder(path: str | Path, argument: str, what: str) -> None:
    """Refuse a path at which there is no folder.

    Args:
        path: path that was given.
        argument: name of the argument that gives it.
        what: description of the folder, such as "folder of audio".

    Raises:
        FileNotFoundError: if there is nothing at the path.
        NotADirectoryError: if there is something else.
    """
    if not Path(path).is_dir():
        kind = NotADirectoryError if Path(path).exists() else FileNotFoundError
        raise kind(f"{argument} must be a {what}, but {found_at(path)}")


def check_writable(path: str | Path, argument: str) -> None:
    """Refuse a folder to which nothing can be written, before the work whose results it is to hold.

    Args:
        path: path of the folder, which need not exist and is not made.
        argument: name of the argument that gives it.

    Raises:
        ValueError: if nothing can be written there.
    """
    _check_writable(Path(path), Path(path), argument, "folder")


def check_writable_file(path: str | Path, argument: str) -> None:
    """Refuse a file that cannot be written, before the work whose results it is to hold.

    Args:
        path: path of the file, which need not exist, nor its folder.
        argument: name of the argument that gives it.

    Raises:
        ValueError: if it is a folder, or nothing can be written to the folder that it lies in.
    """
    if Path(path).is_dir():
        raise ValueError(f"{argument} must be a file, but {found_at(path)}")
    _check_writable(Path(path).parent, Path(path), argument, "file")


def _check_writable(folder: Path, path: Path, argument: str, kind: str) -> None:
    place = folder.absolute()
    try:
        there = next((one for one in (place, *place.parents) if one.exists()), place)
        with TemporaryDirectory(dir=there, prefix=".writable-"):
            pass
    except OSError as error:
        raise ValueError(f"{argument} must be a {kind} that can be written, but {path} cannot: {error}") from error
