#!/bin/sh
# jsonargparse 4.53.0 (the command line of Lightning): `null` for a setting of a dataclass that a class takes becomes the text "None".
#
# Expected: `--model.init_args.network.checkpoint=null` sets None, as it does for arguments of the class itself, and as the same
#   null does in a configuration file. "null" is how None is spelt on the command line.
# Seen: a setting `str | None` is the text "None" from then on, without a word: a model is looked for in a folder of this name,
#   a run gets this name. A setting `float | None` is refused, although it may be None: "Expected a <class 'float'>".
#   Arguments of the class itself take null, and the dataclass at the top of the parser does.
# Why: the value is read as None, put into a new command line for the parser of the class, as "--network.checkpoint=None", and read
#   again.
# Source: jsonargparse/_typehints.py, `adapt_class_type`: f"--{init_args.key}={init_args.val}";
#   https://jsonargparse.readthedocs.io/en/v4.53.0/ ("null" in the section on type hints)
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
cat > settings.yaml <<'YAML'
model:
  class_path: __main__.Model
  init_args: {name: small, network: {checkpoint: llama, rate: 0.5}}
YAML
cat > null.py <<'PY'
from dataclasses import dataclass
from importlib.metadata import version

from jsonargparse import ArgumentError, ArgumentParser


@dataclass
class Network:
    checkpoint: str | None = None
    rate: float | None = None


class Model:
    def __init__(self, network: Network, name: str | None = None) -> None:
        self.network, self.name = network, name


def parse(*words):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(Model, "model")
    return parser.parse_args(["--config", "settings.yaml", *words]).model.init_args


print("jsonargparse", version("jsonargparse"))
assert parse().network.checkpoint == "llama" and parse("--model.init_args.name=null").name is None
with open("other.yaml", "w") as file:
    file.write("model: {init_args: {network: {checkpoint: null, rate: null}}}\n")
both = parse("--config", "other.yaml").network
assert both.checkpoint is None and both.rate is None
checkpoint = parse("--model.init_args.network.checkpoint=null").network.checkpoint
print("null for a text that may be None:", repr(checkpoint))
try:
    rate = repr(parse("--model.init_args.network.rate=null").network.rate)
except ArgumentError as error:
    rate = "refused, " + " ".join(str(error).split())[-160:]
print("null for a number that may be None:", rate)
if checkpoint is None or not rate.startswith("refused"):
    raise SystemExit("null is None there now")
PY
"$python" null.py
