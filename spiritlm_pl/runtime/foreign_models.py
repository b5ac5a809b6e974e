"""What `transformers` and its libraries raise for a folder whose files hold something else than they should."""

import pickle

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

# Of a configuration; torch asserts what its layers are given.
WRONG_VALUES = (TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, StrictDataclassError)
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError, *WRONG_VALUES)
