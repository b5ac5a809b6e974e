"""Forced alignment: the times of words (and phones) in a corpus."""
