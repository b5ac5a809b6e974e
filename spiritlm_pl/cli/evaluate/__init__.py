"""`spiritlm evaluate WHAT ... OUT`: measure what a stage has learnt, on held-out data, into a JSON file."""

from spiritlm_pl.cli.evaluate.expressive import expressivity, prosody
from spiritlm_pl.cli.evaluate.general import choice, codes, endings, units
from spiritlm_pl.cli.evaluate.spoken import resynthesis

__all__ = ["COMMANDS", "choice", "codes", "endings", "expressivity", "prosody", "resynthesis", "units"]

COMMANDS = {
    "units": units,
    "codes": codes,
    "choice": choice,
    "endings": endings,
    "resynthesis": resynthesis,
    "expressivity": expressivity,
    "prosody": prosody,
}
