"""The token ids of one stream of words and speech (Spirit LM, arXiv 2402.05755, section 3).

Text pieces come first, then [Text] and [Speech], then phonetic units, then (Expressive) pitch and style.
"""

from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any


class Modality(IntEnum):
    """What a piece of a stream is written in."""

    TEXT = 0
    SPEECH = 1


class TokenKind(IntEnum):
    """What one token stands for; losses and metrics are reported per kind."""

    TEXT = 0
    UNIT = 1
    PITCH = 2
    STYLE = 3
    MODALITY = 4
    PADDING = 5


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Layout of token ids. The defaults are the published Base model's.

    Args:
        num_text: size of the text vocabulary of the base language model.
        num_units: phonetic units (500 clusters and, in the release, one CTC blank).
        num_pitches: pitch codes, 0 for Base and 64 for Expressive.
        num_styles: style clusters, 0 for Base and 100 for Expressive.
        num_tasks: task markers after all speech tokens: none, or 2 ([ASR], [TTS]) for the ASR+TTS ablation.
        multiple_of: the number of rows of the embedding is padded to a multiple of this.
        begin_of_document: id of the text token that opens every document, such as Llama's `<s>`; None for nothing.
        end_of_document: id of the text token that ends every document, such as Llama's `</s>`; None for nothing, as
            in the paper: a model that has never seen an end never stops by itself.
    """

    num_text: int = 32_000
    num_units: int = 501
    num_pitches: int = 0
    num_styles: int = 0
    num_tasks: int = 0
    multiple_of: int = 256
    begin_of_document: int | None = None
    end_of_document: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, lowest in (
            ("num_text", 1),
            ("num_units", 1),
            ("num_pitches", 0),
            ("num_styles", 0),
            ("multiple_of", 1),
        ):
            value = getattr(self, name)
            if value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {value} instead")
        if bool(self.num_pitches) != bool(self.num_styles):
            raise ValueError(
                "num_pitches and num_styles must both be 0 or both above, "
                f"but are {self.num_pitches} and {self.num_styles} instead"
            )
        if self.num_tasks not in (0, 2):
            raise ValueError(f"num_tasks must be 0 or 2, but is {self.num_tasks} instead")
        for name in ("begin_of_document", "end_of_document"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.num_text:
                raise ValueError(f"{name} must be a text token below {self.num_text}, but is {token} instead")

    @property
    def expressive(self) -> bool:
        """Whether there are pitch and style tokens."""
        return self.num_pitches > 0

    @property
    def text_marker(self) -> int:
        """Id of [Text]."""
        return self.num_text

    @property
    def speech_marker(self) -> int:
        """Id of [Speech]."""
        return self.num_text + 1

    @property
    def unit_offset(self) -> int:
        """Id of [Hu0]."""
        return self.num_text + 2

    @property
    def pitch_offset(self) -> int:
        """Id of [Pi0]."""
        return self.unit_offset + self.num_units

    @property
    def style_offset(self) -> int:
        """Id of [St0]."""
        return self.pitch_offset + self.num_pitches

    @property
    def task_offset(self) -> int:
        """Id of [ASR], followed by [TTS]."""
        return self.style_offset + self.num_styles

    @property
    def num_tokens(self) -> int:
        """Number of ids that mean something."""
        return self.task_offset + self.num_tasks

    @property
    def num_rows(self) -> int:
        """Number of embedding rows: `num_tokens` padded to `multiple_of`."""
        return -(-self.num_tokens // self.multiple_of) * self.multiple_of

    def marker(self, modality: Modality) -> int:
        """Id of the token that opens a piece of this modality."""
        return self.text_marker if modality is Modality.TEXT else self.speech_marker

    def change_marker(self, modality: Modality) -> int:
        """Id of the token at a change to this modality: [ASR] or [TTS] where there are tasks, else its marker."""
        return self.task_offset + modality if self.num_tasks else self.marker(modality)

    @property
    def opening(self) -> tuple[int, ...]:
        """Ids before the first modality token of every document."""
        return () if self.begin_of_document is None else (self.begin_of_document,)

    def grows_into(self, other: "Vocabulary") -> bool:
        """Whether a model of this vocabulary can be trained with another: the same, or one that adds delimiters."""
        added = {
            name: getattr(other, name)
            for name in ("begin_of_document", "end_of_document")
            if getattr(self, name) is None
        }
        return replace(self, **added) == other

    def opened_by(self) -> dict[int, Modality]:
        """Ids of all tokens that open a piece, and what they open."""
        return {token(modality): modality for modality in Modality for token in (self.marker, self.change_marker)}

    def unit_token(self, unit: int) -> int:
        """Id of a phonetic unit.

        Raises:
            ValueError: if the unit is outside the vocabulary.
        """
        if not 0 <= unit < self.num_units:
            raise ValueError(f"unit must be in [0, {self.num_units}), but is {unit} instead")
        return self.unit_offset + unit

    def kind_bounds(self) -> dict[TokenKind, tuple[int, int]]:
        """First id and end id (exclusive) of every kind but MODALITY and PADDING."""
        return {
            TokenKind.TEXT: (0, self.num_text),
            TokenKind.UNIT: (self.unit_offset, self.pitch_offset),
            TokenKind.PITCH: (self.pitch_offset, self.style_offset),
            TokenKind.STYLE: (self.style_offset, self.task_offset),
        }

    def kind(self, token: int) -> TokenKind:
        """The kind of a token id; [Text], [Speech] and task markers are MODALITY, padding rows PADDING.

        Raises:
            ValueError: if the id is outside the embedding.
        """
        if not 0 <= token < self.num_rows:
            raise ValueError(f"token must be in [0, {self.num_rows}), but is {token} instead")
        for kind, (first, end) in self.kind_bounds().items():
            if first <= token < end:
                return kind
        return TokenKind.MODALITY if token < self.num_tokens else TokenKind.PADDING

    def name(self, token: int) -> str | None:
        """Printed form of a speech or modality token, such as `[Hu12]`; None for text."""
        kind = self.kind(token)
        if kind is TokenKind.MODALITY:
            names = {
                self.text_marker: "[Text]",
                self.speech_marker: "[Speech]",
                self.task_offset: "[ASR]",
                self.task_offset + 1: "[TTS]",
            }
            return names[token]
        prefixes = {TokenKind.UNIT: "Hu", TokenKind.PITCH: "Pi", TokenKind.STYLE: "St"}
        if kind not in prefixes:
            return None
        return f"[{prefixes[kind]}{token - self.kind_bounds()[kind][0]}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, to be stored beside tokens and checkpoints."""
        return asdict(self)
