"""Generation: a prompt of text and speech in, text and speech out."""

from spiritlm_pl.generation.dialogue import Dialogue
from spiritlm_pl.generation.loading import LoadOptions
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.streaming import StreamedPiece, StreamEnd
from spiritlm_pl.generation.types import Answer, FinishReason, OutputModality, Piece, Speech, Text

__all__ = [
    "Answer",
    "Dialogue",
    "FinishReason",
    "GenerationSettings",
    "LoadOptions",
    "OutputModality",
    "Piece",
    "Speech",
    "SpiritLM",
    "StreamEnd",
    "StreamedPiece",
    "Text",
]
