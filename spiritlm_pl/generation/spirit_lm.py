"""The complete model, which continues text and speech with text and speech.

Shapes: S samples, R runs of equal units.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from spiritlm_pl.conversations.template import ConversationTemplate
from spiritlm_pl.generation.answers import continues_speech, decode_answer
from spiritlm_pl.generation.asking import chosen_template, trained_templates
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.dialogue import Dialogue
from spiritlm_pl.generation.loading import LoadOptions, ModelFolders, load_parts
from spiritlm_pl.generation.own_model import OwnModel
from spiritlm_pl.generation.prompt import Prompt, PromptEncoder, Prompting
from spiritlm_pl.generation.sampling import (
    AnyModel,
    check_room,
    context_length,
    continue_tokens,
    finished,
    stream_tokens,
)
from spiritlm_pl.generation.scoring import EncodedChoice, Score, encode_choice, scores
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.stopping import Progress, Stops, change_tokens
from spiritlm_pl.generation.streaming import AnswerStream, StreamedPiece, StreamEnd
from spiritlm_pl.generation.synthesis import AnyVocoder, Synthesis, synthesis_of
from spiritlm_pl.generation.types import Answer, OutputModality, Piece
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.generation.waveform_stream import CHUNK_FRAMES
from spiritlm_pl.interop.release.layout import Variant
from spiritlm_pl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer


class SpiritLM:
    """Language model with the tokenizers and the vocoder that it reads and speaks with.

    Args:
        model: causal language model whose token ids are those of the vocabulary; an `OwnModel` generates, and no more.
        text_tokenizer: tokenizer of the text.
        vocabulary: layout of the token ids.
        speech_tokenizer: tokenizer that turns waveforms into units; needed only for speech prompts given as audio.
        vocoder: network that turns units into waveforms; None to answer speech as units only.
        speaker: voice of the vocoder, by name or id; None for its default.
        style: global style of the vocoder, by name or id; None for its default or for a vocoder without styles.
        templates: templates of conversations that the model was tuned on, by their names; None for none.
    """

    def __init__(
        self,
        model: AnyModel,
        text_tokenizer: "TextTokenizer",
        vocabulary: Vocabulary,
        speech_tokenizer: "SpeechTokenizer | None" = None,
        vocoder: AnyVocoder | None = None,
        speaker: str | int | None = None,
        style: str | int | None = None,
        templates: Mapping[str, ConversationTemplate] | None = None,
    ) -> None:
        """Keep the parts; none of them is copied."""
        self.templates = templates or {}
        self.network, self.text_tokenizer, self.vocabulary = model, text_tokenizer, vocabulary
        self.speech_tokenizer, self.vocoder = speech_tokenizer, vocoder
        self.voice = Voice(speaker, style)
        self.codec = SpeechCodec(vocabulary, speech_tokenizer, vocoder, model.device)
        self._encoder = PromptEncoder(text_tokenizer, self.codec)

    @property
    def model(self) -> "PreTrainedModel":
        """Language model of `transformers`; a ValueError is raised where it was loaded to generate, and no more."""
        if isinstance(self.network, OwnModel):
            raise ValueError("only_generates must be False for a model that also scores, but is True instead")
        return self.network

    @classmethod
    def load(
        cls,
        lm_folder: str | Path,
        tokenizer_folder: str | Path | None = None,
        vocoder_folder: str | Path | None = None,
        device: str | torch.device = "cpu",
        speaker: str | int | None = None,
        style: str | int | None = None,
    ) -> "SpiritLM":
        """Load a model from the exported folders of its parts.

        Args:
            lm_folder: folder of the language model, with its text tokenizer and `spiritlm.json`.
            tokenizer_folder: folder of the speech tokenizer; None for a model that reads no audio.
            vocoder_folder: folder of the vocoder; None for a model that answers speech as units only.
            device: device that all parts compute on, such as "cpu" or "cuda".
            speaker: voice of the vocoder, by name or id; None for its default.
            style: global style of the vocoder, by name or id; None for its default or for a vocoder without styles.

        Raises:
            ValueError: if a folder does not hold the expected part, or the parts do not fit together.
        """
        tokenizer, vocoder = (None if part is None else Path(part) for part in (tokenizer_folder, vocoder_folder))
        folders = ModelFolders(Path(lm_folder), tokenizer, vocoder)
        return cls.from_pretrained(folders, None, LoadOptions(device=str(device)), speaker, style)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | ModelFolders,
        variant: Variant | None = None,
        options: LoadOptions | None = None,
        speaker: str | int | None = None,
        style: str | int | None = None,
        adapter: str | Path | None = None,
    ) -> "SpiritLM":
        """Load a model folder, or the published release in its original form.

        Args:
            path: model folder with `lm`, `speech_tokenizer` and `vocoder`; folder of a language model alone; or
                directory of the published release with `spiritlm_model` and `speech_tokenizer`.
            variant: "base" or "expressive", needed if the published release holds both.
            options: device, dtype, quantization and compilation of the language model.
            speaker: voice of the vocoder, by name or id; None for its default.
            style: global style of the vocoder, by name or id; None for its default or for a vocoder without styles.
            adapter: folder of an adapter that was trained on this language model; None for that of the options.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file does not hold the expected part, or the parts do not fit together.
        """
        options = options or LoadOptions()
        if adapter is not None:
            options = replace(options, adapter=Path(adapter))
        (model, text_tokenizer, vocabulary), tokenizer, vocoder = load_parts(path, variant, options)
        templates = trained_templates(path, options.adapter)
        return cls(model, text_tokenizer, vocabulary, tokenizer, vocoder, templates=templates).in_voice(speaker, style)

    def in_voice(self, speaker: str | int | None = None, style: str | int | None = None) -> "SpiritLM":
        """Return the same model, sharing all parts, with another voice.

        Raises:
            ValueError: if the vocoder has no such speaker or style.
        """
        if self.vocoder is not None:
            self.vocoder.speaker_id(speaker)
            self.vocoder.style_id(style)
        other = copy(self)
        other.voice = Voice(speaker, style)
        return other

    def asked_by(self, template: ConversationTemplate | str | None = None) -> "SpiritLM":
        """Return the same model, sharing all parts, which prompts ask in the form of its tuning.

        Prompts are then the user's turn, or turns (`Dialogue`), and answers and hypotheses the assistant's.

        Args:
            template: template, or name of one that the model was tuned on: that of a task, or "chat"; None for "chat",
                or for the only one.

        Raises:
            ValueError: if the model was not tuned on it, or has no token with which turns end.
        """
        if not isinstance(template, ConversationTemplate):
            template = chosen_template(self.templates, template)
        other = copy(self)
        other._encoder = PromptEncoder(self.text_tokenizer, self.codec, template)
        return other

    def _encoder_of(self, prompt: Prompting) -> PromptEncoder:
        """Return the encoder of a prompt: for turns, one that asks."""
        asks = isinstance(prompt, Dialogue) and self._encoder.asking is None
        return self.asked_by()._encoder if asks else self._encoder

    @property
    def synthesis(self) -> Synthesis | None:
        """Synthesis of this model's tokens in its voice; None without a vocoder."""
        return None if self.vocoder is None else synthesis_of(self.vocoder, self.vocabulary, self.voice)

    @property
    def end_token(self) -> int | None:
        """Id that ends an answer: the end of documents in training, or else the end token of the text tokenizer.

        It is allowed in every modality. A model that was trained on documents without ends hardly ever generates it.
        """
        trained = self.vocabulary.end_of_document
        return self.text_tokenizer.eos_id if trained is None else trained

    def generate(
        self,
        prompt: Prompting,
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
    ) -> list[Answer]:
        """Continue one prompt.

        Args:
            prompt: text and speech in their order, a string such as `[Speech][Hu3][Text]the`, or turns (`Dialogue`).
            output: modality of the answer: "text", "speech", or "any" for both.
            settings: sampling options; None for the defaults.
            progress: function called after every token with the number of tokens done and the largest number; None for
                none.

        Returns:
            `settings.num_samples` answers, each a list of pieces with its `finish_reason`.

        Raises:
            ValueError: if the prompt is empty, longer than the context, or needs a part that was not loaded.
        """
        return self.generate_batch([prompt], output, settings, progress)[0]

    def generate_batch(
        self,
        prompts: Sequence[Prompting],
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
        synced: bool = False,
    ) -> list[list[Answer]]:
        """Continue several prompts together, with the same answers as `generate` gives for each.

        Args:
            prompts: prompts, each as in `generate`.
            output: modality of the answer: "text", "speech", or "any" for both.
            settings: sampling options of all prompts; None for the defaults.
            progress: function called after every token with the number of tokens done and the largest number; None for
                none.
            synced: whether every rank continues until all are done, which sharded parameters (ZeRO-3) need.

        Returns:
            A list of answers for each prompt.

        Raises:
            ValueError: as in `generate`.
        """
        encoded = [self.encode_prompt(prompt, output) for prompt in prompts]
        return self.generate_encoded(encoded, output, settings, progress, synced)

    def check_room(self, prompt: Prompt) -> None:
        """Raise a ValueError if a prompt leaves no room in the model's context."""
        context = context_length(self.network)
        if context is not None:
            check_room(len(prompt.tokens), context)

    def generate_encoded(
        self,
        encoded: Sequence[Prompt],
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
        synced: bool = False,
        seeds: Sequence[int] | None = None,
        share_beginning: bool = False,
    ) -> list[list[Answer]]:
        """As `generate_batch`, of encoded prompts, with a seed for each; see `continue_tokens`."""
        settings = settings or GenerationSettings()
        size, stops = settings.num_samples, self._stops(output, settings)
        own = [settings.seed] * len(encoded) if seeds is None else seeds
        jobs = [(prompt, seed + sample) for prompt, seed in zip(encoded, own, strict=True) for sample in range(size)]
        continued = continue_tokens(
            self.network,
            [prompt.tokens for prompt, _ in jobs],
            self.vocabulary,
            output,
            settings,
            limits=[settings.limit(prompt.last, output, self.vocabulary.layout) for prompt, _ in jobs],
            seeds=[seed for _, seed in jobs],
            eos_id=self.end_token,
            synced=synced,
            progress=progress,
            stretches=[prompt.stretch for prompt, _ in jobs],
            stops=stops,
            share_beginning=share_beginning,
        )
        fewest = settings.fewest_units(self.vocabulary.layout)
        answers = []
        for (prompt, _), new in zip(jobs, continued, strict=True):
            tokens, reason = finished(new, self.end_token, stops)
            answers.append(Answer(self.decode_answer(prompt, tokens, output, fewest), reason, tokens))
        return [answers[start : start + size] for start in range(0, len(answers), size)]

    def stream(
        self,
        prompt: Prompting,
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        lookahead: int | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Iterator[StreamedPiece | StreamEnd]:
        """Yield the answer to a prompt while it is generated, the one that `generate` returns, and a `StreamEnd` last.

        Args:
            prompt: text and speech in their order, or a string of words and tokens, as in `generate`.
            output: modality of the answer: "text", "speech", or "any" for both.
            settings: sampling options, with `num_samples` 1; None for the defaults.
            chunk_frames: smallest number of frames of speech in one item, but for the first and last ones.
            lookahead: number of frames that must follow before speech is made into audio; see `UnitStream`.
            stopped: function that is called before every token, and tells that nobody wants the rest; None for none.

        Raises:
            ValueError: as in `generate`, and for several samples.
        """
        settings = settings or GenerationSettings()
        if settings.num_samples != 1:
            raise ValueError(f"num_samples must be 1 for a stream, but is {settings.num_samples} instead")
        encoded = self.encode_prompt(prompt, output)
        shortest = settings.fewest_units(self.vocabulary.layout) if output == "any" else 0
        stops = self._stops(output, settings)
        tokens = stream_tokens(self.network, encoded, self.vocabulary, output, settings, self.end_token, stops, stopped)
        parts = self.text_tokenizer, self.vocabulary, shortest, self.synthesis
        answer: AnswerStream | None = None
        new: list[int] = []
        for token in tokens:
            new.append(token)
            if len(finished(new, self.end_token, stops)[0]) < len(new):  # an id that is no part of the answer
                break
            if answer is None:
                before = encoded.speech if continues_speech(encoded, token, output, self.vocabulary) else None
                begun = encoded.open_stretch(self.vocabulary)
                answer = AnswerStream(*parts, before, chunk_frames, lookahead, begun, encoded.answers)
            yield from answer.add(token)
        if answer is not None:
            yield from answer.end()
        yield StreamEnd(finished(new, self.end_token, stops)[1])

    def _stops(self, output: OutputModality, settings: GenerationSettings) -> Stops:
        """Return what ends an answer beside its end token."""
        ids = change_tokens(self.vocabulary, output) if settings.ends_at_change else frozenset()
        return Stops(ids, settings.stop, self.text_tokenizer.decode, self.vocabulary.num_text)

    def score(self, context: Prompting, hypotheses: Sequence[Prompting], batch_tokens: int = 4096) -> list[Score]:
        """Compute the log-likelihood of each hypothesis after a context, which is computed once; see `score_batch`."""
        return self.score_batch([(context, hypotheses)], batch_tokens)[0]

    def score_batch(
        self, items: Sequence[tuple[Prompting, Sequence[Prompting]]], batch_tokens: int = 4096
    ) -> list[list[Score]]:
        """Compute log-likelihoods of hypotheses after their contexts.

        Context and hypothesis are encoded together. All tokens that the context alone does not have count, including
        the modality token at a change; the end of a document is not scored. Where codebooks are delayed and speech
        follows speech, the delayed codes of the context's last frames come after its first new frame, and count.

        Args:
            items: contexts with their hypotheses, each a prompt as in `generate`.
            batch_tokens: largest number of tokens in a batch of contexts, padding included.

        Raises:
            ValueError: if a context is empty, a hypothesis adds no token, or both are longer than the model's context.
        """
        return self.score_encoded([self.encode_choice(*item) for item in items], batch_tokens)

    def encode_choice(
        self, context: Prompting, hypotheses: Sequence[Prompting], ends: Sequence[bool] = ()
    ) -> EncodedChoice:
        """Return token ids of a context and of what each hypothesis adds to it; errors are those of `score_batch`.

        Args:
            context: prompt as in `generate`.
            hypotheses: prompts that may follow it.
            ends: whether each hypothesis has the end token behind it; empty for none.
        """
        return encode_choice(self._encoder_of(context), context, hypotheses, context_length(self.network), ends)

    def score_encoded(self, encoded: Sequence[EncodedChoice], batch_tokens: int = 4096) -> list[list[Score]]:
        """Compute log-likelihoods of items that `encode_choice` returned, as `score_batch` does."""
        return scores(self.model, encoded, batch_tokens)

    def encode_prompt(self, prompt: Prompting, output: OutputModality = "any", closed: bool = False) -> Prompt:
        """Encode a prompt as token ids, with the speech at its end that an answer may continue.

        Args:
            prompt: text and speech in their order, or a string of words and tokens, as in `generate`.
            output: modality of the answer: "text", "speech", or "any" for both.
            closed: whether nothing follows, so that delayed codebooks have their closing steps.

        Raises:
            ValueError: if the prompt is empty or needs a speech tokenizer that was not loaded.
        """
        return self._encoder_of(prompt).encode(prompt, output, closed)

    def decode_answer(
        self, prompt: Prompt, tokens: Sequence[int], output: OutputModality = "any", min_speech_units: int | None = None
    ) -> list[Piece]:
        """Decode tokens that the model has added to a prompt; see `spiritlm_pl.generation.answers.decode_answer`.

        Without a number of units, `min_speech_units` is the default of `GenerationSettings`.
        """
        fewest = GenerationSettings(min_speech_units=min_speech_units).fewest_units(self.vocabulary.layout)
        return decode_answer(self.text_tokenizer, self.vocabulary, self.synthesis, prompt, tokens, output, fewest)
