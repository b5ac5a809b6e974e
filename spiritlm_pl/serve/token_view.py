"""Display of tokens by name, kind and colour."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle

from spiritlm_pl.streams import PITCH, STYLE, UNIT
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import TokenKind, Vocabulary

TEXT, MODALITY = TokenKind.TEXT.name.lower(), TokenKind.MODALITY.name.lower()
COLOURS = {TEXT: "#dbe7f6", MODALITY: "#f6cdd0"}
STREAM_COLOURS = ("#fbe3c6", "#d3ecd5", "#e6dcf5", "#cfeaea", "#f3e0ee", "#e9e6c9")  # in the order of the streams


@dataclass(frozen=True)
class Token:
    """Token with its name.

    Attributes:
        id: id of the token in the language model.
        kind: kind of the token: text, modality, or the name of its stream.
        name: name of the token, such as `[Hu12]`; for text, the text itself.
    """

    id: int
    kind: str
    name: str


def named_tokens(ids: Sequence[int], vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> list[Token]:
    """Return tokens with their names."""
    return [
        Token(token, vocabulary.label(token), vocabulary.name(token) or text_tokenizer.decode([token])) for token in ids
    ]


def tokens_html(tokens: Sequence[Token], streams: Sequence[str] = (UNIT, PITCH, STYLE)) -> str:
    """Return coloured tokens below a legend of their kinds as HTML, in which the text of tokens is escaped.

    Args:
        tokens: tokens to show, in their order.
        streams: names of the streams of speech in the order of the legend; those of Spirit LM if not given.
    """
    if not tokens:
        return ""
    counts = Counter(token.kind for token in tokens)
    order = [TEXT, *streams, MODALITY]
    legend = "".join(_chip(f"{kind} {counts[kind]}", kind) for kind in order if kind in counts)
    chips = "".join(_chip(token.name.strip() or "␣", token.kind) for token in tokens)
    return f'<div class="legend">Tokens: {legend}</div><div class="tokens">{chips}</div>'


def _chip(text: str, kind: str) -> str:
    return f'<span class="token {kind}">{escape(text)}</span>'


def tokens_css(vocabulary: Vocabulary) -> str:
    """Return the style sheet of `tokens_html`, with a colour for each stream."""
    colours = COLOURS | dict(zip(vocabulary.layout.names, cycle(STREAM_COLOURS), strict=False))
    kinds = "".join(f".token.{kind} {{background: {colour}}}\n" for kind, colour in colours.items())
    return (
        ".token {display: inline-block; margin: 1px; padding: 0 5px; border-radius: 4px; color: #222; "
        "font: 12px/1.6 ui-monospace, monospace}\n"
        ".tokens {max-height: 14em; overflow-y: auto}\n.legend {margin-bottom: 6px}\n" + kinds
    )
