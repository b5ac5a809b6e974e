"""From phonetic units and a speaker to a waveform."""
