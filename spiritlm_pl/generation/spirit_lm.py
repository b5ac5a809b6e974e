"""The whole model: text and speech in, text and speech out.

Shapes: S samples, R runs of equal units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from spiritlm_pl.corpora.audio import SILENCE, load_waveform
from spiritlm_pl.generation.pieces import OutputModality, Piece, Speech, Text
from spiritlm_pl.generation.sampling import GenerationSettings, continue_tokens
from spiritlm_pl.generation.stream import SPEECH_KINDS, Segment, decode_tokens, encode_segments, speech_codes
from spiritlm_pl.generation.vocode import SpokenUnits, UnitVocoder, Voice, speak, speak_continuation
from spiritlm_pl.tokens.merge import speech_stream
from spiritlm_pl.vocabulary import Modality, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.speech.contract import SpeechLayout, SpeechTokenizer
    from spiritlm_pl.text import TextTokenizer
    from spiritlm_pl.vocoder.config import VocoderConfig

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Prompt:
    tokens: list[int]
    last: Modality
    speech: Speech | None  # the speech that an answer may continue


class SpiritLM:
    """A language model with what it needs to read and speak.

    Args:
        model: causal language model over the vocabulary.
        text_tokenizer: for words.
        vocabulary: layout of the token ids.
        speech_tokenizer: waveforms to units; needed for speech prompts given as audio.
        vocoder: units to waveforms; without it, speech is answered as units only.
        speaker: the vocoder's voice, by name or id.
        style: the vocoder's global style, by name or id, where it has some.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        text_tokenizer: "TextTokenizer",
        vocabulary: Vocabulary,
        speech_tokenizer: "SpeechTokenizer | None" = None,
        vocoder: UnitVocoder | None = None,
        speaker: str | int = 0,
        style: str | int | None = None,
    ) -> None:
        """Keep the parts; none of them is copied."""
        self.model = model
        self.text_tokenizer = text_tokenizer
        self.vocabulary = vocabulary
        self.speech_tokenizer = speech_tokenizer
        self.vocoder = vocoder
        self.voice = Voice(speaker, style)

    @classmethod
    def load(
        cls,
        lm_folder: str | Path,
        tokenizer_folder: str | Path | None = None,
        vocoder_folder: str | Path | None = None,
        device: str | torch.device = "cpu",
        speaker: str | int = 0,
        style: str | int | None = None,
    ) -> "SpiritLM":
        """Load exported folders.

        Args:
            lm_folder: language model with its text tokenizer and `spiritlm.json`.
            tokenizer_folder: speech tokenizer.
            vocoder_folder: vocoder.
            device: where to compute.
            speaker: the vocoder's voice, by name or id.
            style: the vocoder's global style, by name or id, where it has some.

        Raises:
            ValueError: if a folder holds something else, or the parts do not fit together.
        """
        from spiritlm_pl.checkpoint import load_network
        from spiritlm_pl.lm.folder import load_lm
        from spiritlm_pl.speech.expressive import load_tokenizer
        from spiritlm_pl.vocoder.vocoder import Vocoder

        model, text_tokenizer, vocabulary = load_lm(lm_folder, device)
        speech_tokenizer = None if tokenizer_folder is None else load_tokenizer(tokenizer_folder, device)
        if speech_tokenizer is not None:
            check_tokenizer(speech_tokenizer.layout, vocabulary, tokenizer_folder)
        vocoder = None
        if vocoder_folder is not None:
            vocoder = cast(Vocoder, load_network(vocoder_folder, "vocoder", device))
            vocoder.speaker_id(speaker)
            if style is not None:
                vocoder.style_id(style)
            check_vocoder(vocoder.config, vocabulary, vocoder_folder)
        return cls(model, text_tokenizer, vocabulary, speech_tokenizer, vocoder, speaker, style)

    def generate(
        self,
        prompt: Sequence[Piece],
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
    ) -> list[list[Piece]]:
        """Continue one prompt.

        Args:
            prompt: text and speech in their order.
            output: what may be generated.
            settings: sampling options.
            progress: called after every token with the number of tokens done and at most.

        Returns:
            `settings.num_samples` answers, each a list of pieces.

        Raises:
            ValueError: if the prompt is empty, longer than the context, or needs a part that was not loaded.
        """
        return self.generate_batch([prompt], output, settings, progress)[0]

    def generate_batch(
        self,
        prompts: Sequence[Sequence[Piece]],
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
        synced: bool = False,
    ) -> list[list[list[Piece]]]:
        """Continue several prompts together; `generate` for each of them gives the same.

        Args:
            prompts: each a sequence of text and speech.
            output: what may be generated.
            settings: sampling options.
            progress: called after every token with the number of tokens done and at most.
            synced: every rank goes on until all are done, which sharded parameters (ZeRO-3) need.

        Returns:
            For every prompt its answers.

        Raises:
            ValueError: as `generate`.
        """
        settings = settings or GenerationSettings()
        encoded = [self.encode_prompt(prompt, output) for prompt in prompts]
        size = settings.num_samples
        jobs = [(prompt, settings.seed + sample) for prompt in encoded for sample in range(size)]
        continued = continue_tokens(
            self.model,
            [prompt.tokens for prompt, _ in jobs],
            self.vocabulary,
            output,
            settings,
            limits=[settings.limit(prompt.last, output) for prompt, _ in jobs],
            seeds=[seed for _, seed in jobs],
            eos_id=self.text_tokenizer.eos_id,
            synced=synced,
            progress=progress,
        )
        answers = [
            self._decode(prompt, tokens, output, settings.min_speech_units)
            for (prompt, _), tokens in zip(jobs, continued, strict=True)
        ]
        return [answers[start : start + size] for start in range(0, len(answers), size)]

    def encode_prompt(self, prompt: Sequence[Piece], output: OutputModality = "any") -> _Prompt:
        """Token ids of a prompt, and what an answer may continue.

        Raises:
            ValueError: if the prompt is empty or needs a speech tokenizer that was not loaded.
        """
        segments: list[Segment] = []
        speech: Speech | None = None
        for piece in prompt:
            if isinstance(piece, Text):
                segments.append(Segment(Modality.TEXT, tuple(self.text_tokenizer.encode(piece.text))))
                speech = None
            else:
                speech = self._with_tokens(piece)
                assert speech.tokens is not None
                segments.append(Segment(Modality.SPEECH, speech.tokens))
        tokens = encode_segments(segments, self.vocabulary, output)
        last = next(segment.modality for segment in reversed(segments) if segment.tokens)
        return _Prompt(tokens, last, speech)

    def _with_tokens(self, speech: Speech) -> Speech:
        if speech.tokens is not None:
            return speech
        if speech.units is not None:
            return replace(speech, tokens=tuple(self.vocabulary.unit_token(unit) for unit in speech.units.tolist()))
        if self.speech_tokenizer is None:
            raise ValueError("a speech tokenizer must be given for prompts of speech, but is None instead")
        waveform = _waveform(speech, self.speech_tokenizer.sample_rate)
        if len(waveform) < self.speech_tokenizer.hop_length:
            raise ValueError(
                f"speech prompt must last at least {self.speech_tokenizer.hop_length} samples, "
                f"but has {len(waveform)} instead"
            )
        if not bool(waveform.isfinite().all()):
            raise ValueError("a speech prompt must hold finite samples, but has some that are not")
        if float(waveform.abs().max()) < SILENCE:
            raise ValueError("a speech prompt must hold sound, but is silent")
        waveforms = waveform[None].to(self.model.device)
        lengths = torch.tensor([len(waveform)], device=waveforms.device)
        units = self.speech_tokenizer.encode(waveforms, lengths)[0]
        pitches, styles = (None if part is None else part.numpy() for part in (units.pitches, units.styles))
        layout = self.speech_tokenizer.layout
        stream = speech_stream(units.values.numpy(), units.starts.numpy(), pitches, styles, layout, self.vocabulary)
        tokens = tuple(stream.ids(self.vocabulary).tolist())
        return Speech(waveform, self.speech_tokenizer.sample_rate, units.values, units.durations(), tokens)

    def _decode(
        self, prompt: _Prompt, tokens: Sequence[int], output: OutputModality, min_speech_units: int
    ) -> list[Piece]:
        first = prompt.last if output == "any" else Modality.TEXT if output == "text" else Modality.SPEECH
        shortest = min_speech_units if output == "any" else 0
        continues = first is Modality.SPEECH and prompt.speech is not None and bool(tokens)
        continues = continues and self.vocabulary.kind(tokens[0]) in SPEECH_KINDS
        pieces: list[Piece] = []
        for index, segment in enumerate(decode_tokens(tokens, self.vocabulary, first, shortest)):
            if segment.modality is Modality.TEXT:
                pieces.append(Text(self.text_tokenizer.decode(list(segment.tokens))))
            else:
                before = prompt.speech if index == 0 and continues else None
                spoken = self._speak(segment.tokens, before)
                if spoken.audio is None or len(spoken.waveform):  # the prompt's last unit, repeated, adds nothing
                    pieces.append(spoken)
        return pieces

    def _speak(self, tokens: tuple[int, ...], before: Speech | None) -> Speech:
        units = speech_codes(tokens, self.vocabulary)[0]
        if self.vocoder is None:
            return Speech(units=units, tokens=tokens)
        if before is None:
            waveform = speak(self.vocoder, SpokenUnits(*speech_codes(tokens, self.vocabulary)), self.voice)
        else:
            assert before.tokens is not None
            spoken = SpokenUnits(*speech_codes(before.tokens + tokens, self.vocabulary))
            num_prompt = len(spoken.units) - len(units)
            waveform = speak_continuation(self.vocoder, spoken, num_prompt, self.voice, before.durations)
        return Speech(waveform, self.vocoder.sample_rate, units, tokens=tokens)


SIZES = ("num_units", "num_pitches", "num_styles")


def check_tokenizer(layout: "SpeechLayout", vocabulary: Vocabulary, folder: str | Path | None) -> None:
    """A Base model takes an expressive tokenizer, and leaves pitch and style aside."""
    if vocabulary.expressive and not layout.expressive:
        raise ValueError(
            "speech tokenizer must give the pitch and style codes of the language model, "
            f"but {folder} gives units alone"
        )
    for name in SIZES:
        most, found = getattr(vocabulary, name), getattr(layout, name)
        if most and found > most:
            raise ValueError(
                f"{name} of the speech tokenizer must be at most the language model's {most}, "
                f"but of {folder} is {found} instead"
            )


def check_vocoder(config: "VocoderConfig", vocabulary: Vocabulary, folder: str | Path) -> None:
    """A Base vocoder leaves pitch and style aside, an expressive one speaks without them."""
    for name in SIZES:
        fewest, found = getattr(vocabulary, name), getattr(config, name)
        if found < fewest and (found or name == "num_units"):
            raise ValueError(
                f"{name} of the vocoder must be at least the language model's {fewest}, "
                f"but of {folder} is {found} instead"
            )


def _waveform(speech: Speech, sample_rate: int) -> Tensor:
    """The (S,) waveform of a prompt at the tokenizer's rate; channels are averaged."""
    if isinstance(speech.audio, Tensor):
        from torchaudio.functional import resample

        waveform = speech.audio.float()
        waveform = waveform.mean(0) if waveform.ndim == 2 else waveform
        if waveform.ndim != 1:
            shape = tuple(speech.audio.shape)
            raise ValueError(f"audio must have shape (S,) or (C, S), but has {shape} instead")
        return resample(waveform, speech.sample_rate, sample_rate)
    if speech.audio is None:
        raise ValueError("a speech prompt must have audio or units, but has neither instead")
    path = Path(speech.audio)
    if not path.is_file():
        raise FileNotFoundError(f"speech prompt must be an audio file, but {path} does not exist")
    return load_waveform(path, sample_rate)
