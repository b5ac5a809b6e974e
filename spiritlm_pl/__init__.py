"""spiritlm-pl: language models that speak and write, trained from corpus to waveform."""

__version__ = "0.1.0"

from spiritlm_pl.runtime import older_names

older_names.install()
