"""Vocoder: from speech units and a speaker to a waveform."""
