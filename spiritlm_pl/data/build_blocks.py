"""Building of training blocks from unit shards and text: one folder for each split and stream.

- speech: every utterance with units.
- aligned: every utterance with units and word times. A token belongs to the word in which its unit or code starts.
  Tokens before the first word go to the first word, and those of a pause to the word before it.
- text: lines of text files, and the transcripts of the corpora.

Every document ends with the text tokenizer's end token, and may open with its begin token. The vocabulary of the blocks
records both, and the tokens are inserted when documents are cut into rows.

Documents are shuffled once over all blocks, by a hash of their ids and the seed.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spiritlm_pl.data.block_vocabulary import block_vocabulary
from spiritlm_pl.data.blocks import MANIFEST, STREAM_KINDS, TEXT_FINGERPRINT, read_manifest, write_block, write_manifest
from spiritlm_pl.data.corpus_store import UnitCorpus, common_layout
from spiritlm_pl.data.documents import Document
from spiritlm_pl.data.rng import between, name_key
from spiritlm_pl.data.shuffling import Shuffler
from spiritlm_pl.data.utterances import documents_of, text_document
from spiritlm_pl.runtime.interrupts import interrupts_held
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.runtime.provenance import file_sha256
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

PARTS_IN_10_000 = 10_000


def file_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield names and contents of the documents of a text file, one per line; empty lines are skipped.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not UTF-8 or holds no text.
    """
    _check_file(path)
    empty = True
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream):
                if text := line.strip():
                    empty = False
                    yield f"{path.name}:{number}", text
    except UnicodeDecodeError as error:
        raise ValueError(f"text must be UTF-8, but {path} is not: {error}") from None
    if empty:
        raise ValueError(f"text must hold words, but {path} is empty instead")


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
    text: list[str] | None = None,
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
) -> dict[str, dict[str, int]]:
    """Build training blocks; `spiritlm_pl.cli.build_blocks` describes the arguments.

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
    files = [Path(name) for name in text or []]
    for path in files:
        _check_file(path)
    fresh = Path(out) / ".new"  # an earlier build stays until this one is complete
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for split in splits:
            sources = {
                "units": {str(corpus.folder): file_sha256(corpus.folder / MANIFEST) for corpus in corpora[split]},
                "text": {str(path): file_sha256(path) for path in files},
                "seed": seed,
                TEXT_FINGERPRINT: tokenizer.fingerprint,
            }
            with ExitStack() as stack:
                streams = {
                    kind: stack.enter_context(Shuffler(fresh / split / f".{kind}.shuffle", seed))
                    for kind in STREAM_KINDS
                }
                seconds = dict.fromkeys(STREAM_KINDS, 0.0)
                for kind, document, duration in _documents(corpora[split], tokenizer, vocabulary, transcripts):
                    streams[kind].add(document)
                    seconds[kind] += duration
                for path in files:
                    for document in _file_documents(path, tokenizer, split, text_validation):
                        streams["text"].add(document)
                for kind, documents in streams.items():
                    if documents.num_documents:
                        spoken = {} if kind == "text" else {"seconds": seconds[kind]}
                        write_stream(
                            fresh / split / kind, kind, documents, vocabulary, block_tokens, {**sources, **spoken}
                        )
        built = [(split, kind) for split in splits for kind in STREAM_KINDS if (fresh / split / kind).is_dir()]
        if not built:
            raise ValueError("units and text must hold documents, but hold none")
        with interrupts_held():  # so that all splits have one vocabulary
            for split in splits:
                for kind in STREAM_KINDS:
                    put_in_place(fresh / split / kind, Path(out) / split / kind)
            write_note(out, "build_blocks", units)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return {f"{split}/{kind}": _summary(Path(out) / split / kind) for split, kind in built}


def _file_documents(path: Path, tokenizer: TextTokenizer, split: str, text_validation: float) -> Iterator[Document]:
    """Yield the lines of a text file that belong to a split, as documents."""
    for name, line in file_texts(path):
        if _text_split(line, text_validation) == split:
            document = text_document(name, line, tokenizer)
            if document is not None:  # None for a line of control characters only
                yield document


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


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"text must be a file, but {path} is not there")


def _text_split(line: str, validation: float) -> str:
    """Assign a line to a split by its hash, so that equal lines fall into the same split."""
    drawn = between(name_key(" ".join(line.split())), 0, PARTS_IN_10_000 - 1)
    return "validation" if drawn < validation * PARTS_IN_10_000 else "train"


def _summary(folder: Path) -> dict[str, int]:
    manifest = read_manifest(folder)
    return {
        "blocks": len(manifest.blocks),
        "documents": manifest.num_documents,
        "text_tokens": sum(block.text_tokens for block in manifest.blocks),
        "speech_tokens": sum(block.speech_tokens for block in manifest.blocks),
    }
