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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spiritlm_pl.contracts.speech_tokenizer import check_tokenizer
from spiritlm_pl.data.blocks import MANIFEST, STREAM_KINDS, TEXT_FINGERPRINT, read_manifest, write_block, write_manifest
from spiritlm_pl.data.corpus_store import UnitCorpus, UnitUtterance, common_layout
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.merge import SpeechTokens, speech_stream
from spiritlm_pl.data.rng import between, name_key
from spiritlm_pl.data.shuffling import Shuffler
from spiritlm_pl.runtime.interrupts import interrupts_held
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.runtime.model_description import stored_vocabulary
from spiritlm_pl.runtime.provenance import file_sha256
from spiritlm_pl.streams import PITCH, STYLE, UNIT, SpeechLayout, delayed
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

ROUNDING = 1e-6  # seconds by which a token may start before its word because of rounding
PARTS_IN_10_000 = 10_000


def speech_of(utterance: UnitUtterance, layout: SpeechLayout, vocabulary: Vocabulary) -> SpeechTokens:
    """Return the speech tokens of an utterance in their order.

    Args:
        utterance: tokenised utterance of a corpus.
        layout: streams of its tokenizer.
        vocabulary: vocabulary, whose streams are taken.

    Raises:
        ValueError: if the utterance lacks a stream of the vocabulary.
    """
    return speech_stream(utterance.units, utterance.unit_starts, utterance.codes, layout, vocabulary)


def speech_of_words(
    utterance: UnitUtterance, layout: SpeechLayout, vocabulary: Vocabulary
) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the speech token ids of each word of an aligned utterance; tokens go to the word in which they start."""
    tokens = speech_of(utterance, layout, vocabulary)
    starts = np.array([word.start for word in utterance.words])
    # In long speech, a pitch or style token may stand before units that start earlier. It goes to their word.
    begun = np.minimum.accumulate(tokens.starts[::-1])[::-1] + ROUNDING
    first = np.searchsorted(begun, starts[1:], side="left")  # first token of word 1, 2, ...
    return np.split(tokens.ids(vocabulary), np.maximum.accumulate(first)) if len(first) else [tokens.ids(vocabulary)]


def spoken_text(utterance: UnitUtterance) -> str:
    """Return the text of an utterance: its aligned words, or else its transcript."""
    return " ".join(word.word for word in utterance.words) or " ".join(utterance.text.split())


def speech_document(utterance: UnitUtterance, layout: SpeechLayout, vocabulary: Vocabulary) -> Document | None:
    """Make a speech-only document of an utterance; None if it has no units."""
    if not len(utterance.units):
        return None
    ids = speech_of(utterance, layout, vocabulary).ids(vocabulary).tolist()
    return Document(name_key(utterance.id), [WordIds([], ids)])


def aligned_document(
    utterance: UnitUtterance, layout: SpeechLayout, tokenizer: TextTokenizer, vocabulary: Vocabulary
) -> Document | None:
    """Make a document of both modalities of an utterance's words; None if it has no units or no word times.

    Args:
        utterance: tokenised utterance of a corpus.
        layout: streams of its tokenizer.
        tokenizer: text tokenizer for its words.
        vocabulary: layout of the token ids.
    """
    if not len(utterance.units) or not utterance.words:
        return None
    parts = speech_of_words(utterance, layout, vocabulary)
    texts = tokenizer.encode_words([word.word for word in utterance.words])
    words = [WordIds(text, ids.tolist()) for text, ids in zip(texts, parts, strict=True)]
    return Document(name_key(utterance.id), words) if any(word.text for word in words) else None


def text_document(name: str, text: str, tokenizer: TextTokenizer) -> Document | None:
    """Make a text-only document of a text; None if it is empty."""
    ids = tokenizer.encode(text)
    return Document(name_key(name), [WordIds(ids, [])]) if ids else None


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
    sizes = {"num_tasks": num_tasks, "multiple_of": multiple_of}
    given = {name: value for name, value in sizes.items() if value is not None}
    vocabulary = stored_vocabulary(text_tokenizer)
    if vocabulary is not None:
        _check_given(vocabulary, text_tokenizer, given if expressive is None else {**given, "expressive": expressive})
        check_tokenizer(layout, vocabulary, ", ".join(units))
        if codebook_delay is not None and vocabulary.streams != delayed(vocabulary.streams, codebook_delay):
            raise ValueError(f"codebook_delay must be that of {text_tokenizer}, but is {codebook_delay} instead")
    elif tokenizer.opening:
        raise ValueError(
            "text_tokenizer of a published model must be the folder `lm` of `spiritlm import-release`, but is "
            f"{text_tokenizer} instead"
        )
    else:
        vocabulary = _vocabulary(layout, expressive, num_text=tokenizer.vocab_size, **given)
        vocabulary = replace(vocabulary, streams=delayed(vocabulary.streams, codebook_delay or 0))
    vocabulary = delimited(vocabulary, tokenizer, text_tokenizer, end_of_document, begin_of_document)
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
            found = {
                "speech": speech_document(utterance, corpus.layout, vocabulary),
                "aligned": aligned_document(utterance, corpus.layout, tokenizer, vocabulary),
                "text": text_document(utterance.id, spoken_text(utterance), tokenizer) if transcripts else None,
            }
            for kind, document in found.items():
                if document is not None:
                    yield kind, document, utterance.duration


def _corpora(units: list[str], split: str) -> list[UnitCorpus]:
    """Open the corpora that have this split; each must have a training split."""
    return [
        UnitCorpus(folder, split) for folder in units if split == "train" or (Path(folder) / split / MANIFEST).is_file()
    ]


def _vocabulary(layout: SpeechLayout, expressive: bool | None, **sizes: int) -> Vocabulary:
    """Make the vocabulary of all streams of the shards, or of their units alone if `expressive` is False."""
    if expressive and not layout.expressive:
        raise ValueError("units must have pitch and style codes where expressive is true, but have units alone instead")
    if not layout.phonetic:
        return Vocabulary(streams=layout.streams, **sizes)
    codes = {} if expressive is False else {"num_pitches": layout.size(PITCH), "num_styles": layout.size(STYLE)}
    return Vocabulary.spirit_lm(num_units=layout.size(UNIT), **codes, **sizes)


def delimited(
    vocabulary: Vocabulary, tokenizer: TextTokenizer, folder: str, end: bool | None = None, begin: bool | None = None
) -> Vocabulary:
    """Return the vocabulary with the tokens that end and open documents.

    Args:
        vocabulary: layout of the token ids; that of a language model also tells what the model was trained with.
        tokenizer: text tokenizer that has these tokens.
        folder: folder of the text tokenizer, for messages.
        end: whether documents end with a token. None follows the language model; without one, it means yes if the
            tokenizer has an end token and is not that of a published model.
        begin: whether documents open with a token. None follows the language model; without one, it means no.

    Raises:
        ValueError: if the tokenizer lacks such a token, or the language model was trained differently.
    """
    given = {"end_of_document": end, "begin_of_document": begin}
    own = {"end_of_document": tokenizer.eos_id, "begin_of_document": tokenizer.bos_id}
    chosen: dict[str, Any] = {}
    for name, token in own.items():
        trained, wanted = getattr(vocabulary, name), given[name]
        if wanted is None:
            default = name == "end_of_document" and token is not None and not tokenizer.opening
            wanted = trained is not None or default
        if wanted and token is None:
            raise ValueError(
                f"{name} must be false where the text tokenizer has no token for it, but is true for {folder}"
            )
        found = token if wanted else None
        if trained is not None and found != trained:
            raise ValueError(f"{name} must be token {trained} as in the model of {folder}, but is {found} instead")
        if found is not None and name == "begin_of_document" and tokenizer.opening:
            raise ValueError(f"{name} must be false for a published model, but is true for {folder}")
        chosen[name] = found
    return replace(vocabulary, **chosen)


def _check_given(vocabulary: Vocabulary, folder: str, given: dict[str, int | bool]) -> None:
    """Refuse values that differ from those of the language model's vocabulary."""
    for name, value in given.items():
        if value != getattr(vocabulary, name):
            raise ValueError(f"{name} must be {getattr(vocabulary, name)} for {folder}, but is {value} instead")


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
