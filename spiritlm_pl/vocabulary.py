"""The token ids of one sequence of words and speech (Spirit LM, arXiv 2402.05755, section 3).

Text tokens come first, then [Text] and [Speech], then the streams of speech tokens: phonetic units, (Expressive) pitch
and style; or whatever streams a speech tokenizer gives, such as the codebooks of a neural codec.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

from spiritlm_pl.streams import SpeechLayout, Stream, described, spirit_lm_streams


class Modality(IntEnum):
    """Which of the two modalities a stretch of a sequence is written in."""

    TEXT = 0
    SPEECH = 1


class TokenKind(IntEnum):
    """Kind of a token: text, speech, a modality token, or a row that only pads the embedding."""

    TEXT = 0
    SPEECH = 1
    MODALITY = 2
    PADDING = 3


@dataclass(frozen=True, kw_only=True, repr=False)
class Vocabulary:
    """Layout of token ids. The defaults are the published Base model's.

    Args:
        num_text: size of the text vocabulary of the base language model.
        streams: speech tokens, in the order of their ids; see `spirit_lm` for those of the paper.
        num_tasks: task markers after all speech tokens: none, or 2 ([ASR], [TTS]) for the ASR+TTS ablation.
        multiple_of: the number of rows of the embedding is padded to a multiple of this.
        begin_of_document: id of the text token that opens every document, such as Llama's `<s>`; None for nothing.
        end_of_document: id of the text token that ends every document, such as Llama's `</s>`; None for nothing, as
            in the paper: a model that has never seen an end never stops by itself.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_text: int = 32_000
    streams: tuple[Stream, ...] = spirit_lm_streams(501)
    num_tasks: int = 0
    multiple_of: int = 256
    begin_of_document: int | None = None
    end_of_document: int | None = None

    @classmethod
    def spirit_lm(cls, num_units: int = 501, num_pitches: int = 0, num_styles: int = 0, **others: Any) -> "Vocabulary":
        """Lay out the streams of Spirit LM.

        Args:
            num_units: phonetic units (500 clusters and, in the release, one CTC blank).
            num_pitches: pitch codes, 0 for Base and 64 for Expressive.
            num_styles: style clusters, 0 for Base and 100 for Expressive.
            others: further arguments of the class.

        Raises:
            ValueError: if a value is out of its range.
        """
        return cls(streams=spirit_lm_streams(num_units, num_pitches, num_styles), **others)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_text", "multiple_of"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)} instead")
        if self.num_tasks not in (0, 2):
            raise ValueError(f"num_tasks must be 0 or 2, but is {self.num_tasks} instead")
        for name in ("begin_of_document", "end_of_document"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.num_text:
                raise ValueError(f"{name} must be a text token below {self.num_text}, but is {token} instead")
        sizes = SpeechLayout(tuple(self.streams)).spirit_lm_sizes()  # checks the names
        # Units may have any rate, which is their tokenizer's affair: layouts of equal ids are equal.
        object.__setattr__(self, "streams", tuple(self.streams) if sizes is None else spirit_lm_streams(**sizes))

    @property
    def layout(self) -> SpeechLayout:
        """The streams of speech tokens."""
        return SpeechLayout(self.streams)

    @property
    def expressive(self) -> bool:
        """Whether there are pitch and style tokens."""
        return self.layout.expressive

    @property
    def text_marker(self) -> int:
        """Id of [Text]."""
        return self.num_text

    @property
    def speech_marker(self) -> int:
        """Id of [Speech]."""
        return self.num_text + 1

    @property
    def speech_bounds(self) -> tuple[int, int]:
        """First id and end id (exclusive) of all speech tokens."""
        first = self.num_text + 2
        return first, first + sum(stream.num_tokens for stream in self.streams)

    @property
    def task_offset(self) -> int:
        """Id of [ASR], followed by [TTS]."""
        return self.speech_bounds[1]

    @property
    def num_tokens(self) -> int:
        """Number of ids that mean something."""
        return self.task_offset + self.num_tasks

    @property
    def num_rows(self) -> int:
        """Number of embedding rows: `num_tokens` padded to `multiple_of`."""
        return -(-self.num_tokens // self.multiple_of) * self.multiple_of

    def size(self, name: str) -> int:
        """Codes of each codebook of a stream, 0 where there is no such stream."""
        return self.layout.size(name)

    def bounds(self, name: str) -> tuple[int, int]:
        """First id and end id (exclusive) of a stream; both are the end of speech where there is no such stream."""
        first, end = self.speech_bounds
        for stream in self.streams:
            if stream.name == name:
                return first, first + stream.num_tokens
            first += stream.num_tokens
        return end, end

    @property
    def frame_bounds(self) -> tuple[int, int]:
        """First id and end id of the tokens that count frames: those of the first stream's first codebook."""
        first, _ = self.speech_bounds
        return first, first + self.streams[0].size

    def counts_frames(self, token: int) -> bool:
        """Whether a token is one of those that count the frames of speech."""
        first, end = self.frame_bounds
        return first <= token < end

    def stream_of(self, token: int) -> Stream | None:
        """The stream of a token id, None for all but speech tokens."""
        return next((s for s in self.streams if (b := self.bounds(s.name))[0] <= token < b[1]), None)

    def token(self, name: str, code: int, codebook: int = 0) -> int:
        """Id of a speech token.

        Raises:
            ValueError: if there is no such stream, codebook or code.
        """
        stream = self.layout.stream(name)
        for what, value, size in ((name, code, stream.size), ("codebook", codebook, stream.num_codebooks)):
            if not 0 <= value < size:
                raise ValueError(f"{what} must be in [0, {size}), but is {value} instead")
        return self.bounds(name)[0] + codebook * stream.size + code

    def marker(self, modality: Modality) -> int:
        """Id of the token that opens a stretch of this modality."""
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
        """Ids of all tokens that open a stretch, and the modality of it."""
        return {token(modality): modality for modality in Modality for token in (self.marker, self.change_marker)}

    def kind(self, token: int) -> TokenKind:
        """The kind of a token id; [Text], [Speech] and task markers are MODALITY, padding rows PADDING.

        Raises:
            ValueError: if the id is outside the embedding.
        """
        if not 0 <= token < self.num_rows:
            raise ValueError(f"token must be in [0, {self.num_rows}), but is {token} instead")
        if token < self.num_text:
            return TokenKind.TEXT
        first, end = self.speech_bounds
        if first <= token < end:
            return TokenKind.SPEECH
        return TokenKind.MODALITY if token < self.num_tokens else TokenKind.PADDING

    def label(self, token: int) -> str:
        """Name the kind of a token: text, modality, padding, or the name of its stream.

        Raises:
            ValueError: if the id is outside the embedding.
        """
        kind = self.kind(token)
        stream = self.stream_of(token)
        return kind.name.lower() if stream is None else stream.name

    def name(self, token: int) -> str | None:
        """Printed form of a speech or modality token, such as `[Hu12]`; None for text.

        Raises:
            ValueError: if the id is outside the embedding.
        """
        if self.kind(token) is TokenKind.MODALITY:
            names = {
                self.text_marker: "[Text]",
                self.speech_marker: "[Speech]",
                self.task_offset: "[ASR]",
                self.task_offset + 1: "[TTS]",
            }
            return names[token]
        stream = self.stream_of(token)
        return None if stream is None else stream.token_name(token - self.bounds(stream.name)[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, to be stored beside tokens and checkpoints; sizes alone say the streams of Spirit LM."""
        others = {name: value for name, value in asdict(self).items() if name not in ("num_text", "streams")}
        streams = self.layout.to_dict()
        streams.pop("frame_rate", None)
        return {"num_text": self.num_text, **streams, **others}

    def __repr__(self) -> str:
        """As `to_dict` says it, so that messages name sizes."""
        return described(self, self.to_dict())

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary that `to_dict` wrote.

        Raises:
            ValueError: if a value is out of its range.
            TypeError: if it has an entry that is none of a vocabulary.
        """
        if "streams" not in description:
            return cls.spirit_lm(**description)
        return cls(**{**description, "streams": SpeechLayout.from_dict(description).streams})
