"""Hashes of the files that scores depend on."""

from hashlib import sha256
from pathlib import Path

from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.runtime.provenance import file_sha256


def content_hash(path: str | Path) -> str:
    """Hash a file, or all files of a folder with their names, by every byte, in hexadecimal.

    Both ends of a file would not do: a model that was tuned may have those of the one before.

    Raises:
        FileNotFoundError: if there is no such file or folder.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return file_sha256(path)
    digest = sha256()
    for file in files_below(path):
        digest.update(f"{file.relative_to(path)} {file_sha256(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
