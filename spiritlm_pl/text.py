"""Text as pieces: SentencePiece models (Llama 2's, or one trained here) and tokenizers of `transformers`.

A word is encoded with the space before it, and a text as the concatenation of its words, so that a text cut
into spans at word boundaries has the same pieces whole and cut. The published models were trained otherwise: their
SentencePiece models hold the speech tokens as well, and encode a text whole, without the space before it.
"""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import sentencepiece

from spiritlm_pl.provenance import atomic_path

MODEL_FILE = "tokenizer.model"
LARGEST_AUTOMATIC = 1_000  # pieces, where the size is left to the corpus
HUGGING_FACE_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")
SPACE = "\u2581"  # as SentencePiece writes it
TEXT_MARKER = "[Text]"
SPECIAL = ("<s>", "</s>", "<unk>")
_TOO_HIGH = re.compile(r"value <= (\d+)")
_TOO_LOW = re.compile(r"required_chars\. \d+ vs (\d+)")


class _Backend(Protocol):
    """What TextTokenizer asks of a library."""

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    opening: tuple[int, ...]
    joint: str

    def encode(self, text: str) -> list[int] | None: ...

    def encode_stream(self, stream: str) -> list[int] | None: ...

    def encode_word(self, word: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...

    def save(self, folder: Path) -> None: ...


class _Words:
    """Texts are encoded word by word, and a stream begins with its first modality token."""

    opening: tuple[int, ...] = ()
    joint = " "

    def encode(self, text: str) -> list[int] | None:
        return None

    def encode_stream(self, stream: str) -> list[int] | None:
        return None


class _SentencePiece(_Words):
    def __init__(self, model: bytes) -> None:
        self.model = model
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size = self.processor.vocab_size()
        self.bos_id = _known(self.processor.bos_id())
        self.eos_id = _known(self.processor.eos_id())

    def encode_word(self, word: str) -> list[int]:
        return self.processor.encode(word)

    def decode(self, ids: list[int]) -> str:
        return self.processor.decode(ids)

    def save(self, folder: Path) -> None:
        with atomic_path(folder / MODEL_FILE) as path:
            path.write_bytes(self.model)


class _Published(_SentencePiece):
    """A SentencePiece model with speech tokens after its text pieces (Spirit LM's release)."""

    joint = ""

    def __init__(self, model: bytes) -> None:
        super().__init__(model)
        space, self.vocab_size = (self.processor.piece_to_id(piece) for piece in (SPACE, TEXT_MARKER))
        self.opening = (space,) if self.bos_id is None else (self.bos_id, space)
        pieces = (self.processor.id_to_piece(token) for token in range(self.vocab_size, self.processor.vocab_size()))
        self.control = re.compile("|".join(rf"\[(?={re.escape(piece[1:])})" for piece in pieces))
        self.special = {piece: self.processor.piece_to_id(piece) for piece in SPECIAL}

    def encode(self, text: str) -> list[int] | None:
        """Pieces of a text; what reads like a speech token in it is text, so it is cut behind its bracket."""
        ends = [match.end() for match in self.control.finditer(text)]
        parts = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
        ids = [self.processor.encode(TEXT_MARKER + part)[2:] for part in parts]  # without the space and the marker
        return [token for part in ids for token in part]

    def encode_stream(self, stream: str) -> list[int] | None:
        """Ids of a string of words and tokens, as the release gives them."""
        parts = re.split(f"({'|'.join(map(re.escape, SPECIAL))})", stream)
        ids = [] if self.bos_id is None else [self.bos_id]
        for part in parts:
            ids += [self.special[part]] if part in self.special else self.processor.encode(part)
        return ids


class _HuggingFace(_Words):
    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.vocab_size = len(self.tokenizer)
        self.bos_id, self.eos_id = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        inner = self._encode("the cat")[len(self._encode("the")) :]
        self.space = " " if self._encode(" cat") == inner else ""  # some tokenizers add the space themselves

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def encode_word(self, word: str) -> list[int]:
        return self._encode(self.space + word)

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text.removeprefix(" ")

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


class TextTokenizer:
    """Text to pieces and back."""

    def __init__(self, backend: _Backend) -> None:
        """Use `TextTokenizer.load`."""
        self._backend = backend
        self._words: dict[str, list[int]] = {}

    @classmethod
    def load(cls, path: str | Path) -> "TextTokenizer":
        """Read a SentencePiece .model, or a folder with `tokenizer.model` or a `transformers` tokenizer.

        Raises:
            FileNotFoundError: if there is nothing of the kind.
            ValueError: if the SentencePiece model is damaged.
        """
        path = Path(path)
        model = path / MODEL_FILE if path.is_dir() else path
        if model.is_file():
            try:
                return cls(_sentencepiece(model.read_bytes()))
            except RuntimeError as error:
                raise ValueError(f"text_tokenizer must be a SentencePiece model, but {model} is not: {error}") from None
        if any((path / name).is_file() for name in HUGGING_FACE_FILES):
            return cls(_HuggingFace(path))
        raise FileNotFoundError(
            f"text_tokenizer must be a .model file, or a folder with {MODEL_FILE} or a "
            f"transformers tokenizer, but is {path} instead"
        )

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return self._backend.vocab_size

    @property
    def bos_id(self) -> int | None:
        """Id that begins a text, if the tokenizer has one."""
        return self._backend.bos_id

    @property
    def eos_id(self) -> int | None:
        """Id that ends a text, if the tokenizer has one."""
        return self._backend.eos_id

    @property
    def opening(self) -> tuple[int, ...]:
        """Ids before the first modality token of a stream: none, or those of the published models."""
        return self._backend.opening

    @property
    def joint(self) -> str:
        """What stands between two texts that follow each other."""
        return self._backend.joint

    def encode_word(self, word: str) -> list[int]:
        """Pieces of a word with the space before it."""
        ids = self._words.get(word)
        if ids is None:
            ids = self._backend.encode_word(word)
            if len(self._words) < 1 << 18:
                self._words[word] = ids
        return list(ids)

    def encode(self, text: str) -> list[int]:
        """Pieces of a text: those of its words, one after the other, or with a published model of the whole.

        Speech and modality tokens never come of it, whatever is written.
        """
        whole = self._backend.encode(text)
        return [token for word in text.split() for token in self.encode_word(word)] if whole is None else whole

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Pieces of each word of a text; one after the other they are those of the text."""
        return [self.encode(f" {word}" if place else word) for place, word in enumerate(words)]

    def encode_stream(self, stream: str) -> list[int] | None:
        """Ids of a string such as `[Speech][Hu3][Text]the`, with what opens it; None but for a published model."""
        return self._backend.encode_stream(stream)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some pieces, without the space before it."""
        return self._backend.decode(list(ids))

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files into a folder, from which `load` reads it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(folder)


def train_text_tokenizer(lines: Iterable[str], vocab_size: int | None = None) -> TextTokenizer:
    """Train a SentencePiece BPE model with byte fallback, so that any text can be encoded.

    Args:
        lines: texts, one sentence or paragraph each.
        vocab_size: number of pieces; None for as many as the texts give, at most 1,000.

    Raises:
        ValueError: if there is no text, or the texts cannot give so many or so few pieces.
    """
    texts = [line for line in (" ".join(line.split()) for line in lines) if line]
    if not texts:
        raise ValueError("text must hold words, but is empty instead")
    try:
        return _train(texts, vocab_size or LARGEST_AUTOMATIC)
    except RuntimeError as error:
        too_high, too_low = _TOO_HIGH.search(str(error)), _TOO_LOW.search(str(error))
        if too_high and vocab_size is None:
            return _train(texts, int(too_high[1]))
        if too_low and vocab_size is None:  # a script of many characters
            return _train(texts, int(too_low[1]))
        if too_high:
            raise ValueError(
                f"vocab_size must be at most {too_high[1]} for this text, but is {vocab_size} instead"
            ) from None
        if too_low:
            raise ValueError(
                f"vocab_size must be at least {too_low[1]} for this text, but is {vocab_size} instead"
            ) from None
        raise ValueError(f"text must suit SentencePiece, but does not: {error}") from None


def _train(texts: list[str], vocab_size: int) -> TextTokenizer:
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        max_sentence_length=1 << 20,
        num_threads=1,
        minloglevel=2,
    )
    return TextTokenizer(_SentencePiece(model.getvalue()))


def _sentencepiece(model: bytes) -> _SentencePiece:
    found = _SentencePiece(model)
    published = found.processor.piece_to_id(TEXT_MARKER) != found.processor.unk_id()
    return _Published(model) if published else found


def _known(token: int) -> int | None:
    return token if token >= 0 else None
