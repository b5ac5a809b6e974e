"""Documents of text, of speech, and of both interleaved by words, and conversations, as packed rows for the model.

Streams are mixed by weights measured in tokens. A batch depends on (seed, step, rank) alone, so that a killed run
continues exactly. `spiritlm_pl.data.loading`, `.mixture`, `.stream`, `.packing` and `.interleave` describe how.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info

from spiritlm_pl.corpora.layout import SPLITS
from spiritlm_pl.data.block_stream import AnyStream
from spiritlm_pl.data.blocks import (
    CONVERSATION,
    MANIFEST,
    STREAM_KINDS,
    TEXT_FINGERPRINT,
    Manifest,
    read_manifest,
    stream_folder,
)
from spiritlm_pl.data.collate import LossOn
from spiritlm_pl.data.conversation_stream import ConversationStream
from spiritlm_pl.data.interleave import Interleaving
from spiritlm_pl.data.loading import TURNS, EvaluationLoader, TrainingLoader
from spiritlm_pl.data.mixture import Mixture
from spiritlm_pl.data.stream import TokenStream
from spiritlm_pl.data.turns import LONGEST_TABLE
from spiritlm_pl.data.unit_corpus import TOKENIZER
from spiritlm_pl.datamodules.held_out import is_validated, warn_of_no_validation
from spiritlm_pl.datamodules.token_rows import processed_by, share_of
from spiritlm_pl.runtime.model_description import TEMPLATES
from spiritlm_pl.storage.places import Place, place
from spiritlm_pl.storage.settings import StorageSettings
from spiritlm_pl.streams import differences
from spiritlm_pl.vocabulary import Vocabulary

VALIDATION_SEED = 0
MOSTLY = 0.9  # part of the rows of a stream that is no padding; a smaller one is told


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Settings of one data stream of the mixture.

    Args:
        folder: folder of the blocks of all splits, as written by `spiritlm build-blocks`; or its address in object
            storage, such as s3://bucket/blocks.
        weight: share of the tokens, on any positive scale.
        kind: kind of the documents: text, speech, aligned or conversation; None takes the stream's name.
        source: name of the text source whose documents these are, where `spiritlm build-blocks` was given several;
            None for the documents of the kind that have no such name.
        interleaving: how aligned documents of this stream become sequences; None for the data module's setting.
    """

    folder: str
    weight: float = 1.0
    kind: str | None = None
    source: str | None = None
    interleaving: Interleaving | None = None


class InterleavedDataModule(LightningDataModule):
    """Data module of packed rows from a mixture of data streams, such as text, speech and aligned.

    `use_distributed_sampler` of the trainer has no effect on its loaders.
    """

    def __init__(
        self,
        streams: dict[str, StreamConfig],
        row_length: int = 4096,
        batch_size: int = 4,
        interleaving: Interleaving = Interleaving(),  # noqa: B008 (frozen)
        loss_on: LossOn = LossOn(),  # noqa: B008 (frozen)
        num_workers: int = 2,
        seed: int = 0,
        vocabulary: Vocabulary | None = None,
        val_rows: int | None = 256,
        storage: StorageSettings = StorageSettings(),  # noqa: B008 (frozen)
    ) -> None:
        """Store the settings; files are read in `setup`.

        Args:
            streams: settings of each data stream by its name.
            row_length: number of tokens in a row.
            batch_size: number of rows in a batch of one rank.
            interleaving: how aligned documents become sequences.
            loss_on: choice of the tokens that are predicted.
            num_workers: number of processes per rank that make rows; 0 makes them in the rank's own process.
            seed: seed for the order of documents and for all interleaving.
            vocabulary: vocabulary with which the blocks must have been built; None accepts any.
            val_rows: number of rows of each data stream to validate on, from the first on; None for all rows.
            storage: settings for blocks in object storage: cache, its size, and how many blocks are fetched ahead.
        """
        super().__init__()
        if not streams:
            raise ValueError("streams must name at least one stream, but is empty instead")
        self.streams = {name: _stream(value) for name, value in streams.items()}
        for name in self.streams:
            self._kind(name)
        self.row_length, self.batch_size, self.num_workers, self.seed = (row_length, batch_size, num_workers, seed)
        self.interleaving, self.loss_on = interleaving, loss_on
        self.expected_vocabulary, self.val_rows = vocabulary, val_rows
        self.storage = storage
        self._roots: dict[str, Place] = {}
        self._mixture: Mixture | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """Layout of the token ids, read from the blocks.

        Raises:
            FileNotFoundError, ValueError: if blocks are missing or do not fit together.
        """
        return self._manifests[0].vocabulary

    @property
    def units_per_second(self) -> float | None:
        """Speech tokens per second of speech, after deduplication; None where the blocks do not record it."""
        for manifest in self._manifests:
            if seconds := manifest.sources.get("seconds"):
                return sum(block.speech_tokens for block in manifest.blocks) / float(seconds)
        return None

    @property
    def text_fingerprint(self) -> str | None:
        """Fingerprint of the text tokenizer with which the blocks were built; None where they do not record it.

        Raises:
            ValueError: if streams were built with different text tokenizers.
        """
        found = {
            manifest.sources[TEXT_FINGERPRINT] for manifest in self._manifests if TEXT_FINGERPRINT in manifest.sources
        }
        if len(found) > 1:
            raise ValueError("streams must be built with one text tokenizer, but give different ids for the same texts")
        return next(iter(found), None)

    @property
    def templates(self) -> dict[str, Any]:
        """Forms of the conversations among the data, by the names of their tasks, as `Template.to_dict` gives them.

        Raises:
            ValueError: if streams were built with different templates for one task.
        """
        found: dict[str, Any] = {}
        for manifest in self._manifests:
            for name, template in manifest.sources.get(TEMPLATES, {}).items():
                if found.setdefault(name, template) != template:
                    raise ValueError(f"streams must be built with one template for {name}, but have two")
        return found

    @property
    def val_streams(self) -> list[str]:
        """Names of the data streams that have validation blocks, in the order of the validation loaders."""
        return self._split_streams("validation")

    @property
    def test_streams(self) -> list[str]:
        """Names of the data streams that have test blocks, in the order of the test loaders."""
        return self._split_streams("test")

    def setup(self, stage: str | None = None) -> None:
        """Read the manifests, and check that they fit together and have the expected vocabulary."""
        if stage == "fit":
            self._train_mixture()
            if is_validated(self) and not self.val_streams:
                warn_of_no_validation(
                    "streams must have blocks of the split 'validation', but there are none in "
                    f"{', '.join(self.streams)}",
                    "build them from corpora prepared with a larger --validation-fraction, or from text with a larger "
                    "--text-validation",
                )
        vocabulary = self.vocabulary
        _ = self.text_fingerprint
        self._check_units()
        if self.expected_vocabulary is not None and vocabulary != self.expected_vocabulary:
            own, expected = differences(vocabulary.to_dict(), self.expected_vocabulary.to_dict())
            raise ValueError(f"vocabulary must be that of the blocks, with {own}, but is with {expected} instead")

    def _check_units(self) -> None:
        """Check that the units of all streams that tell their tokenizer were made by one.

        Raises:
            ValueError: if they come from tokenizers with other weights.
        """
        made_by = {
            one.sources[TOKENIZER]: f"{one.kind} ({one.num_documents:,} documents)"
            for one in self._manifests
            if TOKENIZER in one.sources
        }
        if len(made_by) > 1:
            raise ValueError(
                f"streams must have units of one tokenizer, but those of {' and '.join(made_by.values())} come from "
                "tokenizers with other weights"
            )

    def train_dataloader(self) -> TrainingLoader:
        """Make the loader of training batches: as many as `max_steps` needs, or else a pass over the slowest stream."""
        mixture = self._train_mixture()
        share = share_of(self.trainer, self.batch_size)
        accumulate = share.accumulate
        max_steps = self.trainer.max_steps if self.trainer else -1
        if max_steps > 0:
            length = max_steps * accumulate
        else:
            length = -(-mixture.rows_until_all_read() // (share.rows_per_batch * accumulate)) * accumulate
        passes = zip(self.streams, mixture.passes(length * share.rows_per_batch), strict=True)
        rank_zero_info("passes over the streams: " + ", ".join(f"{name} {count:.3g}" for name, count in passes))
        for name, stream in zip(self.streams, mixture.streams, strict=True):
            if isinstance(stream, ConversationStream) and (stream.cut or stream.left_out):
                rank_zero_info(
                    f"of {stream.manifest.num_documents} conversations of {name}, {stream.cut} are cut at a turn and "
                    f"{stream.left_out} are left out, as they are longer than rows of {self.row_length} tokens"
                )
            if stream.manifest.kind != "aligned" and (filled := stream.filled) < MOSTLY:
                rank_zero_info(f"rows of {name} are {1 - filled:.0%} padding, since it has few tokens for such rows")
        identity: dict[str, Any] = {
            "seed": self.seed,
            "row_length": self.row_length,
            "loss_on": repr(self.loss_on),
            "streams": list(self.streams),  # the order decides which stream has the first turn
            **{
                f"streams.{name}": {
                    "weight": self.streams[name].weight,
                    "interleaving": repr(stream.interleaving) if isinstance(stream, TokenStream) else "",
                    "manifest": stream.manifest.sha256,
                }
                for name, stream in zip(self.streams, mixture.streams, strict=True)
            },
        }
        if mixture.turns.length > LONGEST_TABLE:  # an earlier version gave the streams other shares and turns
            identity[TURNS] = f"a cycle of {mixture.turns.length} rows"
        return TrainingLoader(
            mixture,
            share,
            length=length,
            predicted=self.loss_on.table(mixture.vocabulary),
            num_workers=self.num_workers,
            identity=identity,
            processed=processed_by(self.trainer),
        )

    def val_dataloader(self) -> list[EvaluationLoader]:
        """Make one loader for each of `val_streams`, with the same rows each time."""
        return self._evaluation("validation")

    def test_dataloader(self) -> list[EvaluationLoader]:
        """Make one loader for each of `test_streams`, with the same rows each time."""
        return self._evaluation("test")

    def _evaluation(self, split: str) -> list[EvaluationLoader]:
        streams = [self._open(name, split, VALIDATION_SEED) for name in self._split_streams(split)]
        for stream in streams:
            if stream.vocabulary != self.vocabulary:
                raise ValueError(
                    f"vocabulary of {stream.folder} must be {self.vocabulary}, but is {stream.vocabulary} instead"
                )
        predicted = self.loss_on.table(self.vocabulary)
        return [
            EvaluationLoader(
                stream, share_of(self.trainer, self.batch_size), predicted=predicted, num_rows=self.val_rows
            )
            for stream in streams
        ]

    @cached_property
    def _manifests(self) -> list[Manifest]:
        """Manifests of the training blocks, or else (for `validate`) of the first split that has blocks."""
        split = next((split for split in SPLITS if self._split_streams(split)), "train")
        if split == "train":
            return [stream.manifest for stream in self._train_mixture().streams]
        return [read_manifest(self._folder(name, split)) for name in self._split_streams(split)]

    def _train_mixture(self) -> Mixture:
        if self._mixture is None:
            streams = [self._open(name, "train", self.seed) for name in self.streams]
            self._mixture = Mixture(streams, [stream.weight for stream in self.streams.values()])
        return self._mixture

    def _open(self, name: str, split: str, seed: int) -> AnyStream:
        if self._kind(name) == CONVERSATION:
            return ConversationStream(self._folder(name, split), self.row_length, seed, name)
        options = self.streams[name].interleaving or self.interleaving
        return TokenStream(self._folder(name, split), self.row_length, seed, options, name)

    def _split_streams(self, split: str) -> list[str]:
        return [name for name in self.streams if (self._folder(name, split) / MANIFEST).is_file()]

    def _folder(self, name: str, split: str) -> Place:
        stream = self.streams[name]
        if stream.folder not in self._roots:  # one connection for each
            self._roots[stream.folder] = place(stream.folder, self.storage)
        return self._roots[stream.folder] / split / stream_folder(self._kind(name), stream.source)

    def _kind(self, name: str) -> str:
        kind = self.streams[name].kind or name
        if kind not in STREAM_KINDS:
            raise ValueError(f"streams.{name}.kind must be one of {', '.join(STREAM_KINDS)}, but is {kind!r} instead")
        return kind


def _stream(value: StreamConfig | dict[str, Any]) -> StreamConfig:
    return value if isinstance(value, StreamConfig) else StreamConfig(**value)
