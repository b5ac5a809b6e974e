"""Backends of text tokenizers: SentencePiece models, including the published ones, and tokenizers of `transformers`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sentencepiece

from spiritlm_pl.runtime.model_description import DESCRIPTION_FILE
from spiritlm_pl.runtime.provenance import atomic_path

MODEL_FILE = "tokenizer.model"
SPACE = "\u2581"  # SentencePiece's character for a space
TEXT_MARKER = "[Text]"
MOST_WORDS = 1 << 18  # words whose ids are kept
PROBE = "the cat"  # whose second word has a space before it
SPECIAL = ("<s>", "</s>", "<unk>")
BYTE = re.compile(r"<0x(?!09|0A|0D|20)[0-9A-F]{2}>")  # but white space, which some tokenizers only have as bytes


class Backend(ABC):
    """Interface of a library that encodes text, for `TextTokenizer`.

    Attributes:
        vocab_size: number of text ids, one more than the highest.
        own_size: number of text ids without tokens that were added to the tokenizer.
        bos_id: id that begins a text; None if there is none.
        eos_id: id that ends a text; None if there is none.
        opening: ids before the first modality token of a stream.
        joint: text that stands between two texts that follow each other.
        added: added tokens that may occur in a text.
        prefixes: whether every text gets a space before it.
    """

    vocab_size: int
    own_size: int
    bos_id: int | None
    eos_id: int | None
    opening: tuple[int, ...] = ()
    joint = " "
    added: tuple[str, ...] = ()
    prefixes: bool

    @property
    def unknown_ids(self) -> frozenset[int]:
        """Ids that stand for what has no token of its own: the unknown token, and the bytes of characters."""
        return frozenset()

    @abstractmethod
    def encode(self, text: str, continuing: bool) -> list[int]:
        """Encode a text as token ids, with a space before it if it is `continuing` after something."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode whole texts, each as `encode` does it on its own."""
        return [self.encode(text, False) for text in texts]

    def encode_following(self, words: Sequence[str]) -> list[list[int]]:
        """Encode words that begin with no space, each as one that follows something."""
        return [self.encode(word, True) for word in words]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Encode each word of a text."""
        return [self.encode(word.strip(), continuing=place > 0) for place, word in enumerate(words)]

    def encode_stream(self, stream: str) -> list[int] | None:
        """Encode a string of words and tokens; return None if it must be cut into texts and tokens first."""
        return None

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """Decode token ids to text, without the space before it."""

    @abstractmethod
    def save(self, folder: Path) -> set[str]:
        """Write the tokenizer into a folder; return the names of its files."""


class SentencePiece(Backend):
    """SentencePiece backend that encodes texts word by word.

    The first word gets a space before it only if the model itself puts one there, or the text follows something.
    """

    def __init__(self, model: bytes) -> None:
        """Load a model from its bytes."""
        self.model = model
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size = self.own_size = self.processor.vocab_size()
        self.bos_id = _known(self.processor.bos_id())
        self.eos_id = _known(self.processor.eos_id())
        self.with_space = self.processor
        if not self.processor.normalize("a").startswith(SPACE):
            self.with_space = sentencepiece.SentencePieceProcessor(model_proto=_with_prefix(model, True))
        self.prefixes = self.with_space is self.processor
        self.words: dict[str, list[int]] = {}

    @cached_property
    def unknown_ids(self) -> frozenset[int]:
        """Ids that stand for what has no token of its own: the unknown token, and the bytes of characters."""
        pieces = {self.processor.id_to_piece(token): token for token in range(self.processor.vocab_size())}
        return unknown_ids(pieces, self.processor.unk_id())

    @cached_property
    def within_words(self) -> sentencepiece.SentencePieceProcessor:
        """The model without a space before a text."""
        if not self.prefixes:
            return self.processor
        return sentencepiece.SentencePieceProcessor(model_proto=_with_prefix(self.model, False))

    def encode(self, text: str, continuing: bool) -> list[int]:
        """Encode the words of a text."""
        words = text.split()
        if self.prefixes or continuing or text[:1].isspace():
            return [token for word in words for token in self._encode_word(word)]
        ids: list[int] = self.processor.encode(words[0]) if words else []
        return ids + [token for word in words[1:] for token in self._encode_word(word)]

    def encode_following(self, words: Sequence[str]) -> list[list[int]]:
        """Encode words that begin with no space, each as one that follows something; none of them is kept."""
        ids: list[list[int]] = self.with_space.encode(list(words), num_threads=1)
        return ids

    def encode_within(self, parts: Sequence[str]) -> list[list[int]]:
        """Encode parts of words, each as one that has other characters of its word before it."""
        ids: list[list[int]] = self.within_words.encode(list(parts), num_threads=1)
        return ids

    def _encode_word(self, word: str) -> list[int]:
        ids = self.words.get(word)
        if ids is None:
            ids = self.with_space.encode(word)
            if len(self.words) < MOST_WORDS:
                self.words[word] = ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Decode token ids to text, without the space before it."""
        text: str = self.processor.decode(ids)
        return text if self.prefixes else text.removeprefix(" ")

    def save(self, folder: Path) -> set[str]:
        """Write the tokenizer into a folder; return the names of its files."""
        with atomic_path(folder / MODEL_FILE) as path:
            path.write_bytes(self.model)
        return {MODEL_FILE}


class Published(SentencePiece):
    """Backend of the published Spirit LM models: a SentencePiece model with speech tokens after its text pieces."""

    joint = ""

    def __init__(self, model: bytes) -> None:
        """Load a model from its bytes."""
        super().__init__(model)
        space, self.vocab_size = (self.processor.piece_to_id(piece) for piece in (SPACE, TEXT_MARKER))
        self.opening = (space,) if self.bos_id is None else (self.bos_id, space)
        pieces = (self.processor.id_to_piece(token) for token in range(self.vocab_size, self.processor.vocab_size()))
        self.control = re.compile("|".join(rf"\[(?={re.escape(piece[1:])})" for piece in pieces))
        self.special = {piece: self.processor.piece_to_id(piece) for piece in SPECIAL}

    def encode(self, text: str, continuing: bool) -> list[int]:
        """Encode a text; a name of a speech token in it is encoded as text, by cutting it after its bracket."""
        ends = [match.end() for match in self.control.finditer(text)]
        parts = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
        ids = [self.processor.encode(TEXT_MARKER + part)[2:] for part in parts]  # without space and marker
        return [token for part in ids for token in part]

    def encode_following(self, words: Sequence[str]) -> list[list[int]]:
        """Encode words that begin with no space, each as one that follows something."""
        return [self.encode(f" {word}", False) for word in words]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Encode each word of a text."""
        return [self.encode(f" {word}" if place else word, False) for place, word in enumerate(words)]

    def decode(self, ids: list[int]) -> str:
        """Decode token ids to text, without the space before it."""
        text: str = self.processor.decode(ids)
        return text

    def encode_stream(self, stream: str) -> list[int] | None:
        """Encode a string of words and tokens, with the ids that the published code gives."""
        parts = re.split(f"({'|'.join(map(re.escape, SPECIAL))})", stream)
        ids = [] if self.bos_id is None else [self.bos_id]
        for part in parts:
            ids += [self.special[part]] if part in self.special else self.processor.encode(part)
        return ids


class HuggingFace(Backend):
    """Backend of a `transformers` tokenizer as `AutoTokenizer` opens it; texts are encoded whole."""

    def __init__(self, folder: Path) -> None:
        """Open the tokenizer of a folder."""
        self.tokenizer: Any = _opened(folder)
        self.words: dict[tuple[str, bool], list[int]] = {}
        ids = self.tokenizer.get_vocab()
        self.vocab_size = ids.get(TEXT_MARKER, max(ids.values()) + 1)  # ids may have gaps; an export has speech tokens
        self.own_size = max(self.tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False).values()) + 1
        self.bos_id, self.eos_id = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        added = self.tokenizer.added_tokens_decoder.values()
        self.added = tuple(token.content for token in added if not token.special)
        first, second = PROBE.split()
        inner = self._encode(PROBE)[len(self._encode(first)) :]
        self.space = " " if self._encode(f" {second}") == inner else ""
        self.prefixes = self._encode(second) == inner  # some tokenizers add the space themselves

    @cached_property
    def unknown_ids(self) -> frozenset[int]:
        """Ids that stand for what has no token of its own: the unknown token, and the bytes of characters."""
        return unknown_ids(self.tokenizer.get_vocab(), self.tokenizer.unk_token_id)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def encode(self, text: str, continuing: bool) -> list[int]:
        """Encode a text as it is, including its white space."""
        apart = continuing and text != "" and not text[0].isspace()
        return self._encode(self.space + text if apart else text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode whole texts, in several threads if the process may use them, without the places of the tokens."""
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # names of special tokens in a text are text
        return [found.ids for found in backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_following(self, words: Sequence[str]) -> list[list[int]]:
        """Encode words that begin with no space, each as one that follows something."""
        return self.encode_batch([self.space + word for word in words])

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Encode each word of a text; words are kept, because few of them are most of a corpus."""
        return [self._word(word.strip(), place > 0) for place, word in enumerate(words)]

    def _word(self, word: str, continuing: bool) -> list[int]:
        ids = self.words.get((word, continuing))
        if ids is None:
            ids = self.encode(word, continuing)
            if len(self.words) < MOST_WORDS:
                self.words[word, continuing] = ids
        return list(ids)

    def decode(self, ids: list[int]) -> str:
        """Decode token ids to text, without the space before it."""
        text: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text.removeprefix(" ")

    def save(self, folder: Path) -> set[str]:
        """Write the tokenizer into a folder; return the names of its files."""
        return {Path(name).name for name in self.tokenizer.save_pretrained(folder)} - {MODEL_FILE}


def unknown_ids(ids: Mapping[str, int], unknown: int | None) -> frozenset[int]:
    """Return the ids of a vocabulary that stand for what has no token of its own.

    Args:
        ids: ids by the names of all tokens.
        unknown: id of the unknown token; None if there is none.
    """
    found = {token for name, token in ids.items() if BYTE.fullmatch(name)}
    return frozenset(found if unknown is None else found | {unknown})


def read_sentencepiece(path: Path) -> SentencePiece:
    """Load a SentencePiece model from its file.

    Raises:
        ValueError: if it is no such model, or does not put spaces before words.
    """
    model = path.read_bytes()
    try:
        found = SentencePiece(model)
    except RuntimeError as error:
        raise ValueError(f"text_tokenizer must be a SentencePiece model, but {path} is not: {error}") from None
    if found.processor.piece_to_id(TEXT_MARKER) != found.processor.unk_id():
        return Published(model)
    if not found.with_space.normalize("a").startswith(SPACE):
        raise ValueError(f"text_tokenizer must put the space before a word, but {path} puts it after the word, or none")
    return found


def _with_prefix(model: bytes, prefix: bool) -> bytes:
    """Return a copy of a SentencePiece model that puts a space before a text, or does not."""
    from spiritlm_pl.text_tokenizers.model_proto import ModelProto

    proto = ModelProto.FromString(model)
    proto.normalizer_spec.add_dummy_prefix = prefix
    changed: bytes = proto.SerializeToString()
    return changed


def _opened(folder: Path) -> Any:
    """Open the tokenizer of a folder by `AutoTokenizer`; one that this package wrote, by the class that wrote it.

    Raises:
        ValueError: if it cannot be opened, or is not of the tokenizers library.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    opener: Any = PreTrainedTokenizerFast if (folder / DESCRIPTION_FILE).is_file() else AutoTokenizer
    try:
        tokenizer = opener.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # errors are of many kinds, depending on the fault in the files
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"text_tokenizer must be one that {opener.__name__} opens, but {folder}: {reason}") from error
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise ValueError(f"text_tokenizer must be one of the tokenizers library, but {folder} has a {kind} instead")
    return tokenizer


def _known(token: int) -> int | None:
    return token if token >= 0 else None
