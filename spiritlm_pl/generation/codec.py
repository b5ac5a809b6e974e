"""Conversion of waveforms to speech tokens and back, without a language model.

Shapes: S samples, R runs of equal units.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.data.merge import speech_stream
from spiritlm_pl.data.steps import in_steps
from spiritlm_pl.generation.codebooks import joined_speech
from spiritlm_pl.generation.synthesis import AnyVocoder, synthesis_of
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.streams import UNIT, SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer


def speech_vocabulary(layout: SpeechLayout) -> Vocabulary:
    """Return the vocabulary of a tokenizer's or vocoder's tokens, for use without a language model."""
    return Vocabulary(num_text=1, streams=layout.streams, multiple_of=1)


class SpeechCodec:
    """Codec that turns waveforms into tokens, and tokens into waveforms.

    Args:
        vocabulary: layout of the token ids.
        tokenizer: speech tokenizer; None for a codec that reads no audio.
        vocoder: network that makes waveforms; None for a codec that only tokenizes.
        device: device that the tokenizer computes on.
        half: whether the tokenizer's networks compute in bfloat16 (F0 stays in float32), which is twice as fast on
            processors that support it; some units differ.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        tokenizer: "SpeechTokenizer | None" = None,
        vocoder: AnyVocoder | None = None,
        device: str | torch.device = "cpu",
        half: bool = False,
    ) -> None:
        """Keep the parts."""
        self.vocabulary, self.tokenizer, self.vocoder, self.device = vocabulary, tokenizer, vocoder, device
        self.half = half

    def encode(self, speech: Speech) -> Speech:
        """Return speech with its token ids, units and their durations.

        Raises:
            ValueError: if the audio cannot be tokenized, or there is no tokenizer.
            FileNotFoundError: if the file of the speech does not exist.
        """
        found = self.encode_batch([self.checked(speech)])[0]
        if isinstance(found, ValueError):
            raise found
        return found

    def checked(self, speech: Speech) -> Speech:
        """Return speech with its tokens if it has some, else with a waveform (S,) that can be tokenized.

        Raises:
            ValueError: if the speech is silent, too short or not finite, or there is no tokenizer.
            FileNotFoundError: if the file of the speech does not exist.
        """
        if speech.tokens is not None:
            return speech
        if speech.units is not None:
            return replace(speech, tokens=tuple(self.vocabulary.token(UNIT, unit) for unit in speech.units.tolist()))
        if self.tokenizer is None:
            raise ValueError("a speech tokenizer must be given for prompts of speech, but is None instead")
        from spiritlm_pl.corpora.audio import SILENCE  # whose libraries take as long to import as a text takes to begin

        rate, hop = self.tokenizer.sample_rate, self.tokenizer.hop_length
        waveform = _waveform(speech, rate)
        if len(waveform) < hop:
            raise ValueError(f"speech must last at least {hop} samples, but has {len(waveform)} instead")
        if not bool(waveform.isfinite().all()):
            raise ValueError("speech must hold finite samples, but has some that are not")
        if float(waveform.abs().max()) < SILENCE:
            raise ValueError("speech must hold sound, but is silent")
        return Speech(waveform, rate)

    def encode_batch(self, checked: Sequence[Speech]) -> list[Speech | ValueError]:
        """Tokenize several utterances together, with the same tokens as one by one.

        Args:
            checked: utterances that `checked` returned.

        Returns:
            Speech with tokens for each utterance, or an error if the utterance is too short for a unit.
        """
        found: list[Speech | ValueError] = []
        for units, speech in zip(self._units(checked), checked, strict=True):
            try:
                found.append(speech if units is None else self._with_tokens(speech, units))
            except ValueError as error:
                found.append(error)
        return found

    def _units(self, checked: Sequence[Speech]) -> list[Units | None]:
        """Compute the units of speech that is given as audio."""
        places = [place for place, speech in enumerate(checked) if speech.tokens is None]
        found: dict[int, Units] = {}
        if places:
            assert self.tokenizer is not None
            waveforms = [cast(Tensor, checked[place].audio) for place in places]
            lengths = torch.tensor([len(waveform) for waveform in waveforms], device=self.device)
            batch = pad_sequence(waveforms, batch_first=True).to(self.device)
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.half):
                found = dict(zip(places, self.tokenizer.encode(batch, lengths), strict=True))
        return [found.get(place) for place in range(len(checked))]

    def _with_tokens(self, speech: Speech, units: Units) -> Speech:
        assert self.tokenizer is not None
        if not units.num_frames:
            samples = len(cast(Tensor, speech.audio))
            raise ValueError(f"speech must be long enough for a unit, but has {samples} samples instead")
        codes = {name: values.numpy() for name, values in units.codes.items()}
        layout = self.tokenizer.layout
        stream = speech_stream(units.values.numpy(), units.starts.numpy(), codes, layout, self.vocabulary)
        found = replace(speech, tokens=tuple(in_steps(stream.ids(self.vocabulary), self.vocabulary).tolist()))
        return replace(found, units=units.values, durations=units.durations()) if layout.phonetic else found

    def decode(self, tokens: Sequence[int], voice: Voice | None = None, durations: Tensor | None = None) -> Speech:
        """Turn token ids into speech; a run of equal units counts as one unit.

        Args:
            tokens: token ids of one stretch of speech.
            voice: speaker and style; the vocoder's defaults if not given.
            durations: (R,) number of frames of each unit; predicted if None.

        Raises:
            ValueError: if there is no vocoder or no unit, the durations do not fit, or delayed codes are not in their
                order.
        """
        if self.vocoder is None:
            raise ValueError("a vocoder must be given for speech, but is None instead")
        speaker = synthesis_of(self.vocoder, self.vocabulary, voice or Voice())
        tokens = joined_speech([tokens], self.vocabulary)
        units = speaker.units(tokens)
        if not len(units):
            raise nothing_to_speak(self.vocabulary.layout)
        waveform = speaker.speak(tokens, durations)
        said = units if self.vocabulary.layout.phonetic else None
        return Speech(waveform, speaker.sample_rate, said, durations, tuple(tokens))


def nothing_to_speak(layout: SpeechLayout) -> ValueError:
    """Return the error for tokens without a unit, or without a whole frame of a codec."""
    frame = f"one whole frame of {layout.tokens_per_frame} codes"
    return ValueError(f"tokens must hold at least {frame if layout.framewise else 'one unit'}, but hold none")


def _waveform(speech: Speech, sample_rate: int) -> Tensor:
    """Return the waveform (S,) of speech at the tokenizer's rate, with channels mixed."""
    if speech.audio is None:
        raise ValueError("speech must have audio or units, but has neither instead")
    from spiritlm_pl.corpora.audio import load_waveform, to_mono

    if isinstance(speech.audio, str | Path):
        path = Path(speech.audio)
        if not path.is_file():
            raise FileNotFoundError(f"speech must be an audio file, but {found_at(path)}")
        return load_waveform(path, sample_rate)
    waveform = torch.as_tensor(speech.audio)
    if not waveform.is_floating_point():  # samples of a wav file as they are
        if waveform.dtype not in (torch.int16, torch.int32):
            raise ValueError(f"audio must be of floating point, int16 or int32, but is {waveform.dtype} instead")
        waveform = waveform / -torch.iinfo(waveform.dtype).min
    if waveform.ndim not in (1, 2):
        raise ValueError(f"audio must have shape (S,) or (C, S), but has {tuple(waveform.shape)} instead")
    return to_mono(torch.atleast_2d(waveform.float()), speech.sample_rate, sample_rate)
