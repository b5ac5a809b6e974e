"""`spiritlm evaluate WHAT ... OUT`: measure on held-out data what a stage has learnt, and write a JSON file."""

from spiritlm_pl.registry import find_all

COMMANDS = find_all("metrics")
