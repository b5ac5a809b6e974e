"""What every maker of a benchmark is given, and the files that it reads."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
import yaml

from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.corpora.synthetic.espeak import Voice

WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’ʼʻ][\p{L}\p{M}]+)*")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a maker.

    Attributes:
        voices: voices that speak, all of one language.
        count: number of items: pairs of a suite (of each part, where it has several), or utterances.
        seed: seed of all that is drawn.
        layout: name of the layout, where a suite has several.
        lexicon: file of words, one a line; None for the built-in ones.
        grammar: YAML file of templates; None for the built-in ones.
        stories: text file of stories or sentences; None for the built-in ones.
        text: text file in which words are counted; None for the built-in stories.
        text_tokenizer: folder or `.model` file of a text tokenizer whose pieces are counted; None to count none.
    """

    voices: tuple[Voice, ...]
    count: int
    seed: int = 0
    layout: str = ""
    lexicon: Path | None = None
    grammar: Path | None = None
    stories: Path | None = None
    text: Path | None = None
    text_tokenizer: Path | None = None

    @property
    def language(self) -> str:
        """Language of the voices, such as en."""
        return self.voices[0].language

    def needs_english(self, option: str) -> None:
        """Raise a ValueError if what is built in does not fit the language.

        Args:
            option: option that would give a file instead.
        """
        if self.language != "en":
            raise ValueError(
                f"{option} must be given for language {self.language}, as what is built in is English, but is missing"
            )

    def check_count(self, most: int, what: str, least: int = 1) -> None:
        """Raise a ValueError if the count is out of range.

        Args:
            most: largest count.
            what: of what there are no more, for the error.
            least: smallest count.
        """
        if most < least:
            raise ValueError(f"count must be at least {least}, but there are only {most} {what}")
        if not least <= self.count <= most:
            raise ValueError(f"count must be in [{least}, {most}] ({what}), but is {self.count} instead")


def read_file(path: Path, option: str) -> str:
    """Read a text file that an option names.

    Raises:
        ValueError: if it is missing, is not Unicode text, or holds nothing.
    """
    if not path.is_file():
        raise ValueError(f"{option} must be a text file, but {path} is {'a folder' if path.is_dir() else 'missing'}")
    try:
        text = read_text(path)
    except ValueError as error:
        raise ValueError(f"{option} must be UTF-8 or UTF-16 text, but {error}") from error
    if not text.strip():
        raise ValueError(f"{option} must hold text, but {path} is empty instead")
    return text


def read_yaml(path: Path, option: str) -> dict[str, Any]:
    """Read a YAML file of names and values that an option names.

    Raises:
        ValueError: if it is missing, no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(read_file(path, option))
    except yaml.YAMLError as error:
        place = " ".join(str(error).split())
        raise ValueError(f"{option} must be YAML, but {path} is not: {place}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{option} must hold names and values, but {path} holds {type(values).__name__} instead")
    return values


def count_words(text: str) -> Counter[str]:
    """Count the words of a text, in lower case."""
    return Counter(word.lower() for word in WORD.findall(text))
