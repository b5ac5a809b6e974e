"""Choice of the vocabulary that blocks have: a language model's, or a new one of a text and a speech tokenizer."""

from dataclasses import replace
from typing import Any

from spiritlm_pl.contracts.tokenizer_streams import check_tokenizer
from spiritlm_pl.runtime.model_description import stored_vocabulary
from spiritlm_pl.streams import SpeechLayout, delayed
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


def block_vocabulary(
    layout: SpeechLayout | None,
    tokenizer: TextTokenizer,
    folder: str,
    units: list[str],
    *,
    expressive: bool | None = None,
    num_tasks: int | None = None,
    multiple_of: int | None = None,
    end_of_document: bool | None = None,
    begin_of_document: bool | None = None,
    codebook_delay: int | None = None,
) -> Vocabulary:
    """Choose the vocabulary of blocks: that of the language model in the text tokenizer's folder, or else a new one.

    Args:
        layout: streams of the shards; None where there are none, which needs the folder of a language model.
        tokenizer: text tokenizer of the language model.
        folder: file or folder of the text tokenizer, which may be that of a language model.
        units: folders of the shards, for errors.
        expressive: whether pitch and style codes are kept; None as in the language model, or else if shards have them.
        num_tasks: number of task markers; None as in the language model, or else 0.
        multiple_of: divisor of the number of embedding rows; None as in the language model, or else 256.
        end_of_document: whether documents end with the text tokenizer's end token; None: if there is one, except for a
            published model.
        begin_of_document: whether documents begin with the text tokenizer's begin token; None as in the language model,
            or else not.
        codebook_delay: delay in frames of each codebook against the one before it; None as in the language model, or
            else 0.

    Raises:
        ValueError: if the shards, the language model and the options do not fit together.
    """
    sizes = {"num_tasks": num_tasks, "multiple_of": multiple_of}
    given = {name: value for name, value in sizes.items() if value is not None}
    stored = stored_vocabulary(folder)
    ends: dict[str, Any] = delimiters(stored, tokenizer, folder, end_of_document, begin_of_document)
    if stored is None:
        if tokenizer.opening:
            raise ValueError(
                "text_tokenizer of a published model must be the folder `lm` of `spiritlm import-release`, "
                f"but is {folder} instead"
            )
        if layout is None:
            raise ValueError(f"units must be given unless text_tokenizer is a language model's folder, but is {folder}")
        vocabulary = Vocabulary.of_layout(
            layout, expressive, codebook_delay, num_text=tokenizer.vocab_size, **given, **ends
        )
    else:
        _check_given(stored, folder, given if expressive is None else {**given, "expressive": expressive})
        if codebook_delay is not None and stored.streams != delayed(stored.streams, codebook_delay):
            own = next((delay for stream in stored.streams for delay in stream.delays if delay), 0)
            raise ValueError(f"codebook_delay must be that of {folder}, {own}, but is {codebook_delay} instead")
        vocabulary = replace(stored, **ends)
    if layout is not None:
        check_tokenizer(layout, vocabulary, ", ".join(units))
    return vocabulary


def delimiters(
    trained: Vocabulary | None,
    tokenizer: TextTokenizer,
    folder: str,
    end: bool | None = None,
    begin: bool | None = None,
) -> dict[str, int | None]:
    """Choose the tokens that end and open documents.

    Args:
        trained: vocabulary of the language model that the blocks are for; None for a new one.
        tokenizer: text tokenizer that has these tokens.
        folder: folder of the text tokenizer, for messages.
        end: whether documents end with a token. None follows the language model; without one, it means yes if the
            tokenizer has an end token and is not that of a published model.
        begin: whether documents open with a token. None follows the language model; without one, it means no.

    Returns:
        The ids as arguments of `Vocabulary`; None for no token.

    Raises:
        ValueError: if the tokenizer lacks such a token, or the language model was trained differently.
    """
    wishes = {"end_of_document": (end, tokenizer.eos_id), "begin_of_document": (begin, tokenizer.bos_id)}
    chosen: dict[str, int | None] = {}
    for name, (wanted, token) in wishes.items():
        known = getattr(trained, name, None)
        if wanted is None:
            default = name == "end_of_document" and token is not None and not tokenizer.opening
            wanted = known is not None or default
        if wanted and token is None:
            raise ValueError(
                f"{name} must be false where the text tokenizer has no token for it, but is true for {folder}"
            )
        found = token if wanted else None
        if known is not None and found != known:
            raise ValueError(f"{name} must be token {known} as in the model of {folder}, but is {found} instead")
        if found is not None and name == "begin_of_document" and tokenizer.opening:
            raise ValueError(f"{name} must be false for a published model, but is true for {folder}")
        chosen[name] = found
    return chosen


def _check_given(vocabulary: Vocabulary, folder: str, given: dict[str, int | bool]) -> None:
    """Refuse values that differ from those of the language model's vocabulary."""
    for name, value in given.items():
        if value != getattr(vocabulary, name):
            raise ValueError(f"{name} must be {getattr(vocabulary, name)} for {folder}, but is {value} instead")
