"""spiritlm-pl: language models that speak and write, trained from corpus to waveform."""

__version__ = "0.1.0"
