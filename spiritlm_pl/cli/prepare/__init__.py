"""`spiritlm prepare KIND OUT ...`: make a corpus folder from a source of the given kind."""

from inspect import signature

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.registry import find_all

COMMANDS = {
    # Kinds of benchmarks have folders of their own within `out`, so that several may be made at a time.
    name: writes("out")(function) if "out" in signature(function).parameters and name != "benchmark" else function
    for name, function in find_all("corpora").items()
}
