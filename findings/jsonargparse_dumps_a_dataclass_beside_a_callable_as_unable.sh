#!/bin/sh
# jsonargparse 4.53.0 (the command line of Lightning): the settings of a dataclass are lost from the recorded configuration where the
#   argument may also be a callable.
#
# Expected: what `dump` writes, and Lightning's SaveConfigCallback puts beside a run, is the configuration that was parsed: read
#   again, it gives the same objects.
# Seen: of `schedule: Warmup | Callable[[int], float] | None` with `steps: 0.25`, as of a learning rate schedule, the command line
#   makes Warmup(steps=0.25), and the file holds the text "Unable to serialize instance Namespace(steps=0.25)". A warning passes
#   by; the file, read again, gives no Warmup: it is refused. The order of the types does not matter. Without the callable the
#   settings are written.
# Source: https://jsonargparse.readthedocs.io/en/v4.53.0/ ("Serializing ... dump" and "Writing configuration files");
#   https://lightning.ai/docs/pytorch/stable/cli/lightning_cli_advanced_3.html, where schedules are callables
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet 'jsonargparse[signatures]==4.53.0'
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > dump.py <<'PY'
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from jsonargparse import ArgumentError, ArgumentParser

warnings.simplefilter("ignore")


@dataclass
class Warmup:
    steps: float = 0.1


class CallableFirst:
    def __init__(self, schedule: Callable[[int], float] | Warmup | None = None) -> None:
        self.schedule = schedule


class CallableLast:
    def __init__(self, schedule: Warmup | Callable[[int], float] | None = None) -> None:
        self.schedule = schedule


class NoCallable:
    def __init__(self, schedule: Warmup | None = None) -> None:
        self.schedule = schedule


def read_again(kind):
    """What the command line makes, the line that is dumped, and whether this line is read as the same settings."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "model")
    parsed = parser.parse_args(["--model.schedule.steps=0.25"])
    text = parser.dump(parsed)
    try:
        same = parser.parse_string(text).model == parsed.model
    except ArgumentError:
        same = False
    return parser.instantiate(parsed).model.schedule, " ".join(text.split()), same


print("jsonargparse", version("jsonargparse"))
found = {kind.__name__: read_again(kind) for kind in (NoCallable, CallableFirst, CallableLast)}
for name, (made, text, same) in found.items():
    print(f"{name}: {made}, dumped as {text!r}, {'the same' if same else 'lost'} when it is read again")
assert found["NoCallable"][2] and all(made == Warmup(0.25) for made, _, _ in found.values())
if found["CallableFirst"][2] or found["CallableLast"][2]:
    raise SystemExit("the settings are written now")
PY
"$python" dump.py
