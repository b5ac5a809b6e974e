"""Templates of conversations, one YAML file each."""

from pathlib import Path

FOLDER = Path(__file__).parent
