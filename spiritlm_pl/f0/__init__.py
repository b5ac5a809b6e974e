"""Fundamental frequency (F0): extractors, contours, error measures, and F0 stored beside a corpus."""
