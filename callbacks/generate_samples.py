"""Continuations of fixed prompts during training, which are logged as text, audio and pictures.

Every rank generates, which sharded parameters need; rank zero makes audio and logs. Training with and without this
callback is the same, bit for bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from transformers import PreTrainedModel

from spiritlm_pl.callbacks.evaluation_context import evaluation_context, on_rank_zero, text_tokenizer_of
from spiritlm_pl.callbacks.media import log_audio, log_figure, log_text, tell_without_logger
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import WritingModule
from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer, check_tokenizer
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.data.flat_units import FlatUnits
from spiritlm_pl.data.steps import in_steps
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.utterances import speech_of_words
from spiritlm_pl.evaluation.plots import spectrogram_figure
from spiritlm_pl.generation import Answer, GenerationSettings, OutputModality, Piece, Speech, SpiritLM, Text
from spiritlm_pl.generation.loading import load_speaking_part
from spiritlm_pl.generation.stream import speech_string
from spiritlm_pl.generation.synthesis import AnyVocoder, check_synthesis
from spiritlm_pl.runtime.checkpoint import CONFIG_FILE, is_own_class
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.tokenizers.expressive import load_tokenizer
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.warm_start import other_tokenizer

# Name of a direction: modality of the prompt, modality of the answer.
DIRECTIONS: dict[str, tuple[type[Text] | type[Speech], OutputModality]] = {
    "text_to_text": (Text, "text"),
    "text_to_speech": (Text, "speech"),
    "speech_to_speech": (Speech, "speech"),
    "speech_to_text": (Speech, "text"),
    "text_to_any": (Text, "any"),
    "speech_to_any": (Speech, "any"),
}


@dataclass(frozen=True)
class NamedPrompt:
    """Prompt with a name for the tracker and a description of its content."""

    name: str
    pieces: Sequence[Piece]
    content: str


def corpus_prompts(folder: str, split: str, number: int, vocabulary: Vocabulary) -> list[NamedPrompt]:
    """Return the first halves of the first utterances of a tokenised corpus, each as text and as speech.

    Raises:
        ValueError: if no utterance has word times.
    """
    corpus = UnitCorpus(folder, split)
    prompts: list[NamedPrompt] = []
    for utterance in corpus:
        if len(prompts) >= 2 * number:
            break
        half = len(utterance.words) // 2
        if half == 0:
            continue
        tokens = in_steps(np.concatenate(speech_of_words(utterance, corpus.layout, vocabulary)[:half]), vocabulary)
        if not len(tokens):
            continue
        text = " ".join(word.word for word in utterance.words[:half])
        pieces: list[Piece] = [Text(text), Speech(tokens=tuple(tokens.tolist()))]
        prompts += [NamedPrompt(utterance.id, [piece], text) for piece in pieces]
    if not prompts:
        raise ValueError(f"corpus must hold utterances with word times, but {folder} ({split}) has none")
    return prompts


def describe(pieces: Sequence[Piece], vocabulary: Vocabulary) -> str:
    """Return pieces as one line of text, with speech as its tokens."""
    parts = []
    for piece in pieces:
        if isinstance(piece, Text):
            parts.append(f"[Text]{piece.text}")
        elif piece.tokens is not None:
            parts.append("[Speech]" + speech_string(piece.tokens, vocabulary))
        else:
            parts.append(f"[Speech]({piece.audio})")
    return "".join(parts)


class GenerateSamples(Callback):
    """Callback that continues fixed prompts at intervals of steps, at validation, and at the end of training.

    Each answer is logged with why it ended: "stop" where the model did so by itself, "length" where it was cut off.
    The module must have a `network` (a causal language model of `transformers`) and a `vocabulary`.

    Args:
        text_tokenizer: file or folder of the text tokenizer; None for the module's own `text_tokenizer`.
        texts: text prompts, each a string.
        recordings: audio files that are speech prompts; they need `speech_tokenizer`.
        units: folder of a tokenised corpus whose first utterances become prompts in both modalities; None for no such
            prompts.
        split: split of the corpus `units` to take prompts from.
        num_utterances: number of utterances of the corpus `units` that become prompts.
        directions: names from `DIRECTIONS`; each is run for the prompts of its modality.
        every_n_steps: number of optimizer steps between samples; None for no samples between validations.
        on_validation: whether to generate at every validation.
        at_end: whether to generate at the end of training.
        speech_tokenizer: folder of the speech tokenizer; needed only for `recordings`.
        vocoder: folder of the vocoder; without it, speech is logged as units.
        vocoder_later: whether the vocoder may appear while this trains, as where both train at the same time. Speech is
            logged as units until it is there, and of the tokenizer of `units`; without this, a missing one is refused.
        speaker: name or id of the vocoder's voice; None for its default.
        settings: sampling options of all samples.
        group: name of the group of samples in the tracker.
    """

    def __init__(
        self,
        text_tokenizer: str | None = None,
        texts: Sequence[str] = (),
        recordings: Sequence[str] = (),
        units: str | None = None,
        split: str = "validation",
        num_utterances: int = 2,
        directions: Sequence[str] = tuple(DIRECTIONS),
        every_n_steps: int | None = None,
        on_validation: bool = True,
        at_end: bool = True,
        speech_tokenizer: str | None = None,
        vocoder: str | None = None,
        vocoder_later: bool = False,
        speaker: str | int | None = None,
        settings: GenerationSettings = GenerationSettings(),  # noqa: B008  frozen
        group: str = "samples",
    ) -> None:
        """Check the options; prompts and networks are read when training starts."""
        for name in directions:
            if name not in DIRECTIONS:
                raise ValueError(f"directions must be among {', '.join(DIRECTIONS)}, but one is {name!r} instead")
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, but is {every_n_steps} instead")
        if recordings and speech_tokenizer is None:
            raise ValueError("speech_tokenizer must be given for recordings, but is None instead")
        if not texts and not recordings and units is None:
            raise ValueError("texts, recordings or units must be given, but none is")
        if vocoder_later and vocoder is None:
            raise ValueError("vocoder must be given for vocoder_later, but is None instead")
        self.text_tokenizer, self.speech_tokenizer, self.vocoder = text_tokenizer, speech_tokenizer, vocoder
        self.texts, self.recordings = tuple(texts), tuple(recordings)
        self.units, self.split, self.num_utterances = units, split, num_utterances
        self.directions = tuple(directions)
        self.every_n_steps, self.on_validation, self.at_end = every_n_steps, on_validation, at_end
        self.speaker, self.settings, self.group = speaker, settings, group
        self._last_step = self._step_before = -1
        self._prompts: list[NamedPrompt] | None = None
        self._spirit_lm: SpiritLM | None = None
        self.vocoder_later = self._awaited = vocoder_later  # awaited until it is there, the same on every rank
        self._told = ""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read prompts and networks, so that errors in them appear before training.

        Raises:
            ValueError: if a vocoder, prompts or tokenizers do not fit, or the vocoder's path is of no folder.
        """
        tell_without_logger(trainer, self)
        if self.vocoder is not None and Path(self.vocoder).exists() and not Path(self.vocoder).is_dir():
            raise ValueError(f"vocoder must be a folder, but {self.vocoder} is a file instead")
        with isolate_rng():
            self._load(
                trainer, pl_module, cast(PreTrainedModel, checked(pl_module, WritingModule, "module", self).network)
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Remember the step that the batch belongs to."""
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Generate every `every_n_steps` steps, after the last batch of the step."""
        whole = trainer.global_step > self._step_before
        if whole and self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self.run(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate at validation, but not in the sanity check."""
        if self.on_validation and not trainer.sanity_checking:
            self.run(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate at the end of training."""
        if self.at_end:
            self.run(trainer, pl_module)

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate and log samples, at most once per step; every rank must call it."""
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        network = cast(PreTrainedModel, checked(pl_module, WritingModule, "module", self).network)
        with evaluation_context(trainer, network):
            spirit_lm = self._load(trainer, pl_module, network)
            for name in self.directions:
                modality, output = DIRECTIONS[name]
                prompts = [prompt for prompt in self._prompts or [] if isinstance(prompt.pieces[-1], modality)]
                if not prompts:
                    continue
                answers = spirit_lm.generate_batch(
                    [prompt.pieces for prompt in prompts], output, self.settings, synced=trainer.world_size > 1
                )
                if trainer.is_global_zero:
                    for prompt, samples in zip(prompts, answers, strict=True):
                        place = f"{self.group}/{name}_{plain_name(prompt.name, '-')}"
                        self._log(trainer, place, prompt, samples, spirit_lm)

    def _load(self, trainer: Trainer, pl_module: LightningModule, network: PreTrainedModel) -> SpiritLM:
        known = self._spirit_lm
        if known is not None and not self._awaited:
            return known
        vocabulary = checked(pl_module, WritingModule, "module", self).vocabulary
        vocoder = self._find_vocoder(trainer, vocabulary)
        if known is not None and self._awaited:
            return known
        if known is None:
            self._prompts, text_tokenizer, tokenizer = self._read_prompts(trainer, pl_module, vocabulary)
        else:
            text_tokenizer, tokenizer = known.text_tokenizer, known.speech_tokenizer
        self._spirit_lm = SpiritLM(network, text_tokenizer, vocabulary, tokenizer, vocoder, self.speaker)
        return self._spirit_lm

    def _find_vocoder(self, trainer: Trainer, vocabulary: Vocabulary) -> AnyVocoder | None:
        """Return the vocoder on rank zero, and None on other ranks or while it is awaited, which every rank is told."""
        if self.vocoder is None:
            return None
        if not self.vocoder_later:
            return on_rank_zero(trainer, lambda: self._load_vocoder(vocabulary))
        found = self._try_vocoder(vocabulary) if trainer.is_global_zero else None
        self._awaited = not trainer.strategy.broadcast(found is not None)
        return found

    def _try_vocoder(self, vocabulary: Vocabulary) -> AnyVocoder | None:
        """Load the vocoder if it is there and of these units; tell once why it is not used."""
        tell: Callable[[str], None] = rank_zero_info
        told = f"until the vocoder {self.vocoder} is there"
        if (Path(self.vocoder or "") / CONFIG_FILE).is_file():  # the last file that is written
            try:
                self._check_units()
                return self._load_vocoder(vocabulary)
            except (
                Exception
            ) as error:  # an earlier or a damaged one, whose place the right one may take: training goes on
                tell, told = rank_zero_warn, f"while the vocoder cannot be used: {error}"
        if told != self._told:
            tell(f"Samples of speech are logged as units {told}")
        self._told = told
        return None

    def _check_units(self) -> None:
        """Raise ValueError if the vocoder is of another tokenizer than the corpus that prompts come from."""
        assert self.vocoder is not None
        if self.units is None or is_own_class(self.vocoder):
            return
        told = other_tokenizer(self.vocoder, FlatUnits([self.units], self.split).tokenizer_sha256)
        if told is not None:
            raise ValueError(told)

    def _read_prompts(
        self, trainer: Trainer, pl_module: LightningModule, vocabulary: Vocabulary
    ) -> tuple[list[NamedPrompt], TextTokenizer, SpeechTokenizer | None]:
        """Return the prompts, and the tokenizers that read them."""
        path = self.text_tokenizer or text_tokenizer_of(pl_module, self)
        device = trainer.strategy.root_device
        tokenizer = None if self.speech_tokenizer is None else load_tokenizer(self.speech_tokenizer, device)
        prompts = [NamedPrompt(f"text{number}", [Text(text)], text) for number, text in enumerate(self.texts)]
        prompts += [NamedPrompt(f"recording{n}", [Speech(path)], path) for n, path in enumerate(self.recordings)]
        if self.units is not None:
            prompts += corpus_prompts(self.units, self.split, self.num_utterances, vocabulary)
        if tokenizer is not None:
            check_tokenizer(tokenizer.layout, vocabulary, self.speech_tokenizer)
        return prompts, TextTokenizer.load_fitting(path, vocabulary), tokenizer

    def _load_vocoder(self, vocabulary: Vocabulary) -> AnyVocoder:
        """Load the vocoder, and check that it speaks the tokens of a vocabulary in the chosen voice."""
        assert self.vocoder is not None
        vocoder = load_speaking_part(self.vocoder)
        check_synthesis(vocoder, vocabulary, self.vocoder)
        vocoder.speaker_id(self.speaker)
        return vocoder

    def _log(
        self, trainer: Trainer, name: str, prompt: NamedPrompt, samples: list[Answer], spirit_lm: SpiritLM
    ) -> None:
        step, vocabulary = trainer.global_step, spirit_lm.vocabulary
        lines = [f"prompt: {describe(prompt.pieces, vocabulary)}"]
        lines += [f"answer ({pieces.finish_reason}): {describe(pieces, vocabulary)}" for pieces in samples]
        log_text(trainer, name, "\n".join(lines), step)
        for sample, pieces in enumerate(samples):
            spoken = [piece for piece in pieces if isinstance(piece, Speech) and isinstance(piece.audio, torch.Tensor)]
            if not spoken:
                continue
            waveform, sample_rate = torch.cat([piece.waveform for piece in spoken]), spoken[0].sample_rate
            if len(waveform) == 0:
                continue
            suffix = f"_{sample}" if len(samples) > 1 else ""
            log_audio(trainer, name + suffix, waveform, sample_rate, step)
            text = " ".join(piece.text for piece in pieces if isinstance(piece, Text))
            written = "".join(letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in text)  # stray bytes
            title = f"step {step}, after \u201c{prompt.content}\u201d" + (
                f": \u201c{written}\u201d and" if written else ""
            )
            figure = spectrogram_figure({title: waveform}, sample_rate)
            log_figure(trainer, name + suffix, figure, step)
