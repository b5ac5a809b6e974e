"""Averages of benchmarks, from the results of their items: those of the official scorers, and those of papers."""
