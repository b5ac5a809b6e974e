"""Whisper's normaliser of transcripts (Radford et al., 2022, appendix C), as transformers has it."""

import json
from collections.abc import Callable
from pathlib import Path

from spiritlm_pl.runtime.found import found_at


def whisper_normaliser(language: str = "en", spellings: str | Path | None = None) -> Callable[[str], str]:
    """Return Whisper's normaliser: for English, contractions, numbers and titles are made equal, too.

    Args:
        language: language of the transcripts, as a code such as "en".
        spellings: path of the `normalizer.json` of a Whisper model, with American spellings by British ones; None to
            leave both as they are.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not hold spellings, or is given for another language than English.
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    english = language.lower().partition("-")[0] == "en"
    if spellings is None:
        normaliser = EnglishTextNormalizer({}) if english else BasicTextNormalizer()
    elif not english:
        raise ValueError(f"spellings must be left out for language {language}, but are {spellings} instead")
    else:
        normaliser = EnglishTextNormalizer(_spellings(Path(spellings).expanduser()))

    def normalise(text: str) -> str:
        return " ".join(str(normaliser(text)).split())

    return normalise


def _spellings(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"spellings must be the normalizer.json of a Whisper model, but {found_at(path)}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"spellings must be a JSON file, but {path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(word, str) for word in found.values()):
        raise ValueError(f"spellings must be a JSON object of words by words, but {path} holds something else")
    return found
