"""Stages of the quickstart, which runs the whole path in miniature."""
