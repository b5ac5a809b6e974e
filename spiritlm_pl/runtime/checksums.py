"""SHA-256 of the files of a folder that this package wrote, by which damage is noticed before a file is used.

The file `SHA256SUMS` has the lines that `sha256sum --check` reads, in any of its forms; other lines are left alone, but
for damaged ones. What it does not list is not checked, as in folders of other tools and of earlier versions.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from spiritlm_pl.runtime.left_over import remove_left_over
from spiritlm_pl.runtime.provenance import atomic_path, file_sha256
from spiritlm_pl.storage.places import Place

CHECKSUMS = "SHA256SUMS"
DIGEST = "(?P<digest>[0-9a-fA-F]{64})"
LINE = re.compile(rf"{DIGEST} [ *](?P<name>.+)")  # the asterisk: read as a binary file
TAGGED = re.compile(rf"SHA256 \((?P<name>.+)\) ?= ?{DIGEST}")
OTHER = re.compile(r"(#.*|(?!SHA256 )[A-Za-z0-9/-]+ \(.+\) ?= ?[0-9a-zA-Z+/=]+)?")  # a comment, another algorithm
ADVICE = f": it is damaged; if it was changed on purpose, remove its line from {CHECKSUMS} beside it, or the whole file"
LARGE = 1 << 31  # no size or number in a configuration is as large
DAMAGED = re.compile("[0-9a-fA-F]{20}|[^\x20-\x7e]", re.ASCII)  # what a line has that was one of these


def _read(folder: Path) -> dict[str, str]:
    """Read the checksums of a folder by the names of its files; none where there is no such list.

    Raises:
        ValueError: if a line is no checksum.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_bytes().decode("utf-8", errors="replace").splitlines(), start=1):
        match = LINE.fullmatch(line) or TAGGED.fullmatch(line)
        if match is not None:
            found[match["name"]] = match["digest"].lower()
        elif DAMAGED.search(line) and not OTHER.fullmatch(line):
            raise ValueError(f"{path} must have a checksum and a name in each line, but line {number} is {line[:80]!r}")
    return found


def listed(folder: Path) -> dict[Path, str]:
    """Read the checksums of a folder by the paths of its files, for many calls of `checked`.

    Raises:
        ValueError: if the list is damaged.
    """
    return {folder / name: digest for name, digest in _read(folder).items()}


@contextmanager
def recorded(folder: Path, *names: str) -> Iterator[None]:
    """Record the checksums of files that are written within the context; those of other files of the folder stay.

    If writing is interrupted, the files are not checked any more.

    Args:
        folder: folder of the files.
        names: names of the files in the folder.
    """
    forget(folder, *names)
    yield
    found = {name: digest for name, digest in _read(folder).items() if (folder / name).is_file()}
    _write(folder, found | {name: file_sha256(folder / name) for name in names})


def record_all(folder: Path, leave_out: Sequence[str] = ()) -> None:
    """Record the checksums of all files of a folder.

    Args:
        folder: folder of the files.
        leave_out: names of files that users change, which are not checked.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()} - {CHECKSUMS, *leave_out}
    _write(folder, {name: file_sha256(folder / name) for name in names})


def forget(folder: Path, *names: str) -> None:
    """Remove the checksums of files that are written anew; those of other files of the folder stay."""
    known = _read(folder)
    if known.keys() & set(names):
        _write(folder, {name: digest for name, digest in known.items() if name not in names})


def _write(folder: Path, digests: dict[str, str]) -> None:
    remove_left_over(folder)  # once for each time that a command completes a folder
    if not digests:
        (folder / CHECKSUMS).unlink(missing_ok=True)
        return
    with atomic_path(folder / CHECKSUMS) as path:
        path.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())), encoding="utf-8")


def checked(path: Path, known: dict[Path, str] | None = None) -> Path:
    """Return the path of a file after comparing it with its checksum, if its folder lists one.

    Args:
        path: path of the file.
        known: checksums from `listed`; None reads those of the file's folder.

    Raises:
        FileNotFoundError: if the file is listed, but missing.
        ValueError: if it has another checksum.
    """
    expected = (listed(path.parent) if known is None else known).get(path)
    if expected is None:
        return path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, but {CHECKSUMS} beside it lists it")
    check_digest(path, expected, ADVICE)
    return path


def check_file(path: Path, size: int, digest: str, advice: str = "") -> None:
    """Compare a file with the size and the checksum that a manifest gives it.

    Args:
        path: path of the file.
        size: its size in bytes.
        digest: its SHA-256, in hexadecimal.
        advice: what follows in the messages.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if its size or checksum is another one.
    """
    check_size(path, size, advice)
    check_digest(path, digest, advice)


def check_size(path: Path, size: int, advice: str = "") -> None:
    """Compare the size of a file, which takes no time, with the one that a manifest gives it; see `check_file`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be there, but is missing{advice}")
    if (found := path.stat().st_size) != size:
        raise ValueError(f"{path} must have {size} bytes, but has {found} instead{advice}")


def check_digest(path: Path, digest: str, advice: str = "") -> None:
    """Compare the checksum of a file that is there with the expected one; see `check_file`."""
    if (found := file_sha256(path)) != digest:
        raise ValueError(f"{path} must have SHA-256 {digest[:16]}, but has {found[:16]} instead{advice}")


def check_folder(folder: str | Path) -> None:
    """Compare all listed files of a folder with their checksums; folders without a list and hub names are not checked.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file has another checksum.
    """
    known = listed(Path(folder))
    for path in known:
        checked(path, known)


def check_archive(path: Path, content: bytes | None = None) -> None:
    """Compare the parts of a checkpoint of torch, which is a zip archive, with the checksums in it.

    Its directory has none, so that it is compared with what torch writes, and opened as torch will.

    Args:
        path: path of the checkpoint.
        content: the archive, where it is a part of this file; None for the whole file.

    Raises:
        ValueError: if it is damaged, or no archive.
    """
    from torch import _C  # takes a second, and folders without checkpoints are read without it

    try:
        with zipfile.ZipFile(path if content is None else BytesIO(content)) as archive:
            strange = (part.filename for part in archive.infolist() if not _is_as_torch_writes(part))
            damaged = next(strange, None) or archive.testzip()
        _C.PyTorchFileReader(str(path) if content is None else BytesIO(content)).get_all_records()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0]  # torch adds where in its own code it was
        raise ValueError(f"checkpoint must be whole, but {path} cannot be read: {reason}") from error
    if damaged is not None:
        raise ValueError(f"checkpoint must be whole, but {damaged} in {path} is damaged")


def _is_as_torch_writes(part: zipfile.ZipInfo) -> bool:
    packed = part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size
    return not packed and not part.external_attr


def check_types(values: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Check the types of some values that were read from JSON; numbers must be at least 0.

    Args:
        values: values by name, such as an entry of a manifest.
        types: types of those that must be there, by name.

    Raises:
        ValueError: if a value is missing, or is of another type.
    """
    for name, kind in types.items():
        value: Any = values.get(name)
        if type(value) is not kind or (isinstance(value, int) and value < 0):  # true is no number
            raise ValueError(f"{name} must be of type {kind.__name__}, and not negative, but is {value!r} instead")


def check_plain(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Check those values of a configuration that are to be a number, a text, or true or false; others are left alone.

    Args:
        values: values by name.
        types: types by name, all of which have a value; a whole number is also taken for a number.

    Raises:
        ValueError: if a value is of another type.
    """
    for name, kind in types.items():
        taken = {float: (float, int), int: (int,), str: (str,), bool: (bool,)}.get(kind)
        if taken is not None and type(values[name]) not in taken:
            raise ValueError(f"{name} must be of type {kind.__name__}, but is {values[name]!r} instead")
        if kind is int and abs(values[name]) >= LARGE:
            raise ValueError(f"{name} must be below {LARGE}, but is {values[name]} instead")


@contextmanager
def values_of(path: Place) -> Iterator[None]:
    """Turn errors over the values that a file holds into a ValueError that names the file."""
    try:
        yield
    except (ValueError, OSError) as error:
        if str(path) in str(error) or getattr(error, "errno", None) is not None:
            raise
        raise ValueError(f"{path} must be as this package wrote it, but is damaged: {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{path} must be as this package wrote it, but is damaged: {error!r}") from error


def checked_bytes(path: Place) -> bytes:
    """Read a file after comparing it with its checksum, if it is on a disk and its folder lists one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another checksum.
    """
    return (checked(path) if isinstance(path, Path) else path).read_bytes()


def json_object(data: bytes, path: Place) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Args:
        data: contents of the file.
        path: path of the file, for the error.

    Raises:
        ValueError: if the file holds something else.
    """
    with values_of(path):
        found = json.loads(data.decode("utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it must hold a JSON object, but holds {str(found)[:40]!r} instead")
    return found


def read_object(path: Place) -> dict[str, Any]:
    """Read a JSON object from a file, after comparing the file with its checksum.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or holds something else.
    """
    return json_object(checked_bytes(path), path)
