"""The token ids of one sequence of words and speech (Spirit LM, arXiv 2402.05755, section 3).

Text tokens come first, then [Text] and [Speech], then the streams of speech tokens: phonetic units, (Expressive) pitch
and style; or the streams of any other speech tokenizer, such as the codebooks of a neural codec.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

from spiritlm_pl.streams import SpeechLayout, Stream, check_whole, delayed, described, spirit_lm_streams

DELIMITERS = ("begin_of_document", "end_of_document")


class Modality(IntEnum):
    """Modality of a part of a token sequence."""

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
        streams: streams of speech tokens, in the order of their ids; see `spirit_lm` for those of the paper.
        num_tasks: number of task markers after all speech tokens: 0, or 2 ([ASR], [TTS]) for the paper's ASR+TTS
            ablation.
        multiple_of: the number of rows of the embedding is padded to a multiple of this.
        begin_of_document: id of the text token that opens every document, such as Llama's `<s>`; None for nothing.
        end_of_document: id of the text token that ends every document, such as Llama's `</s>`; None for nothing, as
            in the paper: a model that has never seen an end never stops by itself.
        speech_alone: whether there is neither text nor [Text] and [Speech], as in language models of units that others
            have trained. The `num_text` ids before the units, possibly none, are special tokens then; documents may
            begin and end with any id that is not of speech.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_text: int = 32_000
    streams: tuple[Stream, ...] = spirit_lm_streams(501)
    num_tasks: int = 0
    multiple_of: int = 256
    begin_of_document: int | None = None
    end_of_document: int | None = None
    speech_alone: bool = False

    @classmethod
    def spirit_lm(cls, num_units: int = 501, num_pitches: int = 0, num_styles: int = 0, **others: Any) -> "Vocabulary":
        """Lay out the streams of Spirit LM.

        Args:
            num_units: number of phonetic units: 500 clusters and, in the published release, one CTC blank.
            num_pitches: number of pitch codes: 0 for Base, 64 for Expressive.
            num_styles: number of style clusters: 0 for Base, 100 for Expressive.
            others: further arguments of the class, such as `num_text`.

        Raises:
            ValueError: if a value is out of its range.
        """
        return cls(streams=spirit_lm_streams(num_units, num_pitches, num_styles), **others)

    @classmethod
    def of_layout(
        cls, layout: SpeechLayout, expressive: bool | None = None, codebook_delay: int | None = None, **others: Any
    ) -> "Vocabulary":
        """Lay out the streams of a tokenizer.

        Args:
            layout: streams of the tokenizer.
            expressive: whether pitch and style codes are kept; None if the tokenizer has them.
            codebook_delay: delay in frames of each codebook of a neural codec against the one before it; None for 0.
            others: further arguments of the class, such as `num_text`.

        Raises:
            ValueError: if a value is out of its range, or the tokenizer has no pitch and style codes to keep.
        """
        if expressive and not layout.expressive:
            raise ValueError(
                "units must have pitch and style codes where expressive is true, but have units alone instead"
            )
        streams, sizes = delayed(layout.streams, codebook_delay), layout.spirit_lm_sizes()
        if sizes is not None:
            streams = spirit_lm_streams(**sizes if expressive is not False else {"num_units": sizes["num_units"]})
        return cls(streams=streams, **others)

    def __post_init__(self) -> None:
        """Check the ranges."""
        given = [name for name in DELIMITERS if getattr(self, name) is not None]
        names = ("num_text", "num_tasks", "multiple_of", *given)
        check_whole("of the vocabulary", **{name: getattr(self, name) for name in names})
        for name, lowest in (("num_text", 0 if self.speech_alone else 1), ("multiple_of", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {getattr(self, name)} instead")
        if self.num_tasks not in ((0,) if self.speech_alone else (0, 2)):
            allowed = "0 without text" if self.speech_alone else "0 or 2"
            raise ValueError(f"num_tasks must be {allowed}, but is {self.num_tasks} instead")
        for name in DELIMITERS:
            self._check_delimiter(name, getattr(self, name))
        sizes = SpeechLayout(tuple(self.streams)).spirit_lm_sizes()  # checks the names
        # Units may have any rate, which is their tokenizer's affair: layouts of equal ids are equal.
        object.__setattr__(self, "streams", tuple(self.streams) if sizes is None else spirit_lm_streams(**sizes))

    def _check_delimiter(self, name: str, token: int | None) -> None:
        if token is None:
            return
        if not self.speech_alone and not 0 <= token < self.num_text:
            raise ValueError(f"{name} must be a text token below {self.num_text}, but is {token} instead")
        first, end = self.speech_bounds
        if not 0 <= token < self.num_rows or first <= token < end:
            raise ValueError(
                f"{name} must be an id below {self.num_rows} that is not of speech [{first}, {end}), but is {token} "
                "instead"
            )

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
        return self.marker(Modality.TEXT)

    @property
    def speech_marker(self) -> int:
        """Id of [Speech]."""
        return self.marker(Modality.SPEECH)

    @property
    def speech_bounds(self) -> tuple[int, int]:
        """First id and end id (exclusive) of all speech tokens."""
        first = self.num_text + (0 if self.speech_alone else len(Modality))
        return first, first + sum(stream.num_tokens for stream in self.streams)

    @property
    def task_offset(self) -> int:
        """Id of [ASR], followed by [TTS]."""
        return self.speech_bounds[1]

    @property
    def num_tokens(self) -> int:
        """Number of token ids in use, without rows that only pad the embedding."""
        return self.task_offset + self.num_tasks

    @property
    def num_rows(self) -> int:
        """Number of embedding rows: `num_tokens` padded to `multiple_of`."""
        return -(-self.num_tokens // self.multiple_of) * self.multiple_of

    def size(self, name: str) -> int:
        """Return the number of codes in each codebook of the stream that has a name; 0 where no stream has it."""
        return self.layout.size(name)

    def bounds(self, name: str) -> tuple[int, int]:
        """Return first id and end id (exclusive) of the stream that has a name; an empty range if none has it."""
        first, end = self.speech_bounds
        for stream in self.streams:
            if stream.name == name:
                return first, first + stream.num_tokens
            first += stream.num_tokens
        return end, end

    @property
    def frame_bounds(self) -> tuple[int, int]:
        """First id and end id (exclusive) of the first stream's first codebook, whose tokens count the frames."""
        first, _ = self.speech_bounds
        return first, first + self.streams[0].size

    def counts_frames(self, token: int) -> bool:
        """Whether a token id lies in `frame_bounds`, so that each such token stands for one frame of speech."""
        first, end = self.frame_bounds
        return first <= token < end

    def stream_of(self, token: int) -> Stream | None:
        """Return the stream to which a token id belongs; None if it is not a speech token."""
        return next((s for s in self.streams if (b := self.bounds(s.name))[0] <= token < b[1]), None)

    def token(self, name: str, code: int, codebook: int = 0) -> int:
        """Return the id of a speech token.

        Args:
            name: name of the stream.
            code: number of the code in its codebook, from 0.
            codebook: number of the codebook in the stream, from 0.

        Raises:
            ValueError: if there is no such stream, codebook or code.
        """
        stream = self.layout.stream(name)
        for what, value, size in ((name, code, stream.size), ("codebook", codebook, stream.num_codebooks)):
            if not 0 <= value < size:
                raise ValueError(f"{what} must be in [0, {size}), but is {value} instead")
        return self.bounds(name)[0] + codebook * stream.size + code

    def marker(self, modality: Modality) -> int:
        """Return the id of a modality's own token, [Text] or [Speech].

        Raises:
            ValueError: if there is speech alone, and so no such token.
        """
        if self.speech_alone:
            raise ValueError(
                f"language model must have the tokens [Text] and [Speech] for {modality.name.lower()} here, but has "
                "speech tokens alone"
            )
        return self.num_text + modality

    def opened(self, modality: Modality) -> tuple[int, ...]:
        """Return the ids that open the first stretch of a document: [Text] or [Speech]; none where speech is alone.

        Raises:
            ValueError: if there is speech alone, and the modality is text.
        """
        alone = self.speech_alone and modality is Modality.SPEECH
        return () if alone else (self.marker(modality),)

    def change_marker(self, modality: Modality) -> int:
        """Return the id of the token at a change to a modality: [ASR] or [TTS] with task markers, else `marker`."""
        return self.task_offset + modality if self.num_tasks else self.marker(modality)

    @property
    def opening(self) -> tuple[int, ...]:
        """Token ids that stand before the first modality token of every document."""
        return () if self.begin_of_document is None else (self.begin_of_document,)

    def grows_into(self, other: "Vocabulary") -> bool:
        """Whether a model with this vocabulary can train on data of another: the same, or with added delimiters."""
        added = {name: getattr(other, name) for name in DELIMITERS if getattr(self, name) is None}
        return replace(self, **added) == other

    def opened_by(self) -> dict[int, Modality]:
        """Return the modality that follows each modality token or task marker, by token id."""
        if self.speech_alone:
            return {}
        return {token(modality): modality for modality in Modality for token in (self.marker, self.change_marker)}

    def kind(self, token: int) -> TokenKind:
        """Return the kind of a token id; [Text], [Speech] and task markers are MODALITY, padding rows PADDING.

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
        """Return the printed form of a speech or modality token, such as `[Hu12]`; None for text and padding.

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

    def names(self) -> dict[int, str]:
        """Return the printed forms of all speech and modality tokens by their ids, in ascending order."""
        return {token: self.name(token) or "" for token in range(self.num_text, self.num_tokens)}

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, which is stored beside tokens and checkpoints; see `SpeechLayout.to_dict`."""
        left_out = ("num_text", "streams", *(() if self.speech_alone else ("speech_alone",)))
        others = {name: value for name, value in asdict(self).items() if name not in left_out}
        streams = self.layout.to_dict()
        streams.pop("frame_rate", None)
        return {"num_text": self.num_text, **streams, **others}

    def __repr__(self) -> str:
        """Return the values of `to_dict` as text, so that messages name the sizes."""
        return described(self, self.to_dict())

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "Vocabulary":
        """Make the vocabulary from the dictionary that `to_dict` returned.

        Raises:
            ValueError: if a value is out of its range.
            TypeError: if it has a key that a vocabulary does not have.
        """
        if "streams" not in description:
            return cls.spirit_lm(**description)
        return cls(**{**description, "streams": SpeechLayout.from_dict(description).streams})
