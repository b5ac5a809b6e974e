"""From what a user gives (pieces, or a string of words and tokens) to the token ids that are to be continued.

Shapes: S samples.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spiritlm_pl.corpora.audio import SILENCE, load_waveform
from spiritlm_pl.generation.pieces import OutputModality, Piece, Speech, Text
from spiritlm_pl.generation.stream import FORCED, SPEECH_KINDS, Segment, encode_segments, speech_codes
from spiritlm_pl.tokens.merge import speech_stream
from spiritlm_pl.vocabulary import Modality, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.speech.contract import SpeechTokenizer
    from spiritlm_pl.text import TextTokenizer

_TOKEN = re.compile(r"\[(?:(Text|Speech)|(Hu|Pi|St)(\d+))\]")


@dataclass(frozen=True)
class Prompt:
    """A prompt, ready to be continued.

    Attributes:
        tokens: ids.
        last: modality in which it ends.
        speech: the speech at its end, which an answer may continue.
    """

    tokens: list[int]
    last: Modality
    speech: Speech | None


def parse_prompt(string: str, vocabulary: Vocabulary) -> list[Piece]:
    """Pieces of a string of words and tokens, such as `[Speech][Hu3][Hu7][Text]the cat`.

    Raises:
        ValueError: if it holds a speech token that the vocabulary has not.
    """
    pieces: list[Piece] = []
    starts = {"Hu": vocabulary.unit_offset, "Pi": vocabulary.pitch_offset, "St": vocabulary.style_offset}
    sizes = {"Hu": vocabulary.num_units, "Pi": vocabulary.num_pitches, "St": vocabulary.num_styles}
    place = 0
    speech: list[int] = []

    def close() -> None:
        if speech:
            pieces.append(Speech(units=speech_codes(speech, vocabulary)[0], tokens=tuple(speech)))
            speech.clear()

    for match in _TOKEN.finditer(string):
        words, place = string[place : match.start()], match.end()
        if words.strip() or match[1]:
            close()
        if words.strip():
            pieces.append(Text(words))
        if match[2]:
            value = int(match[3])
            if value >= sizes[match[2]]:
                raise ValueError(
                    f"prompt must hold at most {sizes[match[2]]} different {match[2]}, but holds {match[0]} instead"
                )
            speech.append(starts[match[2]] + value)
    close()
    if string[place:].strip():
        pieces.append(Text(string[place:]))
    return pieces


class PromptEncoder:
    """Token ids of prompts.

    Args:
        text_tokenizer: for words.
        vocabulary: layout of the token ids.
        speech_tokenizer: for prompts of audio.
        device: where it computes.
    """

    def __init__(
        self,
        text_tokenizer: "TextTokenizer",
        vocabulary: Vocabulary,
        speech_tokenizer: "SpeechTokenizer | None" = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Keep the parts."""
        self.text_tokenizer, self.vocabulary = text_tokenizer, vocabulary
        self.speech_tokenizer, self.device = speech_tokenizer, device

    def encode(self, prompt: Sequence[Piece] | str, output: OutputModality = "any") -> Prompt:
        """Encode a prompt.

        Args:
            prompt: pieces of text and speech, or a string in which `[Text]`, `[Speech]`, `[Hu5]` ... are tokens. What
                a `Text` holds is never read as a token.
            output: what is to be generated; its modality token is added where the prompt ends in another.

        Raises:
            ValueError: if the prompt is empty or needs a speech tokenizer that was not loaded.
        """
        if isinstance(prompt, str):
            published = self.text_tokenizer.encode_stream(prompt)
            if published is not None and _TOKEN.match(prompt):
                return self._verbatim(published, output)
            prompt = parse_prompt(prompt, self.vocabulary)
        segments: list[Segment] = []
        speech: Speech | None = None
        for written, pieces in groupby(prompt, key=lambda piece: isinstance(piece, Text)):
            if written:
                text = self.text_tokenizer.joint.join(piece.text for piece in pieces if isinstance(piece, Text))
                segments.append(Segment(Modality.TEXT, tuple(self.text_tokenizer.encode(text))))
                speech = None
            else:
                for piece in pieces:
                    assert isinstance(piece, Speech)
                    speech = self.with_tokens(piece)
                    assert speech.tokens is not None
                    segments.append(Segment(Modality.SPEECH, speech.tokens))
        tokens = [*self.text_tokenizer.opening, *encode_segments(segments, self.vocabulary, output)]
        last = next(segment.modality for segment in reversed(segments) if segment.tokens)
        return Prompt(tokens, last, speech)

    def _verbatim(self, tokens: list[int], output: OutputModality) -> Prompt:
        """A prompt of ids, and what its end means."""
        opened_by = self.vocabulary.opened_by()
        place = max((number for number, token in enumerate(tokens) if token in opened_by), default=-1)
        last = opened_by[tokens[place]] if place >= 0 else Modality.TEXT
        spoken = tuple(token for token in tokens[place + 1 :] if self.vocabulary.kind(token) in SPEECH_KINDS)
        speech = None
        if last is Modality.SPEECH and spoken:
            speech = Speech(units=speech_codes(spoken, self.vocabulary)[0], tokens=spoken)
        wanted = FORCED.get(output)
        if wanted is not None and wanted is not last:
            tokens = [*tokens, self.vocabulary.change_marker(wanted)]
        return Prompt(tokens, last, speech)

    def with_tokens(self, speech: Speech) -> Speech:
        """Speech with its token ids, and its units.

        Raises:
            ValueError: if it is audio that cannot be tokenized, or there is no tokenizer.
        """
        if speech.tokens is not None:
            return speech
        if speech.units is not None:
            return replace(speech, tokens=tuple(self.vocabulary.unit_token(unit) for unit in speech.units.tolist()))
        tokenizer = self.speech_tokenizer
        if tokenizer is None:
            raise ValueError("a speech tokenizer must be given for prompts of speech, but is None instead")
        waveform = _waveform(speech, tokenizer.sample_rate)
        if len(waveform) < tokenizer.hop_length:
            raise ValueError(
                f"speech prompt must last at least {tokenizer.hop_length} samples, but has {len(waveform)} instead"
            )
        if not bool(waveform.isfinite().all()):
            raise ValueError("a speech prompt must hold finite samples, but has some that are not")
        if float(waveform.abs().max()) < SILENCE:
            raise ValueError("a speech prompt must hold sound, but is silent")
        waveforms = waveform[None].to(self.device)
        units = tokenizer.encode(waveforms, torch.tensor([len(waveform)], device=waveforms.device))[0]
        if not units.num_frames:
            raise ValueError(f"speech prompt must be long enough for a unit, but has {len(waveform)} samples instead")
        pitches, styles = (None if part is None else part.numpy() for part in (units.pitches, units.styles))
        stream = speech_stream(
            units.values.numpy(), units.starts.numpy(), pitches, styles, tokenizer.layout, self.vocabulary
        )
        tokens = tuple(stream.ids(self.vocabulary).tolist())
        return Speech(waveform, tokenizer.sample_rate, units.values, units.durations(), tokens)


def _waveform(speech: Speech, sample_rate: int) -> Tensor:
    """The (S,) waveform of a prompt at the tokenizer's rate; channels are averaged."""
    if speech.audio is None:
        raise ValueError("a speech prompt must have audio or units, but has neither instead")
    if isinstance(speech.audio, str | Path):
        path = Path(speech.audio)
        if not path.is_file():
            raise FileNotFoundError(f"speech prompt must be an audio file, but {path} does not exist")
        return load_waveform(path, sample_rate)
    from torchaudio.functional import resample

    waveform = torch.as_tensor(speech.audio)
    if not waveform.is_floating_point():  # samples of a wav file as they are
        waveform = waveform / -torch.iinfo(waveform.dtype).min
    waveform = waveform.float()
    waveform = waveform.mean(0) if waveform.ndim == 2 else waveform
    if waveform.ndim != 1:
        raise ValueError(f"audio must have shape (S,) or (C, S), but has {tuple(waveform.shape)} instead")
    return resample(waveform, speech.sample_rate, sample_rate)
