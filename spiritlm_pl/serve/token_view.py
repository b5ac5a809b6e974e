"""Tokens to be read by people: names, kinds, colours, and back from names to ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from spiritlm_pl.generation import Speech
from spiritlm_pl.generation.prompt import parse_prompt
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import TokenKind, Vocabulary

COLOURS = {
    TokenKind.TEXT: "#dbe7f6",
    TokenKind.UNIT: "#fbe3c6",
    TokenKind.PITCH: "#d3ecd5",
    TokenKind.STYLE: "#e6dcf5",
    TokenKind.MODALITY: "#f6cdd0",
}
SHOWN = 40  # characters of a wrong string in a message


@dataclass(frozen=True)
class Token:
    """A token with its name.

    Attributes:
        id: of the language model.
        kind: what it stands for, in lower case.
        name: `[Hu12]` and the like; text as it reads.
    """

    id: int
    kind: str
    name: str


def named_tokens(ids: Sequence[int], vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> list[Token]:
    """Tokens with their names."""
    return [
        Token(token, vocabulary.kind(token).name.lower(), vocabulary.name(token) or text_tokenizer.decode([token]))
        for token in ids
    ]


def parse_speech(string: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ids of printed speech tokens, such as `[St81][Pi13][Hu78]`.

    Raises:
        ValueError: if there are words among them, no unit is, or a token is outside the vocabulary.
    """
    pieces = parse_prompt(string, vocabulary)
    speech = pieces[0] if len(pieces) == 1 else None
    if not isinstance(speech, Speech) or speech.tokens is None or speech.units is None or not len(speech.units):
        shown = string if len(string) <= SHOWN else f"{string[:SHOWN]}..."
        raise ValueError(f"tokens must be units such as [Hu12][Hu7] and nothing else, but are {shown!r} instead")
    return speech.tokens


def tokens_html(tokens: Sequence[Token]) -> str:
    """Coloured tokens below a legend of their kinds, as HTML; whatever stands in a token is escaped."""
    if not tokens:
        return ""
    kinds = {token.kind for token in tokens}
    legend = "".join(
        _chip(f"{kind.name.lower()} {sum(token.kind == kind.name.lower() for token in tokens)}", kind.name.lower())
        for kind in COLOURS
        if kind.name.lower() in kinds
    )
    chips = "".join(_chip(token.name.strip() or "␣", token.kind) for token in tokens)
    return f'<div class="legend">Tokens: {legend}</div><div class="tokens">{chips}</div>'


def _chip(text: str, kind: str) -> str:
    return f'<span class="token {kind}">{escape(text)}</span>'


def tokens_css() -> str:
    """Style sheet of `tokens_html`."""
    kinds = "".join(f".token.{kind.name.lower()} {{background: {colour}}}\n" for kind, colour in COLOURS.items())
    return (
        ".token {display: inline-block; margin: 1px; padding: 0 5px; border-radius: 4px; color: #222; "
        "font: 12px/1.6 ui-monospace, monospace}\n"
        ".tokens {max-height: 14em; overflow-y: auto}\n.legend {margin-bottom: 6px}\n" + kinds
    )
