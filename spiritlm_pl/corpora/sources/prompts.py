"""The Asterisk voice prompts (CC-BY-SA-3.0): 24 minutes of one voice at 16 kHz, from two Debian packages."""

import gzip
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.debian import PackageError, licence_notice, package_files
from spiritlm_pl.corpora.ingest import Rules, Utterance, drop_other_audio, ingest
from spiritlm_pl.corpora.manifest import replaced_corpus, save_corpus
from spiritlm_pl.corpora.replacing import check_corpus
from spiritlm_pl.corpora.splitting import check_fractions, split_by_transcript

PACKAGES = ["asterisk-core-sounds-en-g722", "asterisk-core-sounds-en"]
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison/"
TRANSCRIPTS = "core-sounds-en.txt.gz"
# Hash of the recordings and transcripts of version 1.6.1-1; the archives themselves differ between distributions.
CONTENT_SHA256 = "95204735590cf345ebf19783f625d5768082d0f02045888c7889c36e6a6330e6"
SYMBOLS = {"*": "star", "#": "pound"}
SPEAKER = "allison"


def content_sha256(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the names and bytes of recordings and transcripts, in hex."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def parse_transcripts(text: str) -> dict[str, str]:
    """Parse lines `name: text` into transcripts by prompt name; lines that start with `;` are comments."""
    rows = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith(";"))
    return {name.strip(): said.strip() for name, said in rows}


def _read_source(source: Path | None) -> tuple[dict[str, bytes], str]:
    """Read the prompts `name.g722` and the transcript file by name, and the licence notice."""
    if source is not None and source.is_dir() and any(source.rglob("*.g722")):
        return _read_unpacked(source)
    files = package_files(PACKAGES, source)
    kept = {name.removeprefix(SOUNDS): data for name, data in files.items() if name.endswith(".g722")}
    listing = next((data for name, data in files.items() if name.endswith(TRANSCRIPTS)), None)
    if listing is not None:
        kept[TRANSCRIPTS] = listing
    return kept, licence_notice(files)


def _read_unpacked(source: Path) -> tuple[dict[str, bytes], str]:
    """Read the same from a folder into which the packages were unpacked (`dpkg -x`)."""
    recordings = list(source.rglob("*.g722"))
    roots = [path for path in source.rglob(Path(SOUNDS).name) if path.is_dir()] or [source]
    kept = {str(path.relative_to(roots[0])): path.read_bytes() for path in recordings}
    for path in source.rglob(TRANSCRIPTS):
        kept[TRANSCRIPTS] = path.read_bytes()
    notices = [path.read_text(errors="replace", encoding="utf-8") for path in sorted(source.rglob("copyright"))]
    return kept, next(iter(notices), "")


def prepare_prompts(
    out: str | Path,
    *,
    source: str | Path | None = None,
    any_version: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a corpus folder of the prompts.

    Args:
        out: path of the corpus folder to write.
        source: path of a folder with the two .deb files, or with their unpacked contents; None fetches them with
            apt-get.
        any_version: whether to accept packages whose recordings differ from those of the tested version.
        seed: seed of the random splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: number of processes; None for one per core.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.

    Raises:
        PackageError: if the packages cannot be fetched or read.
        ValueError: if their contents are not those of the tested version, or the folder has a corpus of other settings,
            without `overwrite`.
    """
    check_fractions(validation_fraction, test_fraction)
    out = Path(out)
    description: dict[str, Any] = {
        "source": "Debian packages " + ", ".join(PACKAGES),
        "arguments": {"seed": seed, "validation_fraction": validation_fraction, "test_fraction": test_fraction},
    }
    check_corpus(out, **description, overwrite=overwrite)  # before the packages are fetched
    files, notice = _read_source(Path(source) if source else None)
    if TRANSCRIPTS not in files:
        raise PackageError(f"source must hold {TRANSCRIPTS}, but {source or PACKAGES} does not")
    found = content_sha256(files)
    if found != CONTENT_SHA256 and not any_version:
        raise ValueError(
            f"prompts must have SHA-256 {CONTENT_SHA256} (version 1.6.1-1), but have {found} instead; "
            "--any-version true takes them as they are"
        )
    description["arguments"]["content_sha256"] = found
    check_corpus(out, **description, overwrite=overwrite)
    transcripts = parse_transcripts(gzip.decompress(files[TRANSCRIPTS]).decode("utf-8", "replace"))
    with tempfile.TemporaryDirectory() as folder, replaced_corpus(out):
        utterances = []
        for name, data in sorted(files.items()):
            if not name.endswith(".g722") or name.startswith("silence/"):  # these recordings are silent
                continue
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            key = name.removesuffix(".g722")
            utterances.append(Utterance(f"prompts-{key.replace('/', '-')}", path, transcripts.get(key, ""), SPEAKER))
        cuts, skipped = ingest(utterances, out, Rules(symbols=SYMBOLS), num_jobs)
    (out / "LICENCE.txt").write_text(notice, encoding="utf-8")
    info = save_corpus(
        out,
        split_by_transcript(cuts, validation_fraction, test_fraction, seed),
        name=out.name,
        licence="CC-BY-SA-3.0, voice of Allison Smith; see LICENCE.txt",
        skipped=[replace(row, path=str(Path(row.path).relative_to(folder))) for row in skipped],
        **description,
    )
    drop_other_audio(out, cuts, utterances)
    return info
