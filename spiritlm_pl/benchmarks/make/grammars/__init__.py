"""Built-in templates in English; files given by --grammar have the same form."""

from pathlib import Path

FOLDER = Path(__file__).parent
