"""Check that a model reads and writes what the items of a benchmark are made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.items import ChoiceItem, PromptItem
from spiritlm_pl.generation.types import Piece, Speech, Text

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM


def check_modalities(name: str, items: Sequence[Any], model: "SpiritLM") -> None:
    """Refuse a benchmark that a model cannot be asked, before the first of thousands of items fails.

    Args:
        name: name of the benchmark.
        items: items that are to be scored.
        model: model that is measured.

    Raises:
        ValueError: if an item has or asks for text, and the model has speech alone; or if all items have audio, and the
            model has no speech tokenizer.
    """
    if model.vocabulary.speech_alone and any(map(has_text, items)):
        raise ValueError(f"--model must read and write text for {name}, but is a language model of speech alone")
    if model.speech_tokenizer is None and all(map(has_audio, items)):
        raise ValueError(
            f"--model must have a speech tokenizer for {name}, or --speech-tokenizer beside it, but has none"
        )


def pieces_of(item: Any) -> tuple[Piece, ...]:
    """Return all pieces of an item; none of an item of another kind than those of text and speech."""
    if isinstance(item, ChoiceItem):
        return (*item.context, *item.right, *item.wrong)
    if isinstance(item, PromptItem):
        return tuple(piece for part in (*item.shots, item.prompt) for piece in part)
    return ()


def has_text(item: Any) -> bool:
    """Return whether an item has text or asks for it."""
    asks = getattr(item, "output", None) == "text" or bool(getattr(item, "written", False))
    return asks or any(isinstance(piece, Text) for piece in pieces_of(item))


def has_audio(item: Any) -> bool:
    """Return whether an item has speech that is neither units nor tokens yet."""
    spoken = [piece for piece in pieces_of(item) if isinstance(piece, Speech)]
    return any(piece.tokens is None and piece.units is None for piece in spoken)
