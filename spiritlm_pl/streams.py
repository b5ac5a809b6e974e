"""The streams of speech tokens that a tokenizer gives and a language model reads (Spirit LM, section 3.2).

A stream is a kind of token with its own codes and its own rate: phonetic units at 25 Hz, pitch codes at 12.5 Hz, style
codes at 1 Hz, or the codebooks of a neural codec. All else (ids, shards, order in time, losses, printed names) follows
from the description here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import Any

UNIT, PITCH, STYLE = "unit", "pitch", "style"  # names of the streams of Spirit LM
PITCH_RATE, STYLE_RATE = 12.5, 1.0  # codes per second (section 3.2)
PLURALS = {UNIT: "units", PITCH: "pitches", STYLE: "styles"}
# Other figures, kinds of tokens and columns of shards have these names.
RESERVED = {
    *("text", "speech", "end", "modality", "padding"),
    *("id", "corpus", "speaker", "duration", "words", "units", "unit_starts", "num_frames", "custom"),
    *("pitches", "styles"),
}
MOST_CODES = 1 << 16  # of a codebook; shards store codes in 16 bits
DELAYS_WITHIN = {"delays_within": "stretch"}  # entry of a stream with delays in a file, absent where they are of old


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of speech tokens.

    A speech tokenizer sets `name`, `prefix`, `size`, `rate`, `num_codebooks`, `deduplicated` and `order`, which its
    shards keep. How a language model places the tokens in time is set by its vocabulary: `delays` by `--codebook-delay`
    of `build-blocks` and `extend-vocab`, and `clock` by the layout of the published Expressive model alone. A model's
    `size` may be larger than its tokenizer's, and its `rate` may be unknown.

    Args:
        name: name of the stream in metrics and shards: unit, pitch, style, ...
        prefix: letters with which its tokens are printed: Hu in `[Hu12]`. With several codebooks, `[Co3_12]` is code 12
            of codebook 3.
        size: number of different codes of a codebook.
        rate: number of frames per second; None where it is not known, as that of the units in a vocabulary
            of Spirit LM.
        num_codebooks: number of codebooks, each of which gives one code per frame.
        deduplicated: whether a run of equal codes is one token.
        order: place among the tokens of other streams that start at the same time; the lowest comes first.
        delays: frames by which the tokens of each codebook stand behind their time, within every stretch of speech
            (see `spiritlm_pl.data.steps`); empty for none.
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
        whole = {"size": self.size, "num_codebooks": self.num_codebooks, "order": self.order}
        check_whole(f"of stream {self.name}", **whole, **{f"delays[{at}]": one for at, one in enumerate(self.delays)})
        if not isinstance(self.deduplicated, bool):
            raise ValueError(
                f"deduplicated of stream {self.name} must be true or false, but is {self.deduplicated!r} instead"
            )
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
        """Plural of the name, which shards and options use: units, pitches, styles; other names stay as they are."""
        return plural(self.name)

    @property
    def num_tokens(self) -> int:
        """Number of token ids of all codebooks together."""
        return self.size * self.num_codebooks

    @property
    def codebook_names(self) -> tuple[str, ...]:
        """Names of its codebooks in figures: acoustic_0, acoustic_1, ..."""
        return tuple(f"{self.name}_{codebook}" for codebook in range(self.num_codebooks))

    def token_name(self, place: int) -> str:
        """Return the printed form of a token: `[Hu12]`, or `[Co3_12]` with several codebooks.

        Args:
            place: number of the token within this stream, in [0, `num_tokens`).
        """
        codebook, code = divmod(place, self.size)
        return f"[{self.prefix}{code}]" if self.num_codebooks == 1 else f"[{self.prefix}{codebook}_{code}]"


def check_whole(owner: str, **values: object) -> None:
    """Check numbers that count or number something, which a file may hold as 3.0, true or "3".

    Args:
        owner: what has the numbers, for the message, such as "of the vocabulary".
        values: the numbers by name.

    Raises:
        ValueError: if one is no whole number.
    """
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{name} {owner} must be a whole number, but is {value!r} instead")


def plural(name: str) -> str:
    """Return the name of the codes of a stream together, as `Stream.plural` is."""
    return PLURALS.get(name, name)


def spirit_lm_streams(
    num_units: int, num_pitches: int = 0, num_styles: int = 0, frame_rate: float | None = None
) -> tuple[Stream, ...]:
    """Describe the streams of Spirit LM: units, and for Expressive pitch and style.

    Args:
        num_units: number of phonetic units.
        num_pitches: number of pitch codes; 0 for Base.
        num_styles: number of style codes; 0 for Base.
        frame_rate: number of units per second before deduplication; None where it is not known.

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
    """Return the name of an object's class with the given values, in the form in which dataclasses are printed."""
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
    """Delay every codebook by some frames against the one before it, counted over all streams in their order.

    Args:
        streams: streams of a neural codec, all of one rate.
        delay: number of frames; 0 keeps all codes of a frame together. None keeps the delays that the streams have.

    Raises:
        ValueError: if the delay is negative, or the streams are not those of a neural codec.
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


def _stream(description: Mapping[str, Any]) -> Stream:
    """The stream that `SpeechLayout.to_dict` wrote.

    Raises:
        ValueError: if its delays are of the kind that ran through whole utterances, its values are out of range, or it
            has entries that are not known here.
    """
    others = {name: value for name, value in description.items() if name not in DELAYS_WITHIN}
    if any(description.get("delays", ())) and dict(description) != {**others, **DELAYS_WITHIN}:
        raise ValueError(
            f"delays of stream {description.get('name')} must be within each stretch of speech, but run through whole "
            "utterances, as an earlier version had them: build the blocks again and train on them anew"
        )
    try:
        return Stream(**others)
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Stream))
        raise ValueError(f"streams must be described by some of {known}, but are not: {error}") from error


@dataclass(frozen=True, repr=False)
class SpeechLayout:
    """All streams of speech tokens that a speech tokenizer gives, or that a language model reads.

    Args:
        streams: the streams. The length of speech is counted in frames of the first one.

    Raises:
        ValueError: if there are no streams, two have the same name or prefix, or delays begin above 0 or become
            smaller.
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
        delays = list(self.delays)
        if delays and not self.framewise:
            raise ValueError(
                f"delays of streams must be left out where not all streams are frames of codebooks, but are {delays}"
            )
        if delays and (delays[0] or delays != sorted(delays)):
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
        """The first stream, in whose frames the length of speech is counted."""
        return self.streams[0]

    @property
    def frame_rate(self) -> float:
        """Number of frames per second of the first stream, before deduplication."""
        return self.rate(self.first.name)

    @property
    def expressive(self) -> bool:
        """Whether there are pitch and style codes beside the units."""
        return PITCH in self.names

    @property
    def phonetic(self) -> bool:
        """Whether there are phonetic units, as in Spirit LM, from which a unit vocoder synthesises speech."""
        return UNIT in self.names

    @property
    def framewise(self) -> bool:
        """Whether every frame has a token of every codebook, as those of a neural codec have."""
        one = self.first.rate, self.first.clock
        return not any(stream.deduplicated or (stream.rate, stream.clock) != one for stream in self.streams)

    @property
    def delays(self) -> tuple[int, ...]:
        """Delay of each codebook of a frame in its turn, in frames; empty where no codebook is delayed."""
        in_turn = sorted(self.streams, key=lambda stream: stream.order)
        found = tuple(delay for stream in in_turn for delay in stream.delays or (0,) * stream.num_codebooks)
        return found if any(found) else ()

    @property
    def tokens_per_frame(self) -> int:
        """Number of tokens per frame of the first stream; streams of other rates are not counted."""
        return sum(stream.num_codebooks for stream in self.streams) if self.framewise else self.first.num_codebooks

    def stream(self, name: str) -> Stream:
        """Return the stream that has a name.

        Raises:
            ValueError: if no stream has it.
        """
        found = next((stream for stream in self.streams if stream.name == name), None)
        if found is None:
            raise ValueError(f"stream must be one of {', '.join(self.names)}, but is {name!r} instead")
        return found

    def rate(self, name: str) -> float:
        """Return the number of frames per second of a tokenizer's stream, whose name is given.

        Raises:
            ValueError: if no stream has this name, or it has no rate.
        """
        rate = self.stream(name).rate
        if rate is None:
            raise ValueError(f"rate of stream {name} must be given by its tokenizer, but is None instead")
        return rate

    def size(self, name: str) -> int:
        """Return the number of codes in each codebook of the stream that has a name; 0 where no stream has it."""
        return next((stream.size for stream in self.streams if stream.name == name), 0)

    def spirit_lm_sizes(self) -> dict[str, int] | None:
        """Return the sizes as arguments of `spirit_lm` if these are the streams of Spirit LM; None otherwise."""
        if self.names not in ((UNIT,), (UNIT, PITCH, STYLE)):
            return None
        sizes = {"num_units": self.size(UNIT), "num_pitches": self.size(PITCH), "num_styles": self.size(STYLE)}
        return sizes if self.streams == spirit_lm_streams(**sizes, frame_rate=self.first.rate) else None

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON: the sizes alone for the streams of Spirit LM, all values for other streams."""
        sizes = self.spirit_lm_sizes()
        if sizes is not None:
            return {"num_units": sizes.pop("num_units"), "frame_rate": self.first.rate, **sizes}
        return {"streams": [asdict(s) | (DELAYS_WITHIN if any(s.delays) else {}) for s in self.streams]}

    def __repr__(self) -> str:
        """Return the values of `to_dict` as text, so that messages name the sizes."""
        return described(self, self.to_dict())

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "SpeechLayout":
        """Make the layout from the dictionary that `to_dict` returned; other keys are ignored.

        Raises:
            ValueError: if a stream is none, has entries that are not known here, as in files of later versions, or has
                delays of the kind that ran through whole utterances.
            KeyError: if the description is incomplete.
        """
        if "streams" in description:
            return cls(tuple(_stream(stream) for stream in description["streams"]))
        pitches, styles = (description.get(name, 0) for name in ("num_pitches", "num_styles"))  # the oldest lack them
        return cls(spirit_lm_streams(description["num_units"], pitches, styles, description["frame_rate"]))
