"""Work of building blocks in tasks, each of which reads some inputs and writes sorted runs of their documents.

A task depends on its inputs alone. One that is complete has a record beside its runs, so that an interrupted build goes
on with those that are left, in any number of processes.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from spiritlm_pl.corpora.text_files.files import Piece
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.places import at_place
from spiritlm_pl.corpora.text_files.readers import batches_of
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.part_tables import PartTables
from spiritlm_pl.data.runs import Sorted, write_run
from spiritlm_pl.data.text_documents import encoded_texts
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.runtime.checksums import read_object
from spiritlm_pl.runtime.heap import keep_heap
from spiritlm_pl.runtime.opens_for_itself import OpensForItself
from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

RUN_TOKENS = 1 << 23  # of a stream, before they are sorted and written
Stream: TypeAlias = tuple[str, str]  # split and name of the stream, such as train and text
Made: TypeAlias = Iterator[tuple[Stream, Documents, float]]  # documents of a stream, with their seconds of speech


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Settings of a build that its tasks need.

    Attributes:
        text_tokenizer: file or folder of the text tokenizer.
        vocabulary: layout of the token ids.
        splits: splits to build.
        transcripts: whether texts of utterances are documents.
        text_validation: share of the documents of text files that goes to validation.
        seed: seed of the order of the documents.
    """

    text_tokenizer: str
    vocabulary: Vocabulary
    splits: tuple[str, ...]
    transcripts: bool
    text_validation: float
    seed: int


@dataclass(frozen=True)
class UnitPart:
    """A part of a tokenised corpus.

    Attributes:
        number: number of this input among all.
        size: size in bytes.
        folder: folder of the tokenised corpus.
        split: split of the corpus.
        part: number of the part.
        corpus: number of the corpus among all of the build.
    """

    number: int
    size: int
    folder: str
    split: str
    part: int
    corpus: int


@dataclass(frozen=True)
class TextPiece:
    """A piece of a text file, whose documents are divided into training and validation.

    Attributes:
        number: number of this input among all.
        size: size in bytes.
        stream: name of the stream that its documents go to: text, or text-NAME for a source with a name.
        piece: the piece.
        options: what a document is.
    """

    number: int
    size: int
    stream: str
    piece: Piece
    options: TextOptions


Input: TypeAlias = UnitPart | TextPiece


@dataclass(frozen=True)
class Task:
    """Inputs that one process reads together.

    Attributes:
        number: number of the task.
        inputs: the inputs, in order.
    """

    number: int
    inputs: tuple[Input, ...]

    @property
    def size(self) -> int:
        """Size of its inputs in bytes."""
        return sum(one.size for one in self.inputs)

    def record(self, folder: Path) -> Path:
        """Return the path of the file that tells that the task is complete."""
        return folder / f"task-{self.number:06d}.json"


class TaskReader(OpensForItself):
    """Reader of the inputs of tasks, which keeps tokenizer and corpora open from one task to the next.

    Args:
        folder: folder of runs and records.
        settings: settings of the build.
        tokenizer: the text tokenizer of the settings, for this process; others load it themselves.
    """

    def __init__(self, folder: Path, settings: BuildSettings, tokenizer: TextTokenizer) -> None:
        """Open nothing yet: each process has a reader of its own."""
        self.folder, self.settings = folder, settings
        self._tokenizer = tokenizer  # in place of what the property loads; a copy in another process is without it

    def __call__(self, task: Task) -> dict[str, Any]:
        """Write the runs of a task and its record; return the record, at once if the task is complete already.

        The record has the names of the runs with their streams and numbers of documents and tokens, the seconds of
        speech of each stream, the number of documents from text files, and what was left out of them or changed, by
        reason.

        Raises:
            OSError: if an input cannot be read, or the disk is full.
            ValueError: if a part of a corpus is damaged or does not fit the vocabulary.
        """
        path = task.record(self.folder)
        if path.is_file():
            return read_object(path)
        keep_heap()  # else each part's arrays are taken from the system anew, page by page
        collector = _Collector(self.folder, self.settings.seed, task.number)
        told = {key: defaultdict[str, Skipped](Skipped) for key in ("skipped", "changed")}
        texts: Counter[str] = Counter()
        for one in task.inputs:
            if isinstance(one, UnitPart):
                made = self._of_part(one)
            else:
                made = self._of_piece(one, told["skipped"][one.stream], told["changed"][one.stream], texts)
            for stream, table, seconds in made:
                collector.add(stream, table, seconds, one.number)
        collector.flush()
        record = {
            "runs": collector.runs,
            "seconds": {"/".join(stream): seconds for stream, seconds in collector.seconds.items()},
            "texts": texts,
            **{
                key: {stream: [dict(found.counts), found.examples] for stream, found in streams.items()}
                for key, streams in told.items()
            },
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
        return record

    def _of_part(self, part: UnitPart) -> Made:
        corpus = self._corpus(part.folder, part.split)
        corpus.fetch_ahead(part.part)
        made = self._maker.documents(corpus.table(part.part), corpus.layout, part.corpus)
        for kind, (table, seconds) in made.items():
            yield (part.split, kind), table, seconds

    def _of_piece(self, piece: TextPiece, skipped: Skipped, changed: Skipped, counts: Counter[str]) -> Made:
        batches, file = batches_of(piece.piece, piece.options, skipped), piece.piece.file
        place, share = partial(at_place, file), self.settings.text_validation
        for batch in encoded_texts(batches, file.name, self._encoder, share, skipped, changed, place):
            counts[piece.stream] += len(batch.keys)  # of all splits, also of those that are not built
            for split, held_out in (("train", False), ("validation", True)):
                table = batch.table(held_out) if split in self.settings.splits else None
                if table:
                    yield (split, piece.stream), table, 0.0

    @cached_property
    def _corpus(self) -> Callable[[str, str], UnitCorpus]:
        return lru_cache(maxsize=4)(UnitCorpus)

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        return TextTokenizer.load(self.settings.text_tokenizer)

    @cached_property
    def _encoder(self) -> FlatEncoder:
        return FlatEncoder(self._tokenizer)

    @cached_property
    def _maker(self) -> PartTables:
        return PartTables(self._tokenizer, self.settings.vocabulary, self.settings.transcripts)


class _Collector:
    """Documents of a task by stream, which become runs when there are many."""

    def __init__(self, folder: Path, seed: int, task: int) -> None:
        self.folder, self.seed, self.task = folder, seed, task
        self.runs: list[dict[str, Any]] = []
        self.seconds: dict[Stream, float] = {}
        self._kept: dict[Stream, list[tuple[Documents, int]]] = {}
        self._tokens: dict[Stream, int] = {}

    def add(self, stream: Stream, table: Documents, seconds: float, number: int) -> None:
        self._kept.setdefault(stream, []).append((table, number))
        self._tokens[stream] = self._tokens.get(stream, 0) + len(table.tokens)
        self.seconds[stream] = self.seconds.get(stream, 0.0) + seconds
        if self._tokens[stream] > RUN_TOKENS:
            self._write(stream)

    def flush(self) -> None:
        for stream in list(self._kept):
            self._write(stream)

    def _write(self, stream: Stream) -> None:
        kept = self._kept.pop(stream)
        numbers = [np.full(len(table), number, dtype=np.uint32) for table, number in kept]
        table = Documents.concatenate([table for table, _ in kept])
        split, folder = stream
        name = f"{split}-{folder}-{self.task:06d}-{len(self.runs):03d}.safetensors"
        checksum = write_run(self.folder / name, Sorted.of(table, np.concatenate(numbers), self.seed))
        run = {"stream": "/".join(stream), "file": name, "documents": len(table), "tokens": self._tokens.pop(stream)}
        self.runs.append({**run, "sha256": checksum})
