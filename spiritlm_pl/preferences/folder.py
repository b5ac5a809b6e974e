"""Preference pairs on disk: one folder with `preferences.json`, and files of pairs and of reference log-likelihoods.

The manifest names every file with its SHA-256, the vocabulary, and the model that the log-likelihoods are of. Each file
gets its name when it is complete, the manifest last, so that writing can be interrupted and repeated.

Shapes: P pairs of a file, N their tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from spiritlm_pl.data.blocks import token_dtype
from spiritlm_pl.preferences.pairs import Pair, Pairs
from spiritlm_pl.runtime.array_files import save_arrays
from spiritlm_pl.runtime.checksums import json_object, values_of
from spiritlm_pl.runtime.found import lacks
from spiritlm_pl.runtime.provenance import atomic_path, code_version, file_sha256
from spiritlm_pl.vocabulary import Vocabulary

MANIFEST = "preferences.json"
FORMAT = 1
SPLITS = ("train", "validation")
PAIRS_PER_FILE = 1024
CHECKSUM = "sha256"  # of the log-likelihoods, in the metadata of their file


@dataclass(frozen=True, kw_only=True)
class PartEntry:
    """Entry of one file of pairs in the manifest.

    Attributes:
        file: name of the file.
        sha256: checksum of the file, in hexadecimal.
        pairs: number of pairs in it.
        tokens: number of their tokens.
        reference_sha256: checksum of the file of their log-likelihoods; None where there is none.
    """

    file: str
    sha256: str
    pairs: int
    tokens: int
    reference_sha256: str | None = None

    @property
    def reference_file(self) -> str:
        """Name of the file of log-likelihoods."""
        return f"reference-{self.file}"


@dataclass(frozen=True, kw_only=True)
class PreferenceManifest:
    """Contents of a folder of pairs.

    Attributes:
        vocabulary: layout of the token ids.
        text_fingerprint: hash of the text tokenizer; None if it is not known.
        parts: entries of the files of each split, in order.
        reference: the model that the log-likelihoods are of: its hash, its folder, and the number format of its
            weights; None where they were not computed.
        sources: what the pairs were made from.
        sha256: checksum of the manifest file, which identifies all the data.
    """

    vocabulary: Vocabulary
    text_fingerprint: str | None
    parts: dict[str, tuple[PartEntry, ...]]
    reference: dict[str, str] | None = None
    sources: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def num_pairs(self, split: str) -> int:
        """Return the number of pairs of a split."""
        return sum(part.pairs for part in self.parts.get(split, ()))


def write_parts(folder: Path, split: str, pairs: Sequence[Pair], vocabulary: Vocabulary) -> tuple[PartEntry, ...]:
    """Write the pairs of a split in files, and return their entries.

    Args:
        folder: folder of the pairs, which is created.
        split: train or validation.
        pairs: pairs in their order, each checked.
        vocabulary: layout of the token ids.
    """
    entries = []
    for number, first in enumerate(range(0, len(pairs), PAIRS_PER_FILE)):
        part = Pairs.of(pairs[first : first + PAIRS_PER_FILE], token_dtype(vocabulary))
        path = folder / f"{split}-{number:05d}.safetensors"
        with atomic_path(path) as temporary:
            ids = json.dumps(list(part.ids), ensure_ascii=False)
            save_arrays({"tokens": part.tokens, "bounds": part.bounds}, temporary, metadata={"ids": ids})
        checksum = file_sha256(path)
        entries.append(PartEntry(file=path.name, sha256=checksum, pairs=len(part), tokens=len(part.tokens)))
    return tuple(entries)


def write_manifest(folder: Path, manifest: PreferenceManifest) -> PreferenceManifest:
    """Write `preferences.json`, which must come after all files, and return it as it is read.

    Files of pairs and log-likelihoods that it does not name are removed.

    Args:
        folder: folder of the pairs.
        manifest: what the folder holds.
    """
    description = {
        "format": FORMAT,
        "vocabulary": manifest.vocabulary.to_dict(),
        "text_fingerprint": manifest.text_fingerprint,
        "parts": {split: [asdict(part) for part in parts] for split, parts in manifest.parts.items()},
        "reference": manifest.reference,
        "sources": manifest.sources,
        "code_version": code_version(),
    }
    with atomic_path(folder / MANIFEST) as path:
        path.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    named = {part.file for parts in manifest.parts.values() for part in parts}
    for path in folder.glob("*.safetensors"):
        if path.name.removeprefix("reference-") not in named and path.name.removeprefix("reference-").startswith(
            SPLITS
        ):
            path.unlink()
    return read_manifest(folder)


def read_manifest(folder: str | Path) -> PreferenceManifest:
    """Read the manifest of a folder of pairs.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if it cannot be read.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"folder of preferences must hold {MANIFEST} (made by spiritlm prepare preferences), but {lacks(folder)}"
        )
    data = path.read_bytes()
    found = json_object(data, path)
    with values_of(path):
        if found["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, but is {found['format']} instead")
        return PreferenceManifest(
            vocabulary=Vocabulary.from_dict(found["vocabulary"]),
            text_fingerprint=found["text_fingerprint"],
            parts={split: tuple(PartEntry(**part) for part in parts) for split, parts in found["parts"].items()},
            reference=found["reference"],
            sources=found["sources"],
            sha256=sha256(data).hexdigest(),
        )


def read_pairs(folder: str | Path, split: str, with_reference: bool = True) -> Pairs:
    """Read the pairs of a split, with their log-likelihoods where these are known, after a check of all files.

    Args:
        folder: folder of the pairs.
        split: train or validation.
        with_reference: whether to read the log-likelihoods, too.

    Raises:
        FileNotFoundError: if the manifest or a file is missing.
        ValueError: if a file is damaged.
    """
    manifest = read_manifest(folder)
    parts = [
        read_part(Path(folder), part, with_reference and manifest.reference is not None)
        for part in manifest.parts.get(split, ())
    ]
    return Pairs.concatenate(parts, token_dtype(manifest.vocabulary))


def read_part(folder: Path, part: PartEntry, with_reference: bool = False) -> Pairs:
    """Read one file of pairs after comparing it with its checksum; see `read_pairs`."""
    arrays, metadata = _read(folder / part.file, part.sha256)
    reference = None
    if with_reference:
        found, _ = _read(folder / part.reference_file, part.reference_sha256)
        reference = found["log_likelihoods"]
    with values_of(folder / part.file):
        return Pairs(json.loads(metadata["ids"]), arrays["tokens"], arrays["bounds"], reference)


def write_reference(folder: Path, part: PartEntry, values: np.ndarray[Any, Any], identity: dict[str, str]) -> None:
    """Write the log-likelihoods of a file of pairs.

    Args:
        folder: folder of the pairs.
        part: entry of the file of pairs.
        values: (P, 2) log-likelihoods of chosen and rejected in nats.
        identity: what they depend on, as text.
    """
    values = values.astype(np.float32)
    with atomic_path(folder / part.reference_file) as path:
        save_arrays({"log_likelihoods": values}, path, metadata=identity | {CHECKSUM: _checksum(values)})


def written_reference(folder: Path, part: PartEntry, identity: dict[str, str]) -> bool:
    """Whether an earlier run has written the log-likelihoods of a file of pairs, with the same identity, undamaged."""
    path = folder / part.reference_file
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            values = file.get_tensor("log_likelihoods")
            expected = identity | {CHECKSUM: _checksum(values)}
            return values.shape == (part.pairs, 2) and dict(file.metadata() or {}) == expected
    except (SafetensorError, OSError):  # damaged: written again
        return False


def _checksum(values: np.ndarray[Any, Any]) -> str:
    return sha256(f"{values.dtype} {values.shape} ".encode() + values.tobytes()).hexdigest()


def _read(path: Path, checksum: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, but {MANIFEST} names it: prepare the preferences again")
    if (found := file_sha256(path)) != checksum:
        told = "none" if checksum is None else checksum[:16]
        raise ValueError(
            f"{path} must have SHA-256 {told}, but has {found[:16]} instead: it is damaged, or preparing the "
            "preferences was interrupted; prepare them again"
        )
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
