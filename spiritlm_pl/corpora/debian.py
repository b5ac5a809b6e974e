"""Debian packages as sources of data: fetched with apt-get and read without being installed.

A .deb is an `ar` archive whose member `data.tar.*` holds the files, compressed with xz by Debian and with Zstandard by
Ubuntu.
"""

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from spiritlm_pl.runtime.found import found_at

_MAGIC = b"!<arch>\n"
_HEADER = 60
_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)


class PackageError(OSError):
    """Error for a package that cannot be fetched or read; the message says what to do instead."""


def fetch_packages(names: list[str], folder: Path, option: str = "source") -> list[Path]:
    """Download packages with `apt-get download`; nothing is installed and no privileges are needed.

    Args:
        names: names of the packages.
        folder: folder to download to.
        option: option of the command that names a folder with the .deb files instead, for errors.

    Raises:
        PackageError: if there is no apt-get, or it fails.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise PackageError(
            f"apt-get is needed to fetch {', '.join(names)}, but is not installed: pass --{option} with a "
            "folder that holds these .deb files (from packages.debian.org), or use `spiritlm prepare stories`, which "
            "needs no download"
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run([apt, "download", *names], cwd=folder, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"apt-get download {' '.join(names)} took more than 10 minutes") from error
    packages = find_packages(names, folder)
    if done.returncode != 0 or len(packages) < len(names):
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PackageError(
            f"apt-get download {' '.join(names)} failed ({reason}): run `apt-get update` as root first, "
            f"or pass --{option} with a folder that holds the .deb files"
        )
    return packages


def find_packages(names: list[str], folder: Path) -> list[Path]:
    """Return the .deb files of the packages in a folder, in the order of the names; of several, the last by name."""
    found = (sorted(folder.glob(f"{name}_*.deb")) for name in names)
    return [paths[-1] for paths in found if paths]


def package_folder(source: Path) -> Path:
    """Return the folder of a source: the source itself, or the folder that holds it if it is a .deb file."""
    return source.parent if source.suffix == ".deb" else source


def given_packages(names: list[str], source: Path, option: str = "source") -> list[Path]:
    """Return the .deb files of all the packages in a folder that a user gives.

    Args:
        names: names of the packages.
        source: path of the folder, or of one of the files.
        option: option of the command that gives it, for errors.

    Raises:
        PackageError: if one is missing.
    """
    folder = package_folder(source)
    packages = find_packages(names, folder)
    if len(packages) < len(names):
        rule = f"{option} must be a folder with {' and '.join(names)} (.deb)"
        raise PackageError(f"{rule}, but " + (f"{source} has not all" if folder.is_dir() else found_at(source)))
    return packages


def package_files(names: list[str], source: Path | None, option: str = "source") -> dict[str, bytes]:
    """Read the regular files of all the packages, by their path.

    Args:
        names: names of the packages.
        source: path of a folder with their .deb files, or of one of these files; None fetches them with apt-get.
        option: option of the command that gives `source`, for errors.

    Raises:
        PackageError: if the packages cannot be fetched, found or read.
    """
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            packages = fetch_packages(names, Path(folder), option)
        else:
            packages = given_packages(names, source, option)
        archives = [read_package(path) for path in packages]
    return {name: data for archive in archives for name, data in archive.items()}


def licence_notice(files: Mapping[str, bytes]) -> str:
    """Return the copyright file among the files of a package; empty if there is none."""
    return next((data.decode("utf-8", "replace") for name, data in files.items() if name.endswith("/copyright")), "")


def read_package(path: Path) -> dict[str, bytes]:
    """Read the regular files of a package, by their path without the leading `./`.

    Raises:
        PackageError: if the file is no intact .deb.
    """
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise PackageError(f"package must be a .deb, but {path} is not")
    position = len(_MAGIC)
    while position + _HEADER <= len(data):
        header = data[position : position + _HEADER]
        name, digits = (part.decode("ascii", "replace").strip(" /") for part in (header[:16], header[48:58]))
        if not digits.isdigit():
            raise PackageError(f"package must be intact, but {path} is damaged at byte {position} instead")
        size = int(digits)
        start = position + _HEADER
        if name.startswith("data.tar"):
            if start + size > len(data):
                raise _cut_off(path, data)
            return _read_tar(data[start : start + size], name, path)
        position = start + size + size % 2
    if position not in (len(data), len(data) + 1):  # members may be padded by one byte
        raise _cut_off(path, data)
    raise PackageError(f"package must hold data.tar, but {path} does not")


def _cut_off(path: Path, data: bytes) -> PackageError:
    return PackageError(f"package must be intact, but {path} is damaged (cut off at byte {len(data)}) instead")


def _zstd(data: bytes) -> bytes:
    from pyarrow import BufferReader, CompressedInputStream  # tarfile learns Zstandard with Python 3.14

    with CompressedInputStream(BufferReader(data), "zstd") as stream:
        return bytes(stream.read())


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".lzma": lzma.decompress,
    ".zst": _zstd,
}


def _read_tar(data: bytes, name: str, path: Path) -> dict[str, bytes]:
    decompress = _DECOMPRESS.get(Path(name).suffix)
    if decompress is None:
        known = ", ".join(_DECOMPRESS)
        raise PackageError(f"package must hold data.tar with one of {known}, but {path} holds {name} instead")
    files: dict[str, bytes] = {}
    try:
        plain = decompress(data)  # all of it before reading, because the checksum is at the end
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None:
                    files[member.name.removeprefix("./")] = stream.read()
    except _DAMAGE as error:
        raise PackageError(f"package must be intact, but {path} is damaged ({error}) instead") from error
    return files
