"""Log-likelihoods of pairs under the reference model, computed once and stored beside the pairs.

Shapes: P pairs of a file.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from spiritlm_pl.lm.identity import model_hash
from spiritlm_pl.lm.likelihood import log_likelihoods
from spiritlm_pl.lm.positions import max_positions
from spiritlm_pl.preferences.folder import (
    PartEntry,
    PreferenceManifest,
    read_part,
    write_manifest,
    write_reference,
    written_reference,
)
from spiritlm_pl.preferences.pairs import Pairs
from spiritlm_pl.runtime.provenance import file_sha256


def add_reference(
    folder: Path, manifest: PreferenceManifest, network: PreTrainedModel, checkpoint: str | Path, batch_tokens: int
) -> PreferenceManifest:
    """Compute the log-likelihoods of all pairs, and write them and the manifest; files that are complete are kept.

    Args:
        folder: folder of the pairs.
        manifest: its manifest, which names all files of pairs.
        network: reference model in evaluation mode.
        checkpoint: its folder.
        batch_tokens: largest number of tokens in a batch, padding included.

    Raises:
        ValueError: if a pair is longer than the model's positions, or a log-likelihood is not finite.
    """
    dtype = str(network.dtype).removeprefix("torch.")
    model = {"model": model_hash(checkpoint), "folder": str(checkpoint), "dtype": dtype}
    parts: dict[str, tuple[PartEntry, ...]] = {}
    for split, entries in manifest.parts.items():
        done = []
        for part in entries:
            identity = {"model": model["model"], "dtype": dtype, "pairs": part.sha256}
            if not written_reference(folder, part, identity):
                values = pair_likelihoods(network, read_part(folder, part), batch_tokens)
                write_reference(folder, part, values, identity)
            done.append(replace(part, reference_sha256=file_sha256(folder / part.reference_file)))
        parts[split] = tuple(done)
    return write_manifest(folder, replace(manifest, parts=parts, reference=model))


def pair_likelihoods(
    network: PreTrainedModel, pairs: Pairs, batch_tokens: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Compute the log-likelihoods (P, 2) of what is chosen and rejected, in nats; see `add_reference`."""
    most = max_positions(network.config)
    sequences = []
    for pair in pairs:
        for continuation in (pair.chosen, pair.rejected):
            if most is not None and len(pair.prompt) + len(continuation) > most:
                raise ValueError(
                    f"prompt and continuation of a pair must have at most the {most} tokens that the model has "
                    f"positions for, but those of {pair.id} have {len(pair.prompt) + len(continuation)}"
                )
            sequences.append(([*pair.prompt, *continuation], len(continuation)))
    values = log_likelihoods(network, sequences, batch_tokens).view(-1, 2).float().numpy()
    if not np.isfinite(values).all():
        strange = pairs.ids[int(np.flatnonzero(~np.isfinite(values).all(1))[0])]
        raise ValueError(f"log-likelihoods must be finite, but one of {strange} is not: the weights are broken")
    return values
