"""The streams that a speech tokenizer must give for a language model."""

from pathlib import Path

from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary


def check_tokenizer(layout: SpeechLayout, vocabulary: Vocabulary, folder: str | Path | None) -> None:
    """Refuse a speech tokenizer that does not give the streams that a language model reads.

    A Base model may have a tokenizer that gives pitch and style codes as well; they are not used.

    Args:
        layout: streams that the speech tokenizer gives.
        vocabulary: vocabulary of the language model.
        folder: folder of the speech tokenizer, for errors.

    Raises:
        ValueError: if a stream of the vocabulary is missing, or has fewer codes, other codebooks or another rate.
    """
    if vocabulary.expressive and layout.phonetic and not layout.expressive:
        raise ValueError(
            "speech tokenizer must give the pitch and style codes of the language model, "
            f"but {folder} gives units alone"
        )
    given = {stream.name: stream for stream in layout.streams}
    for wanted in vocabulary.streams:
        found = given.get(wanted.name)
        if found is None:
            raise ValueError(
                f"speech tokenizer must give the language model's streams {', '.join(vocabulary.layout.names)}, "
                f"but {folder} gives {', '.join(layout.names)} instead"
            )
        if found.size > wanted.size:
            raise ValueError(
                f"num_{wanted.plural} of the speech tokenizer must be at most the language model's {wanted.size}, "
                f"but of {folder} is {found.size} instead"
            )
        if found.size < wanted.size and vocabulary.speech_alone:  # units of another tokenizer, whatever their number
            raise ValueError(
                f"num_{wanted.plural} of the speech tokenizer must be the language model's {wanted.size}, but of "
                f"{folder} is {found.size} instead; if the model has fewer, give its ids by --unit-layout"
            )
        for what in ("num_codebooks", "rate", "deduplicated"):
            own, other = getattr(wanted, what), getattr(found, what)
            if own != other and own is not None:
                raise ValueError(
                    f"{what} of stream {wanted.name} must be the language model's {own}, "
                    f"but of {folder} is {other} instead"
                )
