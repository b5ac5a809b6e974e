"""`spiritlm prepare KIND OUT ...`: make a corpus folder from a source of the given kind."""

from spiritlm_pl.registry import find_all

COMMANDS = find_all("corpora")
