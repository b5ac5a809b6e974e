"""The text tokenizer of a model that has no text: every text is refused."""

from pathlib import Path

from spiritlm_pl.text_tokenizers.backends import Backend
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer


class NoWords(Backend):
    """Backend without a single token."""

    vocab_size = own_size = 0
    bos_id = eos_id = None
    prefixes = False

    def encode(self, text: str, continuing: bool) -> list[int]:
        """Refuse a text.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"a language model of speech alone takes no text, but is given {text[:40]!r}")

    def decode(self, ids: list[int]) -> str:
        """Return an empty text."""
        return ""

    def save(self, folder: Path) -> set[str]:
        """Write nothing."""
        return set()


class NoText(TextTokenizer):
    """Text tokenizer that refuses every text."""

    def __init__(self) -> None:
        """Make the tokenizer."""
        super().__init__(NoWords())

    @property
    def fingerprint(self) -> str:
        """The same word for every model without text."""
        return "none"
