"""Fundamental frequency: extractors, contours, and what is kept of a corpus."""
