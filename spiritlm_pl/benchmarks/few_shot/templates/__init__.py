"""Prompts of the few-shot benchmarks, one YAML file each."""

from pathlib import Path

FOLDER = Path(__file__).parent
