"""Findings of the paper in miniature, with several seeds: runs, their results, and what these say."""
