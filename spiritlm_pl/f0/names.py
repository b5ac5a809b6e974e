"""Names of the F0 extractors, apart from their code: commands tell their options without loading torch."""

from typing import Literal, get_args

ExtractorName = Literal["fcpe", "yaapt", "yin", "torchaudio"]
EXTRACTORS: tuple[str, ...] = get_args(ExtractorName)


def check_extractor(argument: str, name: str) -> None:
    """Refuse an argument that names no extractor.

    Raises:
        ValueError: with the names that there are.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"{argument} must be one of {', '.join(EXTRACTORS)}, but is {name!r} instead")
