"""Synthesis of phonetic units while their tokens are generated.

A vocoder sees a window of units with a margin on both sides, as wide as its layers reach, so that the stretches put
together are the waveform that it would have made of all units at once.

Shapes: R runs of equal units, S samples.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from spiritlm_pl.contracts.vocoder import StreamingVocoder
from spiritlm_pl.data.merge import NONE
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.generation.vocode import SpokenUnits, Voice, device_of, spoken_units
from spiritlm_pl.generation.waveform_stream import CHUNK_FRAMES, Chunks
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.duration import durations_from_log


class UnitStream:
    """Synthesises one stretch of speech piece by piece while its tokens are generated.

    Args:
        vocoder: vocoder that makes the waveforms.
        vocabulary: layout of the token ids.
        voice: speaker and global style of the speech.
        before: speech that is continued and not repeated; None if there is none.
        chunk_frames: smallest number of frames synthesised at a time, but for the first ones (`Chunks`) and the last.
        lookahead: number of frames that must follow before a frame is synthesised; None for the vocoder's margin, which
            gives exactly the waveform of all units at once. Fewer frames are sooner and not exact: with 12 of a margin
            of 19, samples differed by 2e-4 at most in the quickstart's vocoders.
    """

    def __init__(
        self,
        vocoder: StreamingVocoder,
        vocabulary: Vocabulary,
        voice: Voice,
        before: Speech | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        lookahead: int | None = None,
    ) -> None:
        """Start after the speech that is continued."""
        self.chunks = Chunks(chunk_frames, lookahead)
        self.vocoder, self.vocabulary, self.voice = vocoder, vocabulary, voice
        self.lookahead = vocoder.margin if lookahead is None else min(lookahead, vocoder.margin)
        self.tokens = list(before.tokens or ()) if before is not None else []
        self.num_before = len(self._spoken().units)
        self.durations = torch.zeros(0, dtype=torch.long)
        if before is not None and before.durations is not None and len(before.durations) == self.num_before:
            self.durations = before.durations
        self.made: int | None = None  # frames

    def add(self, tokens: Iterable[int], ended: bool = False) -> Tensor:
        """Take new tokens, and return the waveform (S,) that they complete; see `WaveformStream.add`."""
        self.tokens += tokens
        spoken = self._spoken()
        units = spoken.units
        settled = len(units) if ended else max(0, len(units) - self.vocoder.duration_reach)
        waits = self.vocoder.expressive and len(units) > 0 and NONE in (int(spoken.pitches[0]), int(spoken.styles[0]))
        if settled <= self.num_before or (waits and not ended):
            return torch.zeros(0)
        self._predict(units, settled)
        if self.made is None:
            self.made = int(self.durations[: self.num_before].sum())
        # The next unit lasts a frame at least.
        known = torch.cat([self.durations, torch.ones(min(1, len(units) - settled), dtype=torch.long)])
        frames = SpokenUnits(
            *(part[: len(known)].repeat_interleave(known) for part in (units, spoken.pitches, spoken.styles))
        )
        ready = len(frames.units) - (0 if ended else self.lookahead)
        if ready - self.made < (1 if ended else self.chunks.fewest):
            return torch.zeros(0)
        return self._speak(frames, ready)

    def _predict(self, units: Tensor, settled: int) -> None:
        """Predict the durations of units that are settled now, from them and the units (R,) on which they depend."""
        if settled <= len(self.durations):
            return
        first = max(0, len(self.durations) - self.vocoder.duration_reach)
        log_durations = self.vocoder.predict_log_durations(units[None, first:].to(device_of(self.vocoder)))
        predicted = durations_from_log(log_durations)[0].cpu()
        self.durations = torch.cat([self.durations, predicted[len(self.durations) - first : settled - first]])

    def _speak(self, frames: SpokenUnits, ready: int) -> Tensor:
        """Synthesise the frames up to a place, from where the last waveform ended."""
        assert self.made is not None
        first = max(0, self.made - self.vocoder.margin)
        window = frames.after(first)
        pitches, styles = (window.pitches, window.styles) if self.vocoder.expressive else (None, None)
        start, stop = self.made - first, ready - first
        self.made = ready
        self.chunks.made()
        return self.vocoder.speak_frames(
            window.units, self.voice.speaker, pitches, styles, self.voice.style, start, stop
        )

    def _spoken(self) -> SpokenUnits:
        return spoken_units(self.tokens, self.vocabulary, self.vocoder)
