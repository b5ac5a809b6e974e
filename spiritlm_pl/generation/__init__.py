"""Generation: a prompt of text and speech in, text and speech out."""

from spiritlm_pl.generation.loading import LoadOptions
from spiritlm_pl.generation.pieces import OutputModality, Piece, Speech, Text
from spiritlm_pl.generation.sampling import GenerationSettings
from spiritlm_pl.generation.spirit_lm import SpiritLM

__all__ = ["GenerationSettings", "LoadOptions", "OutputModality", "Piece", "Speech", "SpiritLM", "Text"]
