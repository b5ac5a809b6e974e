"""`spiritlm evaluate WHAT ... OUT`: measure what a stage has learnt, on held-out data, into a JSON file."""

from spiritlm_pl.registry import find_all

COMMANDS = find_all("benchmarks")
