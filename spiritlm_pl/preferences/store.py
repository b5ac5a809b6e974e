"""Storing of pairs that were found: splits, files, reference log-likelihoods, and what was skipped."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.preferences.folder import PreferenceManifest, write_manifest, write_parts
from spiritlm_pl.preferences.pairs import Pair
from spiritlm_pl.preferences.selection import by_split
from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.vocabulary import Vocabulary

SKIPPED = "skipped.jsonl"


def store(
    folder: Path,
    pairs: Sequence[Pair],
    skipped: Sequence[Skipped],
    vocabulary: Vocabulary,
    text_fingerprint: str | None,
    validation_fraction: float,
    sources: dict[str, Any],
) -> PreferenceManifest:
    """Write pairs and what was skipped, without reference log-likelihoods, and return the manifest.

    Args:
        folder: folder to write, which is created.
        pairs: pairs in their order, each checked.
        skipped: what gave no pair.
        vocabulary: layout of the token ids.
        text_fingerprint: hash of the text tokenizer; None if it is not known.
        validation_fraction: share of the prompts in the validation split.
        sources: what the pairs were made from, as plain values.

    Raises:
        ValueError: if there is no pair; the message tells the most frequent reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / SKIPPED) as path:
        lines = (json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in skipped)
        path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")  # half pairs, as JSON escapes them
    if not pairs:
        why = Counter(one.reason for one in skipped).most_common(1)
        told = f"; of {len(skipped)} skipped, {why[0][1]}: {why[0][0]}" if why else ""
        raise ValueError(f"the source must give at least one pair, but gives none{told}")
    splits = by_split(pairs, validation_fraction)
    parts = {split: write_parts(folder, split, own, vocabulary) for split, own in splits.items()}
    manifest = PreferenceManifest(
        vocabulary=vocabulary, text_fingerprint=text_fingerprint, parts=parts, sources=sources
    )
    return write_manifest(folder, manifest)


def report(folder: Path, manifest: PreferenceManifest, skipped: Sequence[Skipped]) -> list[str]:
    """Return lines that tell how many pairs there are, and how much was skipped for which reason."""
    lines = [f"{folder}: " + ", ".join(f"{split} {manifest.num_pairs(split)} pairs" for split in manifest.parts)]
    if skipped:
        lines.append(f"{len(skipped)} gave no pair ({folder / SKIPPED}):")
        lines += [f"{count:6} {reason}" for reason, count in Counter(one.reason for one in skipped).most_common(8)]
    return lines
