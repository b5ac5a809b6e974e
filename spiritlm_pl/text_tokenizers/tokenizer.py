"""Text tokenizers: SentencePiece models (of Llama 2, or trained here) and tokenizers of `transformers`.

A text gets the ids that its tokenizer gives on its own: `AutoTokenizer` for a base model's folder, SentencePiece for a
single model file. A word after the first is encoded with the space before it, so that a text has the same ids whether
it is encoded whole or cut into spans at word boundaries. Tokenizers of `transformers` keep white space; a SentencePiece
model is given the words with single spaces between them. The published models were trained differently: their
SentencePiece models also hold the speech tokens, and encode a text whole, without the space before it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece

from spiritlm_pl.runtime.checksums import checked, forget, read_object
from spiritlm_pl.runtime.model_description import CONFIG_FILE, DESCRIPTION_FILE
from spiritlm_pl.storage.places import is_url
from spiritlm_pl.text_tokenizers.backends import MODEL_FILE, Backend, HuggingFace, SentencePiece, read_sentencepiece
from spiritlm_pl.vocabulary import Vocabulary

LARGEST_AUTOMATIC = 1_000  # largest number of pieces if no size is given
HUGGING_FACE_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")
OTHER_FILES = ("special_tokens_map.json", "added_tokens.json", "merges.txt", "chat_template.jinja")
TOKENIZER_FILES = (MODEL_FILE, *HUGGING_FACE_FILES, *OTHER_FILES)
PROBES = (
    "the cat sat on the mat",
    "the",
    " Two  words,\tone\nline: 3.14! ",
    "naïve Ωμέγα 你好 😀 (a_b) don't",
    "Привет, мир مرحبا ภาษาไทย 안녕",
    "In 1984, 12345 x 7 = 86415",
    "def f(x):\n    return x\n\n\n\tdone",
    "½ x\u00a0y",
    "=====",
    "",
)
NORMALIZATION = "nmt_nfkc"  # SentencePiece's default
HALF_PAIR = re.compile("[\ud800-\udfff]")  # a character that UTF-8 cannot hold
NUM_SPECIAL = 3 + 256  # pieces for unknown, begin and end, and one for every byte


def _as_model_reads_it(folder: Path) -> HuggingFace | None:
    """Open the tokenizer that `AutoTokenizer` makes of a SentencePiece model by the model's type; None if it cannot."""
    if not (folder / CONFIG_FILE).is_file():
        return None
    try:
        return HuggingFace(folder)
    except (ValueError, OSError):
        return None


def _with_end_of_model(backend: Backend, folder: Path) -> Backend:
    """Give a tokenizer the end token of the model in its folder, if the two differ.

    A tokenizer's class may add an end token of its own, whose embedding the model has never been trained on.
    """
    path = folder / CONFIG_FILE
    given = read_object(path).get("eos_token_id") if path.is_file() else None
    ends = [token for token in (given if isinstance(given, list) else [given]) if isinstance(token, int)]
    ends = [token for token in ends if 0 <= token < backend.vocab_size]
    if ends and backend.eos_id not in ends:
        backend.eos_id = ends[0]
    return backend


def modules_of(path: str | Path) -> tuple[str, ...]:
    """Return the names of modules that loading a tokenizer may import late, as they take long."""
    used = any((Path(path) / name).is_file() for name in HUGGING_FACE_FILES)
    return ("transformers.models.auto.tokenization_auto",) if used else ()


class TextTokenizer:
    """Tokenizer from text to token ids and back."""

    def __init__(self, backend: Backend) -> None:
        """Wrap a backend; `TextTokenizer.load` makes it from files."""
        self.backend = backend

    @classmethod
    def load(cls, path: str | Path) -> "TextTokenizer":
        """Load a SentencePiece .model, or a folder with `tokenizer.model` or a `transformers` tokenizer.

        A base model's folder is read as `AutoTokenizer` reads it, even if it also holds a SentencePiece model. The
        SentencePiece model is used if `AutoTokenizer` cannot read the folder, and for folders of this package's models
        and of the published ones.

        Raises:
            FileNotFoundError: if there is no tokenizer.
            ValueError: if the tokenizer is damaged, or cannot encode words with the space before them.
        """
        if is_url(path):
            raise ValueError(f"text_tokenizer must be a local file or folder, but is {path} instead; download it first")
        path = Path(path)
        if path.is_file() and path.suffix == ".json":
            raise ValueError(
                f"text_tokenizer must be a .model file or a folder, but is {path} instead; name its folder"
            )
        for name in TOKENIZER_FILES if path.is_dir() else ():
            checked(path / name)
        model = path / MODEL_FILE if path.is_dir() else path
        others = path.is_dir() and any((path / name).is_file() for name in HUGGING_FACE_FILES)
        if model.is_file():
            try:
                found = read_sentencepiece(model)
            except ValueError:
                if not others:
                    raise
            else:
                if found.opening or not path.is_dir() or (path / DESCRIPTION_FILE).is_file():
                    return cls(found)
                if not others:
                    return cls(_with_end_of_model(_as_model_reads_it(path) or found, path))
        if others:
            return cls(_with_end_of_model(HuggingFace(path), path))
        hint = f"; {path / 'lm'} is one" if any((path / "lm" / name).is_file() for name in TOKENIZER_FILES) else ""
        raise FileNotFoundError(
            f"text_tokenizer must be a .model file, or a folder with {MODEL_FILE} or a "
            f"transformers tokenizer, but is {path} instead{hint}"
        )

    @classmethod
    def load_fitting(cls, path: str | Path, vocabulary: Vocabulary, fingerprint: str | None = None) -> "TextTokenizer":
        """Load a tokenizer, and check that it gives the text ids of a vocabulary.

        Args:
            path: path of the tokenizer, as in `load`.
            vocabulary: vocabulary of the model or its data.
            fingerprint: fingerprint of the tokenizer that the data was made with; None if it is not known.

        Raises:
            FileNotFoundError: if there is no tokenizer.
            ValueError: if the tokenizer is damaged, or is not that of the vocabulary or the data.
        """
        tokenizer = cls.load(path)
        tokenizer.check_fits(path, vocabulary, fingerprint)
        return tokenizer

    def check_fits(self, path: str | Path, vocabulary: Vocabulary, fingerprint: str | None = None) -> None:
        """Check that this tokenizer gives the text ids of a vocabulary; the arguments are those of `load_fitting`.

        Raises:
            ValueError: if it is not that of the vocabulary or the data.
        """
        if self.vocab_size != vocabulary.num_text:
            raise ValueError(
                f"text_tokenizer must have the {vocabulary.num_text} text tokens of the vocabulary, but {path} has "
                f"{self.vocab_size} instead"
            )
        if fingerprint not in (None, self.fingerprint):
            raise ValueError(
                f"text_tokenizer must be the one that the blocks were built with, but {path} gives other ids for the "
                "same texts"
            )

    @property
    def library(self) -> str:
        """Name of the library that encodes: sentencepiece or transformers."""
        return "transformers" if isinstance(self.backend, HuggingFace) else "sentencepiece"

    @property
    def prefixes(self) -> bool:
        """Whether every text is encoded with a space before it; if not, only text that follows other pieces."""
        return self.backend.prefixes

    @property
    def fingerprint(self) -> str:
        """Hash of the ids of some texts; it is equal for tokenizers that give equal ids, whatever their files."""
        ids = [self.vocab_size, *([self.encode(probe), self.encode_words(probe.split())] for probe in PROBES)]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of text ids: one more than the highest that the tokenizer can give, including added tokens."""
        return self.backend.vocab_size

    @property
    def own_size(self) -> int:
        """Number of text ids without tokens that were added to the tokenizer after its training."""
        return min(self.backend.own_size, self.vocab_size)

    @property
    def added(self) -> tuple[str, ...]:
        """Added tokens that may occur in a text: those that are not special."""
        return self.backend.added

    @property
    def bos_id(self) -> int | None:
        """Id that begins a text; None if the tokenizer has none."""
        return self.backend.bos_id

    @property
    def eos_id(self) -> int | None:
        """Id that ends a text; None if the tokenizer has none."""
        return self.backend.eos_id

    @property
    def opening(self) -> tuple[int, ...]:
        """Ids before the first modality token of a stream; empty except for the published models."""
        return self.backend.opening

    @property
    def joint(self) -> str:
        """Text that stands between two texts that follow each other."""
        return self.backend.joint

    def encode_word(self, word: str) -> list[int]:
        """Encode a word together with the space before it."""
        return self.encode(word, continuing=True)

    def encode(self, text: str, continuing: bool = False) -> list[int]:
        """Encode a text as token ids.

        Speech and modality tokens are never among them, even if the text contains their names.

        Args:
            text: text to encode, any string.
            continuing: whether the text follows something, so that its first word is encoded with a space before it as
                well; ignored for the published models, which have no such spaces.
        """
        with _whole_characters(text):
            return list(self.backend.encode(text, continuing))

    def unknown_characters(self, text: str) -> str:
        """Return the characters of a text that have no token of their own, each once, in their order.

        They are encoded as bytes or as an unknown token. Tokenizers of bytes alone, such as GPT-2's, have none.
        """

        def is_unknown(part: str) -> bool:
            return not self.backend.unknown_ids.isdisjoint(self.encode(part))

        if not is_unknown(text):
            return ""
        return "".join(one for one in dict.fromkeys(text) if not one.isspace() and is_unknown(one))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode whole texts, each with the ids that `encode` gives it."""
        with _whole_characters(*texts):
            return self.backend.encode_batch(texts)

    def encode_following(self, words: Sequence[str]) -> list[list[int]]:
        """Encode words that begin with no space, each as one that follows something, with the space before it."""
        with _whole_characters(*words):
            return self.backend.encode_following(words)

    @property
    def keeps_line_breaks(self) -> bool:
        """Whether line breaks of a text are among its tokens; a SentencePiece model is given words alone."""
        return self.encode("a\nb") != self.encode("a b")

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Encode each word of a text; joined, the ids are those of the text with single spaces."""
        with _whole_characters(*words):
            return self.backend.encode_words(words)

    def encode_stream(self, stream: str) -> list[int] | None:
        """Encode a string such as `[Speech][Hu3][Text]the`, with its opening.

        Returns:
            The token ids; None for other models than the published ones, for which texts and tokens are encoded apart.
        """
        with _whole_characters(stream):
            return self.backend.encode_stream(stream)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids to text, without the space before it."""
        return self.backend.decode(list(ids))

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files into a folder, from which `load` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        forget(folder, *TOKENIZER_FILES)
        written = self.backend.save(folder)
        for name in {*TOKENIZER_FILES} - written:  # files of an earlier tokenizer would be read instead
            (folder / name).unlink(missing_ok=True)


@contextmanager
def _whole_characters(*texts: str) -> Iterator[None]:
    """Turn the error of a library over half a surrogate pair, as JSON may have it, into a ValueError that says so."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        half = next((text for text in texts if HALF_PAIR.search(text)), None)
        if half is None:
            raise
        raise ValueError(f"text must consist of whole characters, but {half!r} has half a surrogate pair") from error


def train_text_tokenizer(lines: Iterable[str], vocab_size: int | None = None) -> TextTokenizer:
    """Train a SentencePiece BPE model with byte fallback, so that any text can be encoded.

    Args:
        lines: texts to train on, one sentence or paragraph each.
        vocab_size: number of pieces; None for as many as the texts give, usually at most 1,000.

    Raises:
        ValueError: if there is no text, or the texts cannot give so many or so few pieces.
    """
    texts = [line for line in (" ".join(line.split()) for line in lines) if line]
    if not texts:
        raise ValueError("text must hold words, but is empty instead")
    try:
        return _trained(texts, vocab_size or LARGEST_AUTOMATIC)
    except RuntimeError:
        fewest, most = _sizes(texts, vocab_size or LARGEST_AUTOMATIC)
    if vocab_size is None:
        return _trained(texts, max(fewest, min(most, LARGEST_AUTOMATIC)))  # scripts of many letters need more
    if vocab_size < fewest:
        raise ValueError(f"vocab_size must be at least {fewest} for this text, but is {vocab_size} instead")
    raise ValueError(f"vocab_size must be at most {most} for this text, but is {vocab_size} instead")


def _sizes(texts: list[str], wanted: int) -> tuple[int, int]:
    """Find the smallest and the largest number of pieces that texts can give, the latter up to `wanted`.

    The smallest number has one piece for each letter.

    Raises:
        ValueError: if SentencePiece cannot learn from the texts, whatever the size.
    """
    normalizer = sentencepiece.SentencePieceNormalizer(rule_name=NORMALIZATION)
    letters = len(set().union(*map(normalizer.normalize, texts)))
    try:
        found = _train(texts, max(wanted, letters + NUM_SPECIAL), exactly=False)
    except RuntimeError as error:
        raise ValueError(f"text must suit SentencePiece, but does not: {error}") from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=found)
    size = processor.get_piece_size()
    merged = sum(len(processor.id_to_piece(piece)) > 1 for piece in range(NUM_SPECIAL, size))
    return size - merged, size


def _trained(texts: list[str], vocab_size: int) -> TextTokenizer:
    return TextTokenizer(SentencePiece(_train(texts, vocab_size)))


def _train(texts: list[str], vocab_size: int, exactly: bool = True) -> bytes:
    """Train a SentencePiece model and return its bytes.

    Args:
        texts: texts to learn from.
        vocab_size: number of pieces to learn.
        exactly: whether to fail if the texts give fewer pieces.

    Raises:
        RuntimeError: if the texts give fewer pieces, or have more letters than `vocab_size`.
    """
    model = BytesIO()
    limit: dict[str, Any] = {} if exactly else {"hard_vocab_limit": False}
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
        **limit,
    )
    return model.getvalue()
