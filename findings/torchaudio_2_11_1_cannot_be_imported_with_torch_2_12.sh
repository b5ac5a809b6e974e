#!/bin/sh
# torchaudio 2.11.1: its metadata asks for `torch>=2.11`, but with torch 2.11 and 2.12 it cannot be imported.
#
# Expected: `pip install torch==2.12.1 torchaudio` gives versions that work together. torchaudio 2.11 is built against the
#   stable interface of torch; its description says "TorchAudio 2.11 requires torch 2.11 or newer, including all future
#   releases", `pip check` finds nothing, and torchaudio 2.11.0 can be imported with torch 2.11 to 2.14.
# Seen: `import torchaudio` raises OSError, "Could not load this library": libtorchaudio.so of 2.11.1 needs the symbol
#   torch_exception_get_what_without_backtrace, which torch has from 2.13 on.
# Source: METADATA of torchaudio 2.11.1 (Requires-Dist: torch>=2.11), torchaudio/lib/libtorchaudio.so.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
# `===` takes the build that a package index has under this very name: one for CPUs alone lacks libraries of CUDA.
"$folder/venv/bin/pip" install --quiet "torch===2.12.1" numpy
cd "$folder"
for version in 2.11.0 2.11.1; do
    "$folder/venv/bin/pip" install --quiet "torchaudio==$version"
    "$folder/venv/bin/pip" check
    "$python" - <<'PY'
import ctypes
from importlib.metadata import requires, version
from importlib.util import find_spec
from pathlib import Path

import torch

print("torch", torch.__version__, "torchaudio", version("torchaudio"), "asks for", requires("torchaudio"))
fails = version("torchaudio").startswith("2.11.1")
assert not fails or "torch>=2.11" in requires("torchaudio")
try:
    import torchaudio
except OSError as error:
    library = Path(find_spec("torchaudio").origin).parent / "lib" / "libtorchaudio.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as cause:
        print(f"import torchaudio: {type(error).__name__}, {str(cause).split(': ', 1)[1]}")
        assert fails and "torch_exception_get_what_without_backtrace" in str(cause)
else:
    print("import torchaudio: works")
    if fails:
        raise SystemExit("2.11.1 can be imported with torch 2.12 now")
PY
done
