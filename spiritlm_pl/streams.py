"""The streams of speech tokens that a tokenizer gives and a language model reads (Spirit LM, section 3.2).

A stream is a kind of token with its own codes and its own rate: phonetic units at 25 Hz, pitch codes at 12.5 Hz, style
codes at 1 Hz, or the codebooks of a neural codec. All else (ids, shards, order in time, losses, printed names) follows
from the description here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

UNIT, PITCH, STYLE = "unit", "pitch", "style"  # names of the streams of Spirit LM
PITCH_RATE, STYLE_RATE = 12.5, 1.0  # codes a second (section 3.2)
PLURALS = {UNIT: "units", PITCH: "pitches", STYLE: "styles"}
# Other figures, kinds of tokens and columns of shards have these names.
RESERVED = {
    *("text", "speech", "end", "modality", "padding"),
    *("id", "corpus", "speaker", "duration", "words", "units", "unit_starts", "num_frames", "custom"),
    *("pitches", "styles"),
}
MOST_CODES = 1 << 16  # of a codebook; shards store codes in 16 bits


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Describe one stream of speech tokens.

    A speech tokenizer sets `name`, `prefix`, `size`, `rate`, `num_codebooks`, `deduplicated` and `order`, which its
    shards keep. How a language model places the tokens in time is set by its vocabulary: `delays` by `--codebook-delay`
    of `build-blocks` and `extend-vocab`, and `clock` by the layout of the published Expressive model alone. A model's
    `size` may be larger than its tokenizer's, and its `rate` may be unknown.

    Args:
        name: of the stream, in figures and shards: unit, pitch, style, ...
        prefix: of the printed tokens: Hu in `[Hu12]`; with several codebooks `[Co3_12]` is code 12 of codebook 3.
        size: number of different codes of a codebook.
        rate: frames a second; None where a model does not tell.
        num_codebooks: codes of each frame.
        deduplicated: whether a run of equal codes is one token.
        order: place among the tokens of other streams that start at the same time; the lowest comes first.
        delays: frames by which the tokens of each codebook stand behind their time; empty for none.
        clock: factor on `rate` where tokens are put in order; the published Expressive model counts the time of its
            units at 24.99 Hz.

    Raises:
        ValueError: if a number is out of its range.
    """

    name: str
    prefix: str
    size: int
    rate: float | None = None
    num_codebooks: int = 1
    deduplicated: bool = True
    order: int = 0
    delays: tuple[int, ...] = ()
    clock: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.name.isidentifier() or self.name in RESERVED:
            raise ValueError(
                "name of a stream must be an identifier, and none that means something else in figures or shards "
                f"({', '.join(sorted(RESERVED))}), but is {self.name!r} instead"
            )
        if not (self.prefix.isascii() and self.prefix.isalpha()) or self.prefix in ("Text", "Speech", "ASR", "TTS"):
            raise ValueError(f"prefix of stream {self.name} must be letters of its own, but is {self.prefix!r} instead")
        if not 1 <= self.size <= MOST_CODES:
            raise ValueError(f"size of stream {self.name} must be in [1, {MOST_CODES}], but is {self.size} instead")
        if self.num_codebooks < 1:
            raise ValueError(
                f"num_codebooks of stream {self.name} must be at least 1, but is {self.num_codebooks} instead"
            )
        if self.deduplicated and self.num_codebooks > 1:
            raise ValueError(f"stream {self.name} with {self.num_codebooks} codebooks must not be deduplicated")
        for name in ("rate", "clock"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} of stream {self.name} must be above 0, but is {value} instead")
        object.__setattr__(self, "delays", tuple(self.delays))  # a list where it was read from a file
        if self.delays and (len(self.delays) != self.num_codebooks or min(self.delays) < 0):
            raise ValueError(
                f"delays of stream {self.name} must be {self.num_codebooks} numbers of frames from 0 on, one for each "
                f"codebook, but are {list(self.delays)} instead"
            )

    @property
    def plural(self) -> str:
        """Name of its codes together, in shards and options: units, pitches, styles, or the stream's name."""
        return plural(self.name)

    @property
    def num_tokens(self) -> int:
        """Ids of all codebooks together."""
        return self.size * self.num_codebooks

    @property
    def codebook_names(self) -> tuple[str, ...]:
        """Names of its codebooks in figures: acoustic_0, acoustic_1, ..."""
        return tuple(f"{self.name}_{codebook}" for codebook in range(self.num_codebooks))

    def token_name(self, place: int) -> str:
        """Printed form of the token at a place in [0, `num_tokens`): `[Hu12]`, or `[Co3_12]` with several codebooks."""
        codebook, code = divmod(place, self.size)
        return f"[{self.prefix}{code}]" if self.num_codebooks == 1 else f"[{self.prefix}{codebook}_{code}]"


def plural(name: str) -> str:
    """Return the name of the codes of a stream together, as `Stream.plural` is."""
    return PLURALS.get(name, name)


def spirit_lm_streams(
    num_units: int, num_pitches: int = 0, num_styles: int = 0, frame_rate: float | None = None
) -> tuple[Stream, ...]:
    """Describe the streams of Spirit LM: units, and for Expressive pitch and style.

    Args:
        num_units: phonetic units.
        num_pitches: pitch codes, 0 for Base.
        num_styles: style codes, 0 for Base.
        frame_rate: units a second before runs are collapsed; None where it is not known.

    Raises:
        ValueError: if a size is out of its range, or there are pitch codes without style codes or the reverse.
    """
    sizes = (("num_units", num_units, 1), ("num_pitches", num_pitches, 0), ("num_styles", num_styles, 0))
    for name, size, lowest in sizes:
        if size < lowest:
            raise ValueError(f"{name} must be at least {lowest}, but is {size} instead")
    if bool(num_pitches) != bool(num_styles):
        raise ValueError(
            f"num_pitches and num_styles must both be 0 or both above, but are {num_pitches} and {num_styles} instead"
        )
    # At equal times style comes first, then pitch, then units (section 3.2).
    if not num_pitches:
        return (Stream(name=UNIT, prefix="Hu", size=num_units, rate=frame_rate, order=2),)
    return (
        Stream(name=UNIT, prefix="Hu", size=num_units, rate=frame_rate, order=2, clock=24.99 / 25),
        Stream(name=PITCH, prefix="Pi", size=num_pitches, rate=PITCH_RATE, order=1),
        Stream(name=STYLE, prefix="St", size=num_styles, rate=STYLE_RATE, deduplicated=False),
    )


def described(found: object, values: Mapping[str, Any]) -> str:
    """A class with values, as dataclasses print themselves."""
    return f"{type(found).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    """Say in what two descriptions differ, for messages.

    Args:
        one: description of a layout or a vocabulary, as its `to_dict` gives it.
        other: another description of the same kind.

    Returns:
        The values of each that the other does not have: `num_units=30`, or `rate of codec=12.5`.
    """
    flat = [_flat(one), _flat(other)]
    of_one_kind = flat[0].get("streams") == flat[1].get("streams")
    keys = [
        key
        for key in {**flat[0], **flat[1]}
        if flat[0].get(key) != flat[1].get(key) and (of_one_kind or " of " not in key)
    ]
    first, second = (", ".join(f"{key}={values[key]}" for key in keys if key in values) for values in flat)
    return first, second


def _flat(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with the values of its streams beside the others."""
    streams = description.get("streams", ())
    found = {name: value for name, value in description.items() if name != "streams"}
    if streams:
        found["streams"] = " and ".join(stream["name"] for stream in streams)
    return found | {f"{name} of {stream['name']}": value for stream in streams for name, value in stream.items()}


def delayed(streams: Sequence[Stream], delay: int | None) -> tuple[Stream, ...]:
    """Let every codebook stand some frames behind the one before it, over all streams in their order.

    Args:
        streams: of a neural codec, all of one rate.
        delay: frames, 0 for all codes of a frame together; None keeps the delays that the streams have.

    Raises:
        ValueError: if the delay is negative, or these are not frames of codebooks.
    """
    if delay is None:
        return tuple(streams)
    if delay < 0:
        raise ValueError(f"codebook_delay must be at least 0, but is {delay} instead")
    if delay and not SpeechLayout(tuple(streams)).framewise:
        names = ", ".join(stream.name for stream in streams)
        raise ValueError(
            f"codebook_delay must be 0 for streams other than a neural codec's, but is {delay} for {names}"
        )
    found, number = [], 0
    for stream in streams:
        books = range(number, number + stream.num_codebooks)
        found.append(replace(stream, delays=tuple(delay * book for book in books) if delay else ()))
        number += stream.num_codebooks
    return tuple(found)


@dataclass(frozen=True, repr=False)
class SpeechLayout:
    """Describe what a speech tokenizer gives, or a language model reads.

    Args:
        streams: the first one is that by whose frames speech is measured.

    Raises:
        ValueError: if there is none, or two have the same name or prefix.
    """

    streams: tuple[Stream, ...]

    def __post_init__(self) -> None:
        """Check the names."""
        if not self.streams:
            raise ValueError("streams must hold at least one stream, but are empty instead")
        for what in ("name", "prefix"):
            names = [getattr(stream, what) for stream in self.streams]
            if len(set(names)) < len(names):
                raise ValueError(f"{what}s of streams must differ, but are {names} instead")
        for stream in self.streams:
            for name in set(stream.codebook_names) & set(self.names) if stream.num_codebooks > 1 else ():
                raise ValueError(f"name of a stream must not be that of a codebook of {stream.name}, but is {name!r}")
        if self.framewise:
            in_turn = sorted(self.streams, key=lambda stream: stream.order)
            delays = [delay for stream in in_turn for delay in stream.delays or (0,) * stream.num_codebooks]
            if delays[0] or delays != sorted(delays):
                raise ValueError(
                    "delays of streams must begin with 0 and not become smaller from codebook to codebook of a frame, "
                    f"but are {delays} instead"
                )

    @classmethod
    def spirit_lm(
        cls, num_units: int, frame_rate: float | None = None, num_pitches: int = 0, num_styles: int = 0
    ) -> "SpeechLayout":
        """Describe the streams of Spirit LM; arguments and errors are those of `spirit_lm_streams`."""
        return cls(spirit_lm_streams(num_units, num_pitches, num_styles, frame_rate))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the streams."""
        return tuple(stream.name for stream in self.streams)

    @property
    def first(self) -> Stream:
        """The stream by whose frames speech is measured."""
        return self.streams[0]

    @property
    def frame_rate(self) -> float:
        """Frames of the first stream a second, before runs are collapsed."""
        return self.rate(self.first.name)

    @property
    def expressive(self) -> bool:
        """Whether there are pitch and style codes beside the units."""
        return PITCH in self.names

    @property
    def phonetic(self) -> bool:
        """Whether the streams are those of Spirit LM, which its vocoders speak."""
        return UNIT in self.names

    @property
    def framewise(self) -> bool:
        """Whether every frame has a token of every codebook, as those of a neural codec have."""
        return not any(stream.deduplicated or stream.rate != self.first.rate for stream in self.streams)

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of a frame of the first stream, further streams of other rates left aside."""
        return sum(stream.num_codebooks for stream in self.streams) if self.framewise else self.first.num_codebooks

    def stream(self, name: str) -> Stream:
        """The stream of a name.

        Raises:
            ValueError: if there is none.
        """
        found = next((stream for stream in self.streams if stream.name == name), None)
        if found is None:
            raise ValueError(f"stream must be one of {', '.join(self.names)}, but is {name!r} instead")
        return found

    def rate(self, name: str) -> float:
        """Frames a second of a tokenizer's stream.

        Raises:
            ValueError: if there is none of this name, or it has no rate.
        """
        rate = self.stream(name).rate
        if rate is None:
            raise ValueError(f"rate of stream {name} must be given by its tokenizer, but is None instead")
        return rate

    def size(self, name: str) -> int:
        """Codes of each codebook of a stream, 0 where there is no such stream."""
        return next((stream.size for stream in self.streams if stream.name == name), 0)

    def spirit_lm_sizes(self) -> dict[str, int] | None:
        """Sizes of the streams where they are those of Spirit LM, else None."""
        if self.names not in ((UNIT,), (UNIT, PITCH, STYLE)):
            return None
        sizes = {"num_units": self.size(UNIT), "num_pitches": self.size(PITCH), "num_styles": self.size(STYLE)}
        return sizes if self.streams == spirit_lm_streams(**sizes, frame_rate=self.first.rate) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary: sizes of Spirit LM's streams, as its folders have always said it, or all of other ones."""
        sizes = self.spirit_lm_sizes()
        if sizes is not None:
            return {"num_units": sizes.pop("num_units"), "frame_rate": self.first.rate, **sizes}
        return {"streams": [asdict(stream) for stream in self.streams]}

    def __repr__(self) -> str:
        """As `to_dict` says it, so that messages name sizes."""
        return described(self, self.to_dict())

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "SpeechLayout":
        """The layout that `to_dict` wrote; other keys are left aside.

        Raises:
            ValueError: if a stream is none, or has entries that are not known here, as in files of later versions.
            KeyError: if the description is incomplete.
        """
        if "streams" in description:
            try:
                return cls(tuple(Stream(**stream) for stream in description["streams"]))
            except TypeError as error:
                known = ", ".join(field.name for field in fields(Stream))
                raise ValueError(f"streams must be described by some of {known}, but are not: {error}") from error
        pitches, styles = (description.get(name, 0) for name in ("num_pitches", "num_styles"))  # the oldest lack them
        return cls(spirit_lm_streams(description["num_units"], pitches, styles, description["frame_rate"]))
