"""Speech tokens to waveforms, whatever the tokens are: units that a vocoder speaks, or frames that a codec decodes.

Shapes: R runs of equal units, T frames, S samples.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from spiritlm_pl.contracts.vocoder import CodebookDecoder, StreamingVocoder, UnitVocoder
from spiritlm_pl.generation.codebooks import codebook_frames
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.generation.unit_stream import UnitStream
from spiritlm_pl.generation.vocode import SpokenUnits, Voice, device_of, speak, speak_continuation, spoken_units
from spiritlm_pl.generation.waveform_stream import WaveformAtTheEnd, WaveformStream, check_stream
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.config import check_vocoder
from spiritlm_pl.vocoder.duration import durations_from_log

NO_DURATIONS = "durations must be left out for the codes of a neural codec, whose frames last a frame"

AnyVocoder = UnitVocoder | CodebookDecoder


class Synthesis(Protocol):
    """A vocoder with the ids of the tokens that it is given, and a voice."""

    sample_rate: int
    hop_length: int

    def units(self, tokens: Sequence[int]) -> Tensor:
        """Return the units (R,), or codes (T, C), that would be spoken."""
        ...

    def durations(self, tokens: Sequence[int]) -> Tensor:
        """Frames (R,) or (T,) that each of them lasts."""
        ...

    def speak(self, tokens: Sequence[int], durations: Tensor | None = None) -> Tensor:
        """Waveform (S,); durations (R,) are predicted when not given."""
        ...

    def speak_after(self, before: Speech, tokens: Sequence[int]) -> Tensor:
        """Waveform (S,) of speech that continues other speech, without that."""
        ...

    def stream(self, before: Speech | None, chunk_frames: int, lookahead: int | None) -> WaveformStream:
        """A stream of waveforms; arguments as those of `UnitStream`."""
        ...


class UnitSynthesis:
    """Speak phonetic units.

    Args:
        vocoder: speaks.
        vocabulary: layout of the ids.
        voice: who speaks.
    """

    def __init__(self, vocoder: UnitVocoder, vocabulary: Vocabulary, voice: Voice) -> None:
        """Keep the parts."""
        self.vocoder, self.vocabulary, self.voice = vocoder, vocabulary, voice
        self.sample_rate, self.hop_length = vocoder.sample_rate, vocoder.hop_length

    def spoken(self, tokens: Sequence[int]) -> SpokenUnits:
        """Units with their pitches and styles."""
        return spoken_units(tokens, self.vocabulary, self.vocoder)

    def units(self, tokens: Sequence[int]) -> Tensor:
        """Units (R,) that would be spoken."""
        return self.spoken(tokens).units

    @torch.inference_mode()
    def durations(self, tokens: Sequence[int]) -> Tensor:
        """Predict the frames (R,) that each unit lasts."""
        units = self.units(tokens)[None].to(device_of(self.vocoder))
        return durations_from_log(self.vocoder.predict_log_durations(units))[0].cpu()

    def speak(self, tokens: Sequence[int], durations: Tensor | None = None) -> Tensor:
        """Waveform (S,) of tokens; durations (R,) are predicted when not given."""
        return speak(self.vocoder, self.spoken(tokens), self.voice, durations)

    def speak_after(self, before: Speech, tokens: Sequence[int]) -> Tensor:
        """Waveform (S,) of speech that continues other speech, spoken together for the sake of a smooth joint."""
        assert before.tokens is not None
        spoken = self.spoken([*before.tokens, *tokens])
        num_prompt = len(self.units(before.tokens))
        known = before.durations
        durations = known if known is not None and len(known) == num_prompt else None
        return speak_continuation(self.vocoder, spoken, num_prompt, self.voice, durations)

    def stream(self, before: Speech | None, chunk_frames: int, lookahead: int | None) -> WaveformStream:
        """A `UnitStream`, or one waveform at the end where the vocoder cannot speak a window of frames."""
        check_stream(chunk_frames, lookahead)
        if isinstance(self.vocoder, StreamingVocoder):
            return UnitStream(self.vocoder, self.vocabulary, self.voice, before, chunk_frames, lookahead)
        if before is None:
            return WaveformAtTheEnd(self.speak)
        return WaveformAtTheEnd(partial(self.speak_after, before))


class CodebookSynthesis:
    """Decode the frames of a neural codec.

    Args:
        decoder: decodes.
        vocabulary: layout of the ids.
    """

    def __init__(self, decoder: CodebookDecoder, vocabulary: Vocabulary) -> None:
        """Keep the parts."""
        self.decoder, self.vocabulary = decoder, vocabulary
        self.sample_rate, self.hop_length = decoder.sample_rate, decoder.hop_length

    def units(self, tokens: Sequence[int]) -> Tensor:
        """Codes (T, C) of the whole frames."""
        return codebook_frames(tokens, self.vocabulary)

    def durations(self, tokens: Sequence[int]) -> Tensor:
        """Ones (T,): a frame lasts a frame."""
        return torch.ones(len(self.units(tokens)), dtype=torch.long)

    def speak(self, tokens: Sequence[int], durations: Tensor | None = None) -> Tensor:
        """Waveform (S,) of the whole frames.

        Raises:
            ValueError: if durations are other than ones.
        """
        frames = self.units(tokens)
        if durations is not None and not (len(durations) == len(frames) and bool((durations == 1).all())):
            raise ValueError(NO_DURATIONS)
        return self.decoder.decode_frames(frames) if len(frames) else torch.zeros(0)

    def speak_after(self, before: Speech, tokens: Sequence[int]) -> Tensor:
        """Waveform (S,) of speech that continues other speech, decoded together for the sake of a smooth joint."""
        assert before.tokens is not None
        known = len(self.units(before.tokens))
        return self.speak([*before.tokens, *tokens])[known * self.hop_length :]

    def stream(self, before: Speech | None, chunk_frames: int, lookahead: int | None) -> WaveformStream:
        """A `CodebookStream`."""
        return CodebookStream(self, before, chunk_frames, lookahead)


class CodebookStream:
    """Waveforms of one stretch of a codec's frames while its tokens come.

    All frames so far are decoded each time: a decoder says how far it looks ahead, not how far back.

    Args:
        synthesis: decodes.
        before: speech that is continued; it is not repeated.
        chunk_frames: shortest waveform that is made, but for the last.
        lookahead: frames that must follow those that are decoded; the decoder's own if not given.
    """

    def __init__(
        self, synthesis: CodebookSynthesis, before: Speech | None, chunk_frames: int, lookahead: int | None
    ) -> None:
        """Start with what is continued."""
        check_stream(chunk_frames, lookahead)
        self.synthesis, self.chunk_frames = synthesis, chunk_frames
        own = synthesis.decoder.lookahead
        self.lookahead = own if lookahead is None else min(lookahead, own)
        self.tokens = list(before.tokens or ()) if before is not None else []
        self.made = len(synthesis.units(self.tokens))  # frames
        self.fewest = synthesis.vocabulary.layout.tokens_per_frame

    def add(self, tokens: Iterable[int], ended: bool = False) -> Tensor:
        """Return the waveform (S,) that can be made once these tokens are known; it is often empty."""
        self.tokens += tokens
        if not ended and len(self.tokens) <= self.fewest:  # it is not known yet how the tokens are to be read
            return torch.zeros(0)
        frames = self.synthesis.units(self.tokens)
        ready = len(frames) - (0 if ended else self.lookahead)
        if ready - self.made < (1 if ended else self.chunk_frames):
            return torch.zeros(0)
        waveform = self.synthesis.decoder.decode_frames(frames)
        hop = self.synthesis.hop_length
        cut = waveform[self.made * hop : ready * hop]
        self.made = ready
        return cut


def check_synthesis(vocoder: AnyVocoder, vocabulary: Vocabulary, folder: object) -> None:
    """Refuse a vocoder that cannot speak what a language model says.

    Args:
        vocoder: unit vocoder or decoder of a codec.
        vocabulary: of the language model.
        folder: of the vocoder, for errors.

    Raises:
        ValueError: if it is of the other family, or has too few units or codebooks.
    """
    if isinstance(vocoder, CodebookDecoder):
        own, theirs = (
            [(stream.name, stream.size, stream.num_codebooks, stream.rate) for stream in layout.streams]
            for layout in (vocabulary.layout, vocoder.layout)
        )
        if own != theirs:
            raise ValueError(
                "vocoder must speak the language model's streams (name, codes, codebooks, frames a second) "
                f"{own}, but {folder} speaks {theirs} instead"
            )
        return
    if UNIT not in vocabulary.layout.names:
        raise ValueError(
            f"vocoder must speak the streams {', '.join(vocabulary.layout.names)} of the language model, "
            f"but {folder} speaks units"
        )
    if config := getattr(vocoder, "config", None):
        check_vocoder(config, vocabulary, str(folder))


def synthesis_of(vocoder: AnyVocoder, vocabulary: Vocabulary, voice: Voice) -> Synthesis:
    """Return a vocoder made ready for the tokens of a vocabulary."""
    if isinstance(vocoder, CodebookDecoder):
        return CodebookSynthesis(vocoder, vocabulary)
    return UnitSynthesis(vocoder, vocabulary, voice)
