"""Pairs of continuations, of which one is preferred, as packed rows for preference tuning.

A batch holds a fixed number of pairs, in as many rows as they need, and depends on (seed, step, rank) alone; see
`spiritlm_pl.preferences.loading`.
"""

from typing import Literal

import numpy as np
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info

from spiritlm_pl.data.blocks import token_dtype
from spiritlm_pl.datamodules.held_out import is_validated, warn_of_no_validation
from spiritlm_pl.datamodules.token_rows import processed_by, share_of
from spiritlm_pl.preferences.folder import PreferenceManifest, read_manifest, read_pairs
from spiritlm_pl.preferences.loading import HeldOutPairLoader, PairLoader, PairSource
from spiritlm_pl.preferences.pairs import Pairs
from spiritlm_pl.vocabulary import Vocabulary


class PreferenceDataModule(LightningDataModule):
    """Data module of packed pairs from a folder that `spiritlm prepare preferences` made.

    `use_distributed_sampler` of the trainer has no effect on its loaders.
    """

    def __init__(
        self,
        folder: str | list[str],
        row_length: int = 4096,
        pairs_per_batch: int = 8,
        longer: Literal["refuse", "leave_out"] = "refuse",
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        """Store the settings; files are read in `setup`.

        Args:
            folder: folder of the pairs; or several, whose pairs are mixed, with one vocabulary and reference model.
            row_length: largest number of tokens in a row; both documents of a pair, each with its prompt, lie in one.
            pairs_per_batch: number of pairs in a batch of one rank.
            longer: what happens with pairs that are longer than a row: "refuse" is an error that names the longest,
                "leave_out" leaves them out and tells how many.
            num_workers: number of processes per rank that make batches; 0 makes them in the rank's own process.
            seed: seed of the order of the pairs.
        """
        super().__init__()
        for name, value in (("row_length", row_length), ("pairs_per_batch", pairs_per_batch)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value} instead")
        self.folders = [folder] if isinstance(folder, str) else list(folder)
        if not self.folders or len({*self.folders}) < len(self.folders):
            raise ValueError(f"folder must name one or several folders, each once, but is {folder} instead")
        self.row_length, self.pairs_per_batch = row_length, pairs_per_batch
        self.longer, self.num_workers, self.seed = longer, num_workers, seed
        self.units_per_second: float | None = None
        self._manifests: list[PreferenceManifest] | None = None
        self._pairs: dict[str, Pairs] = {}

    @property
    def manifests(self) -> list[PreferenceManifest]:
        """Contents of the folders.

        Raises:
            FileNotFoundError, ValueError: if a folder has no manifest, it is damaged, or the folders are of several
                vocabularies, text tokenizers or reference models, or some have none.
        """
        if self._manifests is None:
            found = [read_manifest(folder) for folder in self.folders]
            without = [folder for folder, one in zip(self.folders, found, strict=True) if one.reference is None]
            if without and len(without) < len(found):
                raise ValueError(
                    "folders must all have log-likelihoods of a reference model, or none of them, but "
                    f"there are none in {', '.join(without)}: type "
                    f"spiritlm prepare reference {without[0]} --model MODEL"
                )
            for name, of in (
                ("one vocabulary", lambda one: one.vocabulary),
                ("one text tokenizer", lambda one: one.text_fingerprint),
                ("one reference model", lambda one: one.reference and one.reference["model"]),
            ):
                for folder, one in zip(self.folders, found, strict=True):
                    if of(one) != of(found[0]):
                        raise ValueError(f"folders must have {name}, but {folder} has another than {self.folders[0]}")
            self._manifests = found
        return self._manifests

    @property
    def vocabulary(self) -> Vocabulary:
        """Layout of the token ids."""
        return self.manifests[0].vocabulary

    @property
    def text_fingerprint(self) -> str | None:
        """Fingerprint of the text tokenizer with which the pairs were made; None where it is not recorded."""
        return self.manifests[0].text_fingerprint

    @property
    def reference_model(self) -> str | None:
        """Hash of the model whose log-likelihoods batches hold; None if they hold none."""
        reference = self.manifests[0].reference
        return None if reference is None else reference["model"]

    @property
    def val_streams(self) -> list[str]:
        """Names of the validation loaders."""
        return ["validation"] if any(one.num_pairs("validation") for one in self.manifests) else []

    @property
    def test_streams(self) -> list[str]:
        """Names of the test loaders: none, as pairs have no test split."""
        return []

    def setup(self, stage: str | None = None) -> None:
        """Read the pairs, and check that they fit into rows.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged, a pair is too long, or no pair is left for training.
        """
        for split in ("train", "validation"):
            if split not in self._pairs:
                parts = [read_pairs(folder, split) for folder in self.folders]
                pairs = Pairs.concatenate(parts, token_dtype(self.vocabulary))
                self._pairs[split] = self._fitting(split, pairs)
        if stage == "fit" and not len(self._pairs["train"]):
            told = ", ".join(self.folders)
            raise ValueError(
                f"preferences must hold pairs for training that fit into rows, but there are none in {told}"
            )
        if stage == "fit" and is_validated(self) and not len(self._pairs["validation"]):
            warn_of_no_validation(
                f"folder must hold pairs of the split 'validation' that fit into rows, but there are none in "
                f"{', '.join(self.folders)}",
                "prepare them with a larger --validation-fraction",
            )

    def _fitting(self, split: str, pairs: Pairs) -> Pairs:
        lengths = pairs.lengths
        long = np.flatnonzero(lengths > self.row_length)
        if not len(long):
            return pairs
        longest = int(lengths.argmax())
        told = (
            f"{len(long)} of {len(pairs)} pairs ({split}) are longer than a row of {self.row_length} tokens, the "
            f"longest of them, {pairs.ids[longest]}, has {lengths[longest]}"
        )
        if self.longer == "refuse":
            raise ValueError(
                f"row_length must hold both documents of each pair, but {told}: raise --data.init_args.row_length, or "
                "leave such pairs out with --data.init_args.longer leave_out"
            )
        rank_zero_info(f"left out: {told}")
        return pairs.take(np.flatnonzero(lengths <= self.row_length))

    def train_dataloader(self) -> PairLoader:
        """Make the loader of training batches: as many as `max_steps` needs, or else a pass over the pairs."""
        pairs, share = self._pairs["train"], share_of(self.trainer, self.pairs_per_batch)
        max_steps = self.trainer.max_steps if self.trainer else -1
        per_step = share.rows_per_batch * share.accumulate
        steps = max_steps if max_steps > 0 else -(-len(pairs) // per_step)
        rank_zero_info(f"passes over {len(pairs)} pairs: {steps * per_step / len(pairs):.3g}")
        identity = {
            "seed": self.seed,
            "row_length": self.row_length,
            "longer": self.longer,
            "preferences": [manifest.sha256 for manifest in self.manifests],
        }
        return PairLoader(
            self._source("train"),
            share,
            length=steps * share.accumulate,
            num_workers=self.num_workers,
            identity=identity,
            processed=processed_by(self.trainer),
        )

    def val_dataloader(self) -> list[HeldOutPairLoader]:
        """Make the loader of the validation split, if it has pairs, with the same batches each time."""
        if "validation" not in self._pairs or not len(self._pairs["validation"]):
            return []
        return [HeldOutPairLoader(self._source("validation"), share_of(self.trainer, self.pairs_per_batch))]

    def _source(self, split: str) -> PairSource:
        return PairSource(self._pairs[split], self.row_length, self.vocabulary, self.seed)
