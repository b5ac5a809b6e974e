"""Check that a model reads and writes what the items of a benchmark are made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.items import ChoiceItem, PromptItem
from spiritlm_pl.generation.types import Text

if TYPE_CHECKING:
    from spiritlm_pl.vocabulary import Vocabulary


def check_modalities(name: str, items: Sequence[Any], vocabulary: "Vocabulary") -> None:
    """Refuse a benchmark with text for a model of speech alone, before any item is scored.

    Args:
        name: name of the benchmark.
        items: items that are to be scored.
        vocabulary: vocabulary of the model.

    Raises:
        ValueError: if an item has text, or asks for it, and the model has none.
    """
    if vocabulary.speech_alone and any(map(has_text, items)):
        raise ValueError(f"--model must read and write text for {name}, but is a language model of speech alone")


def has_text(item: Any) -> bool:
    """Return whether an item has text or asks for it."""
    if isinstance(item, ChoiceItem):
        return any(isinstance(piece, Text) for piece in (*item.context, *item.right, *item.wrong))
    if isinstance(item, PromptItem):
        pieces = [piece for part in (*item.shots, item.prompt) for piece in part]
        return item.output == "text" or any(isinstance(piece, Text) for piece in pieces)
    return bool(getattr(item, "written", False))
