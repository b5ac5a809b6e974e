"""Answers of a language model, made of the tokens that it has added to a prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spiritlm_pl.generation.dialogue import within
from spiritlm_pl.generation.prompt import Prompt
from spiritlm_pl.generation.stream import FORCED, decode_tokens, units_of
from spiritlm_pl.generation.synthesis import Synthesis
from spiritlm_pl.generation.types import OutputModality, Piece, Speech, Text
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer


def decode_answer(
    text_tokenizer: "TextTokenizer",
    vocabulary: Vocabulary,
    synthesis: Synthesis | None,
    prompt: Prompt,
    tokens: Sequence[int],
    output: OutputModality,
    min_speech_units: int,
) -> list[Piece]:
    """Decode new tokens to text and speech.

    Speech that continues speech is spoken together with it, so that the joint is smooth; the prompt's part is cut off.
    Of text, what a template writes around answers is left out.

    Args:
        text_tokenizer: tokenizer of the text.
        vocabulary: layout of the token ids.
        synthesis: synthesis of the speech; None to leave it as tokens.
        prompt: prompt that the tokens follow.
        tokens: token ids that the model has added to the prompt.
        output: modality that the answer was allowed to have.
        min_speech_units: smallest number of units of speech with output "any"; shorter speech is dropped.
    """
    shortest = min_speech_units if output == "any" else 0
    continues = bool(tokens) and continues_speech(prompt, tokens[0], output, vocabulary)
    pieces: list[Piece] = []
    begun = prompt.open_stretch(vocabulary)
    for number, segment in enumerate(decode_tokens(tokens, vocabulary, shortest, continues, begun)):
        if segment.modality is Modality.TEXT:
            text = text_tokenizer.decode(list(segment.tokens))
            said = text if prompt.answers is None else within(text, prompt.answers, number == 0)
            if said or not text:
                pieces.append(Text(said, segment.tokens))
        else:
            before = prompt.speech if segment.continues else None
            spoken = _spoken(segment.tokens, before, vocabulary, synthesis)
            if spoken.audio is None or len(spoken.waveform):  # repeating the prompt's last unit adds nothing
                pieces.append(spoken)
    return pieces


def continues_speech(prompt: Prompt, token: int, output: OutputModality, vocabulary: Vocabulary) -> bool:
    """Whether an answer that begins with a token continues the speech of its prompt."""
    open_modality = prompt.last if output == "any" else FORCED[output]
    spoken = open_modality is Modality.SPEECH and prompt.speech is not None
    return spoken and vocabulary.kind(token) is TokenKind.SPEECH


def _spoken(
    tokens: tuple[int, ...], before: Speech | None, vocabulary: Vocabulary, synthesis: Synthesis | None
) -> Speech:
    units = units_of(tokens, vocabulary)
    if synthesis is None:
        return Speech(units=units, tokens=tokens)
    waveform = synthesis.speak(tokens) if before is None else synthesis.speak_after(before, tokens)
    return Speech(waveform, synthesis.sample_rate, units, tokens=tokens)
