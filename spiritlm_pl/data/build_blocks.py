"""Building of training blocks from unit shards and text: one folder for each split and stream.

- speech: every utterance with units.
- aligned: every utterance with units and word times. A token belongs to the word in which its unit or code starts.
  Tokens before the first word go to the first word, and those of a pause to the word before it.
- text: documents of text files, and the transcripts of the corpora. Sources of texts that have names give a stream
  each, text-NAME.

Every document ends with the text tokenizer's end token, and may open with its begin token. The vocabulary of the blocks
records both, and the tokens are inserted when documents are cut into rows.

Documents are shuffled once over all blocks, by a hash of their ids and the seed.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.block_vocabulary import block_vocabulary
from spiritlm_pl.data.blocks import (
    MANIFEST,
    STREAM_KINDS,
    TEXT_FINGERPRINT,
    read_manifest,
    stream_folder,
    write_block,
    write_manifest,
)
from spiritlm_pl.data.corpus_store import UnitCorpus, common_layout
from spiritlm_pl.data.documents import Document
from spiritlm_pl.data.shuffling import Shuffler
from spiritlm_pl.data.text_documents import encoded_texts
from spiritlm_pl.data.text_streams import described, hashes, open_sources
from spiritlm_pl.data.utterances import documents_of
from spiritlm_pl.runtime.interrupts import interrupts_held
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.runtime.provenance import file_sha256
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


def write_stream(
    folder: Path, kind: str, documents: Shuffler, vocabulary: Vocabulary, block_tokens: int, sources: dict[str, Any]
) -> None:
    """Write shuffled documents as blocks of about equal size.

    Args:
        folder: folder of the stream's blocks.
        kind: kind of the documents: text, speech or aligned.
        documents: documents to shuffle and write.
        vocabulary: layout of the token ids.
        block_tokens: largest number of tokens in a block, roughly.
        sources: names and hashes of the inputs, for the manifest.
    """
    parts = enumerate(documents.blocks(block_tokens))
    entries = [write_block(folder, number, part, vocabulary) for number, part in parts]
    write_manifest(folder, kind, vocabulary, entries, sources)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Replace the folder of a stream by the one that was built, or remove it if none was."""
    stale = fresh.with_name(f"{fresh.name}.old")
    if folder.exists():
        stale.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(stale)
    if fresh.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)


def build_blocks(
    units: list[str],
    text_tokenizer: str,
    out: str,
    text: list[str] | dict[str, list[str]] | None = None,
    text_field: str | dict[str, str] = "text",
    text_documents: str | dict[str, str] = "line",
    splits: tuple[str, ...] = ("train", "validation", "test"),
    transcripts: bool = True,
    text_validation: float = 0.01,
    expressive: bool | None = None,
    num_tasks: int | None = None,
    multiple_of: int | None = None,
    end_of_document: bool | None = None,
    begin_of_document: bool | None = None,
    codebook_delay: int | None = None,
    block_tokens: int = 4_194_304,
    seed: int = 0,
    skipped: Skipped | None = None,
) -> dict[str, dict[str, int]]:
    """Build training blocks; `spiritlm_pl.cli.build_blocks` describes the arguments.

    Besides, `skipped` is where to count what is left out of the text files; None forgets it, but for the manifests.

    Returns:
        For each "split/stream" its numbers of blocks, documents, text tokens and speech tokens.

    Raises:
        FileNotFoundError: if an input file or folder is missing.
        ValueError: if inputs do not fit together, or hold no documents.
    """
    if not 0 <= text_validation < 1:
        raise ValueError(f"text_validation must be in [0, 1), but is {text_validation} instead")
    if block_tokens < 1:
        raise ValueError(f"block_tokens must be at least 1, but is {block_tokens} instead")
    tokenizer = TextTokenizer.load(text_tokenizer)
    corpora = {split: _corpora(units, split) for split in splits}
    layout = common_layout([corpus for members in corpora.values() for corpus in members])
    vocabulary = block_vocabulary(
        layout,
        tokenizer,
        text_tokenizer,
        units,
        expressive=expressive,
        num_tasks=num_tasks,
        multiple_of=multiple_of,
        end_of_document=end_of_document,
        begin_of_document=begin_of_document,
        codebook_delay=codebook_delay,
    )
    from spiritlm_pl.text_tokenizers.check import check_text_tokenizer  # imports transformers, which takes two seconds

    check_text_tokenizer(text_tokenizer, vocabulary)
    text_sources, encoder = open_sources(text, text_field, text_documents), FlatEncoder(tokenizer)
    fresh = Path(out) / ".new"  # an earlier build stays until this one is complete
    shutil.rmtree(fresh, ignore_errors=True)
    common = {"seed": seed, TEXT_FINGERPRINT: tokenizer.fingerprint}
    try:
        for name in text_sources:
            if name is not None:
                with _TextStreams(fresh, splits, name, seed) as texts:
                    texts.read(text_sources[name], encoder, text_validation, skipped)
                    for split in splits:
                        texts.write(split, vocabulary, block_tokens, common)
        with _TextStreams(fresh, splits, None, seed) as texts:
            if None in text_sources:
                texts.read(text_sources[None], encoder, text_validation, skipped)
            for split in splits:
                sources = {
                    **common,
                    "units": {str(corpus.folder): file_sha256(corpus.folder / MANIFEST) for corpus in corpora[split]},
                }
                with ExitStack() as stack:
                    spoken = {
                        kind: stack.enter_context(Shuffler(fresh / split / f".{kind}.shuffle", seed))
                        for kind in STREAM_KINDS
                        if kind != "text"
                    }
                    streams = {**spoken, "text": texts.shufflers[split]}
                    seconds = dict.fromkeys(STREAM_KINDS, 0.0)
                    for kind, document, duration in _documents(corpora[split], tokenizer, vocabulary, transcripts):
                        streams[kind].add(document)
                        seconds[kind] += duration
                    for kind, documents in spoken.items():
                        if documents.num_documents:
                            facts = {**sources, "seconds": seconds[kind]}
                            write_stream(fresh / split / kind, kind, documents, vocabulary, block_tokens, facts)
                texts.write(split, vocabulary, block_tokens, sources)
        built = [(split, name) for split in splits for name in _stream_names(fresh / split)]
        if not built:
            raise ValueError("units and text must hold documents, but hold none")
        with interrupts_held():  # so that all splits have one vocabulary
            for split in splits:
                for name in {*_stream_names(fresh / split), *_stream_names(Path(out) / split)}:
                    put_in_place(fresh / split / name, Path(out) / split / name)
            write_note(out, "build_blocks", units)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return {f"{split}/{name}": _summary(Path(out) / split / name) for split, name in built}


class _TextStreams:
    """Documents of one text stream in all splits, from a source of texts and from transcripts."""

    def __init__(self, folder: Path, splits: tuple[str, ...], name: str | None, seed: int) -> None:
        """Take the folder of the build, and the name of the source, or None for the stream without a name."""
        self.folder, self.stream = folder, stream_folder("text", name)
        self.shufflers = {split: Shuffler(folder / split / f".{self.stream}.shuffle", seed) for split in splits}
        self.facts: dict[str, Any] = {"text": {}}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for shuffler in self.shufflers.values():
            self._stack.enter_context(shuffler)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, source: TextSource, encoder: FlatEncoder, validation: float, skipped: Skipped | None = None) -> None:
        """Read the documents of a source into the splits to which they belong; add to `skipped` what is left out."""
        own = Skipped()
        for batch in encoded_texts(source.all_texts(own), encoder, validation, own):
            for split, held_out in (("train", False), ("validation", True)):
                if split in self.shufflers:
                    for document in batch.documents(held_out):
                        self.shufflers[split].add(document)
        self.facts = {"text": hashes(source.files), "text_options": described(source, own)}
        if skipped is not None:
            skipped.merge(own)

    def write(self, split: str, vocabulary: Vocabulary, block_tokens: int, sources: dict[str, Any]) -> None:
        """Write the documents of a split as blocks, if there are any."""
        documents, folder = self.shufflers[split], self.folder / split / self.stream
        if documents.num_documents:
            write_stream(folder, "text", documents, vocabulary, block_tokens, {**sources, **self.facts})


def _stream_names(folder: Path) -> list[str]:
    """Return the names of the streams that a split has, in a fixed order."""
    texts = sorted(path.parent.name for path in folder.glob(f"{stream_folder('text', '*')}/{MANIFEST}"))
    return [name for name in ("text", *texts, *STREAM_KINDS[1:]) if (folder / name).is_dir()]


def _documents(
    corpora: list[UnitCorpus], tokenizer: TextTokenizer, vocabulary: Vocabulary, transcripts: bool
) -> Iterator[tuple[str, Document, float]]:
    """Yield the documents of utterances: stream, document and seconds of speech."""
    for corpus in corpora:
        for utterance in corpus:
            for kind, document in documents_of(utterance, corpus.layout, tokenizer, vocabulary, transcripts):
                yield kind, document, utterance.duration


def _corpora(units: list[str], split: str) -> list[UnitCorpus]:
    """Open the corpora that have this split; each must have a training split."""
    return [
        UnitCorpus(folder, split) for folder in units if split == "train" or (Path(folder) / split / MANIFEST).is_file()
    ]


def _summary(folder: Path) -> dict[str, int]:
    manifest = read_manifest(folder)
    return {
        "blocks": len(manifest.blocks),
        "documents": manifest.num_documents,
        "text_tokens": sum(block.text_tokens for block in manifest.blocks),
        "speech_tokens": sum(block.speech_tokens for block in manifest.blocks),
    }
