"""Synthesis of waveforms from speech tokens: units through a vocoder, or frames of codes through a neural codec.

Shapes: R runs of equal units, T frames, C codebooks, S samples.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from spiritlm_pl.contracts.vocoder import CodebookDecoder, StreamingVocoder, UnitVocoder
from spiritlm_pl.generation.codebooks import FrameReader, codebook_frames
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.generation.unit_stream import UnitStream
from spiritlm_pl.generation.vocode import SpokenUnits, Voice, device_of, speak, speak_continuation, spoken_units
from spiritlm_pl.generation.waveform_stream import Chunks, WaveformAtTheEnd, WaveformStream, check_stream
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.config import check_vocoder
from spiritlm_pl.vocoder.duration import durations_from_log

NO_DURATIONS = "durations must be left out for the codes of a neural codec, whose frames last a frame"

AnyVocoder = UnitVocoder | CodebookDecoder

MIRRORED = 7  # frames, since EnCodec pads its beginning with a mirror image of the first six, which fewer do not have


class Synthesis(Protocol):
    """Synthesises speech from token ids: a vocoder together with a vocabulary and, for units, a voice."""

    sample_rate: int
    hop_length: int

    def units(self, tokens: Sequence[int]) -> Tensor:
        """Return the units (R,), or the codes (T, C), that speech token ids stand for."""
        ...

    def durations(self, tokens: Sequence[int]) -> Tensor:
        """Predict the duration in frames of each unit (R,) or code frame (T,) that `units` returns."""
        ...

    def speak(self, tokens: Sequence[int], durations: Tensor | None = None) -> Tensor:
        """Synthesise a waveform (S,) from speech token ids.

        Args:
            tokens: speech token ids of one utterance.
            durations: duration of each unit (R,) in frames; None to predict them.
        """
        ...

    def speak_after(self, before: Speech, tokens: Sequence[int]) -> Tensor:
        """Synthesise the continuation of speech: a waveform (S,) that does not repeat the earlier speech.

        Args:
            before: the earlier speech, with its tokens.
            tokens: speech token ids of the continuation.
        """
        ...

    def stream(
        self, before: Speech | None, chunk_frames: int, lookahead: int | None, begun: Sequence[int] = ()
    ) -> WaveformStream:
        """A stream of waveforms; arguments as those of `CodebookStream`."""
        ...


class UnitSynthesis:
    """Synthesis from phonetic units with a unit vocoder.

    Args:
        vocoder: vocoder that makes the waveforms.
        vocabulary: layout of the token ids.
        voice: speaker and global style of the speech.
    """

    def __init__(self, vocoder: UnitVocoder, vocabulary: Vocabulary, voice: Voice) -> None:
        """Keep the parts."""
        self.vocoder, self.vocabulary, self.voice = vocoder, vocabulary, voice
        self.sample_rate, self.hop_length = vocoder.sample_rate, vocoder.hop_length

    def spoken(self, tokens: Sequence[int]) -> SpokenUnits:
        """Return the units of token ids with their pitch and style codes."""
        return spoken_units(tokens, self.vocabulary, self.vocoder)

    def units(self, tokens: Sequence[int]) -> Tensor:
        """Return the units (R,) that speech token ids stand for, deduplicated."""
        return self.spoken(tokens).units

    @torch.inference_mode()
    def durations(self, tokens: Sequence[int]) -> Tensor:
        """Predict the duration in frames (R,) of each unit."""
        units = self.units(tokens)[None].to(device_of(self.vocoder))
        return durations_from_log(self.vocoder.predict_log_durations(units))[0].cpu()

    def speak(self, tokens: Sequence[int], durations: Tensor | None = None) -> Tensor:
        """Synthesise a waveform (S,); durations (R,) in frames are predicted if they are None."""
        return speak(self.vocoder, self.spoken(tokens), self.voice, durations)

    def speak_after(self, before: Speech, tokens: Sequence[int]) -> Tensor:
        """Synthesise both together, so that the joint is smooth, and return the waveform (S,) of the continuation."""
        assert before.tokens is not None
        spoken = self.spoken([*before.tokens, *tokens])
        num_prompt = len(self.units(before.tokens))
        known = before.durations
        durations = known if known is not None and len(known) == num_prompt else None
        return speak_continuation(self.vocoder, spoken, num_prompt, self.voice, durations)

    def stream(
        self, before: Speech | None, chunk_frames: int, lookahead: int | None, begun: Sequence[int] = ()
    ) -> WaveformStream:
        """Return a `UnitStream`, or the waveform at the end where the vocoder cannot speak a window of frames."""
        if isinstance(self.vocoder, StreamingVocoder):
            return UnitStream(self.vocoder, self.vocabulary, self.voice, before, chunk_frames, lookahead)
        check_stream(chunk_frames, lookahead)
        if before is None:
            return WaveformAtTheEnd(self.speak)
        return WaveformAtTheEnd(partial(self.speak_after, before))


class CodebookSynthesis:
    """Synthesis from frames of codes with the decoder of a neural codec.

    Args:
        decoder: decoder that makes the waveforms.
        vocabulary: layout of the token ids.
    """

    def __init__(self, decoder: CodebookDecoder, vocabulary: Vocabulary) -> None:
        """Keep the parts."""
        self.decoder, self.vocabulary = decoder, vocabulary
        self.sample_rate, self.hop_length = decoder.sample_rate, decoder.hop_length

    def units(self, tokens: Sequence[int]) -> Tensor:
        """Return the codes (T, C) of the complete frames in speech token ids."""
        return codebook_frames(tokens, self.vocabulary)

    def durations(self, tokens: Sequence[int]) -> Tensor:
        """Return ones (T,), since every frame of codes lasts one frame."""
        return torch.ones(len(self.units(tokens)), dtype=torch.long)

    def speak(self, tokens: Sequence[int], durations: Tensor | None = None) -> Tensor:
        """Decode the complete frames to a waveform (S,).

        Raises:
            ValueError: if a duration is not 1.
        """
        frames = self.units(tokens)
        if durations is not None and not (len(durations) == len(frames) and bool((durations == 1).all())):
            raise ValueError(NO_DURATIONS)
        return self.decoder.decode_frames(frames) if len(frames) else torch.zeros(0)

    def speak_after(self, before: Speech, tokens: Sequence[int]) -> Tensor:
        """Decode both together, so that the joint is smooth, and return the waveform (S,) of the continuation."""
        assert before.tokens is not None
        known = self.units(before.tokens)
        # With delays these are two stretches, without them tokens that go on.
        begun = () if self.vocabulary.layout.delays else before.tokens
        frames = codebook_frames(tokens, self.vocabulary, begun)
        if not len(known) + len(frames):
            return torch.zeros(0)
        return self.decoder.decode_frames(torch.cat([known, frames]))[len(known) * self.hop_length :]

    def stream(
        self, before: Speech | None, chunk_frames: int, lookahead: int | None, begun: Sequence[int] = ()
    ) -> WaveformStream:
        """A `CodebookStream`."""
        return CodebookStream(self, before, chunk_frames, lookahead, begun)


class CodebookStream:
    """Decodes one stretch of speech piece by piece while its tokens are generated.

    All frames so far are decoded each time: a decoder tells how far it looks ahead, but not how far back.

    Args:
        synthesis: decodes.
        before: speech that is continued; it is not repeated.
        chunk_frames: smallest number of frames decoded at a time, but for the first ones (`Chunks`) and the last.
        lookahead: frames that must follow those that are decoded; the decoder's own if not given.
        begun: the stretch of speech that is continued, up to its closing steps; only delayed codebooks need it.
    """

    def __init__(
        self,
        synthesis: CodebookSynthesis,
        before: Speech | None,
        chunk_frames: int,
        lookahead: int | None,
        begun: Sequence[int] = (),
    ) -> None:
        """Start after the speech that is continued."""
        self.synthesis, self.chunks = synthesis, Chunks(chunk_frames, lookahead)
        own = synthesis.decoder.lookahead
        self.lookahead = own if lookahead is None else min(lookahead, own)
        known = (before and before.tokens) or ()
        self.frames = synthesis.units(known)  # (T, C)
        self.made = len(self.frames)
        self.reader = FrameReader(synthesis.vocabulary, begun if synthesis.vocabulary.layout.delays else known)
        self.new: list[list[int]] = []  # frames that are not yet among the others

    def add(self, tokens: Iterable[int], ended: bool = False) -> Tensor:
        """Return the waveform (S,) that can be made once these tokens are known; it is often empty."""
        self.new += [frame for token in tokens if (frame := self.reader.add(token)) is not None]
        ready = len(self.frames) + len(self.new) - (0 if ended else self.lookahead)
        too_few = not ended and (ready - self.made < self.chunks.fewest or ready < MIRRORED)
        if too_few or ready == self.made:
            return torch.zeros(0)
        self.chunks.made()
        if self.new:
            self.frames, self.new = torch.cat([self.frames, torch.tensor(self.new)]), []
        waveform = self.synthesis.decoder.decode_frames(self.frames)
        hop = self.synthesis.hop_length
        cut = waveform[self.made * hop : ready * hop]
        self.made = ready
        return cut


def check_synthesis(vocoder: AnyVocoder, vocabulary: Vocabulary, folder: object) -> None:
    """Refuse a vocoder that cannot synthesise the speech tokens of a language model.

    Args:
        vocoder: unit vocoder, or decoder of a neural codec.
        vocabulary: vocabulary of the language model.
        folder: folder of the vocoder, for errors.

    Raises:
        ValueError: if the one has phonetic units and the other codes of a codec; or if the vocoder knows fewer units,
            or the codec has other streams.
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
    """Return the synthesis that turns the token ids of a vocabulary into waveforms with a vocoder."""
    if isinstance(vocoder, CodebookDecoder):
        return CodebookSynthesis(vocoder, vocabulary)
    return UnitSynthesis(vocoder, vocabulary, voice)
