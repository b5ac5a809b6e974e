"""What `transformers` and its libraries raise for a folder whose files hold something else than they should."""

import pickle

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

WRONG_VALUES = (TypeError, LookupError, ArithmeticError, AttributeError, StrictDataclassError)  # in a configuration
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError, *WRONG_VALUES)
