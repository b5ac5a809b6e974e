"""Held-out sentences of another voice before and after a vocoder has learnt it: a table, figures and samples.

"Before" is the vocoder of `initial` with the new voice, as training begins with it. It is made anew when training ends,
so that a resumed run compares with the same beginning.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn

from spiritlm_pl.callbacks.evaluation_context import on_rank_zero
from spiritlm_pl.callbacks.media import log_audio, log_text
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.data_modules import CorpusData
from spiritlm_pl.contracts.modules import VoiceModule
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.corpora.manifest import iterate_cuts
from spiritlm_pl.evaluation.expressivity import ExpressivityModels
from spiritlm_pl.evaluation.recognition import recognisers
from spiritlm_pl.evaluation.resyntheses import Resynthesis, resyntheses
from spiritlm_pl.evaluation.stored_speech import StoredSpeech, stored_speech, text_of
from spiritlm_pl.evaluation.voice_comparison import AFTER, BEFORE, VoiceComparison, VoiceReport
from spiritlm_pl.evaluation.voice_encoders import LongTermSpectrum, VoiceEncoder, load_voice_encoder
from spiritlm_pl.f0.extractors import make_extractor
from spiritlm_pl.f0.frames import SAMPLE_RATE
from spiritlm_pl.runtime.found import check_writable
from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.vocoder.vocoder import Vocoder
from spiritlm_pl.vocoder.warm_start import other_tokenizer

LEAST_SECONDS = 60.0  # of training speech
ENOUGH_SECONDS = 300.0
ENOUGH_SENTENCES = 10
SPLITS = ("validation", "test")
EXAMPLES = 4  # sentences that are written as audio
REPORT, TABLE, SAMPLES = "voice.json", "voice.md", "samples"


class CompareVoice(Callback):
    """Callback that resynthesises all held-out sentences before and after training, and compares them.

    Validation and test split are both held out: nothing is chosen by the validation.

    Args:
        dirpath: folder for the table `voice.md`, its figures `voice.json` and the folder `samples`; None for the
            trainer's `default_root_dir`.
        utterances: largest number of sentences of each split, spread evenly over it; None for all.
        speaker_encoder: folder of a speaker encoder of `transformers` with an x-vector head, such as a copy of
            `microsoft/wavlm-base-plus-sv`, or of an exported classifier of speakers. None compares long-term average
            spectra, which tell of timbre and microphone rather than of a person.
        pocketsphinx: whether to use this recogniser, which knows English alone.
        whisper: folder of a faster-whisper model, used as another recogniser; None for none.
        language: language of the transcripts, which Whisper expects.
        f0: name of the F0 extractor.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        utterances: int | None = None,
        speaker_encoder: str | None = None,
        pocketsphinx: bool = True,
        whisper: str | None = None,
        language: str = "en",
        f0: str = "fcpe",
    ) -> None:
        """Keep the options."""
        self.dirpath, self.utterances, self.speaker_encoder = dirpath, utterances, speaker_encoder
        self.pocketsphinx, self.whisper, self.language, self.f0 = pocketsphinx, whisper, language, f0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before training what is needed after it.

        Raises:
            ValueError: if the module does not learn another voice, a model cannot be loaded, there is too little
                speech, or the folder cannot be written.
        """
        if stage != "fit":
            return
        checked(pl_module, VoiceModule, "module", self)
        argument = f"dirpath of {type(self).__name__}" if self.dirpath else "--trainer.default_root_dir"
        on_rank_zero(trainer, lambda: check_writable(self._folder(trainer), argument))
        data = checked(getattr(trainer, "datamodule", None), CorpusData, "data", self)
        stored = list(self._held_out(data))
        check_amount(float(data.cuts["train"].durations.sum()), sum(map(len, stored)))
        on_rank_zero(trainer, lambda: self._models(stored, "cpu"))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, write and log."""
        on_rank_zero(trainer, lambda: self._compare(trainer, pl_module))

    def _compare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = cast(VoiceModule, pl_module)
        data = checked(getattr(trainer, "datamodule", None), CorpusData, "data", self)
        after: Vocoder = module.best_network
        stored = list(self._held_out(data))
        models = self._models(stored, str(pl_module.device))
        vocoders = {BEFORE: module.start().to(pl_module.device), AFTER: after}
        comparison = VoiceComparison(models)
        for number, resynthesis in enumerate(said(vocoders, stored)):  # in float32, as the export speaks
            comparison.add(resynthesis)
            if number < EXAMPLES:
                self._save(trainer, resynthesis)
        told = None if module.initial is None else other_tokenizer(module.initial, module.tokenizer_sha256)
        self._write(trainer, comparison.report(), after.config.speakers[0], told)

    def _held_out(self, data: CorpusData) -> Iterator[StoredSpeech]:
        """Yield the held-out sentences of each corpus and split that has any."""
        for corpus, units in zip(data.corpora, data.units, strict=True):
            for split in SPLITS:
                if next(iter(iterate_cuts(corpus, split)), None) is not None:
                    yield stored_speech(units, corpus, split, self.utterances)

    def _encoder(self, device: str) -> VoiceEncoder:
        if self.speaker_encoder is None:
            return LongTermSpectrum(SAMPLE_RATE)
        return load_voice_encoder("speaker_encoder", self.speaker_encoder, device)

    def _models(self, stored: list[StoredSpeech], device: str) -> ExpressivityModels:
        texts = [text_of(cut) for one in stored for cut in one.cuts]
        ears = recognisers(texts, pocketsphinx=self.pocketsphinx, whisper_folder=self.whisper, language=self.language)
        return ExpressivityModels(
            extractor=make_extractor(self.f0, device),
            recognisers=ears,
            speaker=self._encoder(device),
            device=device,
            language=self.language,
        )

    def _folder(self, trainer: Trainer) -> Path:
        return Path(self.dirpath or trainer.default_root_dir)

    def _save(self, trainer: Trainer, resynthesis: Resynthesis) -> None:
        name = plain_name(resynthesis.tokens.id)
        for title, waveform in resynthesis.waveforms().items():
            save_wav(self._folder(trainer) / SAMPLES / f"{name}_{title}.wav", waveform, SAMPLE_RATE)
            log_audio(trainer, f"voice/{name}.{title}", waveform, SAMPLE_RATE, trainer.global_step)

    def _write(self, trainer: Trainer, report: VoiceReport, voice: str, told: str | None) -> None:
        measure = (
            "long-term average spectra (timbre and microphone; no speaker encoder was given)"
            if self.speaker_encoder is None
            else f"the encoder {self.speaker_encoder}"
        )
        notes = [
            "mean over sentences with its 95 % interval; the interval of a change is that of the same sentences' "
            "differences",
            "all sentences are made from the units of the recordings with their true durations",
            f"speaker similarity: cosine of {measure}; of recordings: of two different ones",
            *([] if told is None else [told]),
        ]
        title = f"Voice {voice}: {report.sentences} held-out sentences, {report.seconds:.0f} s"
        table = report.table(f"{title}, {trainer.global_step} steps", notes)
        folder = self._folder(trainer)
        for name, text in (
            (REPORT, json.dumps({"voice": voice, "steps": trainer.global_step, **report.as_dict()}, indent=2) + "\n"),
            (TABLE, table.markdown()),
        ):
            with atomic_path(folder / name) as path:
                path.write_text(text, encoding="utf-8")
        log_text(trainer, "voice/table", table.markdown(), trainer.global_step)
        for logger in trainer.loggers:
            logger.log_metrics(metrics(report), trainer.global_step)
        table.show()
        print(f"{folder / TABLE}: this table; {folder / SAMPLES}: sentences to listen to")


def said(vocoders: Mapping[str, Vocoder], stored: list[StoredSpeech]) -> Iterator[Resynthesis]:
    """Resynthesise all held-out sentences by each vocoder."""
    for one in stored:
        yield from resyntheses(vocoders, one)


def metrics(report: VoiceReport) -> dict[str, float]:
    """Return figures under names that trackers accept, such as `voice_after/f0_frame_error`."""
    return {
        f"voice_{vocoder}/{metric_name(name)}": value
        for vocoder, figures in report.figures().items()
        for name, value in figures.items()
    }


def metric_name(measure: str) -> str:
    """Return a measure in small letters, with one underscore for everything else."""
    letters = "".join(letter if letter.isalnum() else " " for letter in measure.lower())
    return "_".join(letters.split())


def check_amount(seconds: float, sentences: int) -> None:
    """Check that there is enough speech to learn a voice from, and to measure it on.

    Args:
        seconds: length of the training speech in seconds.
        sentences: number of held-out sentences.

    Raises:
        ValueError: if there is less than a minute of speech, or no held-out sentence.
    """
    if seconds < LEAST_SECONDS:
        raise ValueError(
            f"corpora must hold at least {LEAST_SECONDS:.0f} s of training speech for another voice, but hold "
            f"{seconds:.0f} s instead"
        )
    if not sentences:
        raise ValueError(
            "corpora must hold validation or test sentences to compare the voice on, but hold none with units: prepare "
            "them with a larger --test-fraction"
        )
    if seconds < ENOUGH_SECONDS:
        rank_zero_warn(f"corpora: {seconds:.0f} s of training speech are little; 5 to 30 minutes are better")
    if sentences < ENOUGH_SENTENCES:
        rank_zero_warn(
            f"corpora: {sentences} held-out sentences are few, so that the table can tell only large differences"
        )
