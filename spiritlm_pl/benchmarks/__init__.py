"""Benchmarks of spoken language models: readers of their files, scores of items, and tables."""
