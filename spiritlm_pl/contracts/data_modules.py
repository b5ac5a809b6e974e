"""Contracts of data modules: members that the module of a stage needs, beside batches of a type in `batches`.

A module asks once, in `setup` or before its first step, when the data module has been set up; loaders that are given to
a trainer without a data module are taken as they are. Any class with these members will do.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary


class WaveformData(Protocol):
    """Gives waveforms to HuBERT pretraining, to tokenizers and to style encoders.

    Attributes:
        sample_rate: sample rate of the waveforms in Hz.
    """

    sample_rate: int


class LabelData(WaveformData, Protocol):
    """Gives waveforms with frame labels to HuBERT pretraining.

    Attributes:
        num_labels: number of different labels; None if batches have no labels.
    """

    num_labels: int | None


class FeatureData(Protocol):
    """Gives frame features to the training of quantizers.

    Attributes:
        extractor: extractor that computes the features, which is exported with the tokenizer; None before `setup`.
    """

    extractor: FeatureExtractor | None


class F0Data(Protocol):
    """Gives F0 contours to the training of the pitch VQ-VAE.

    Attributes:
        crop_frames: number of F0 frames in a crop; None for whole contours.
    """

    crop_frames: int | None


class LabelledData(WaveformData, Protocol):
    """Gives waveforms with style and speaker to style encoders and style clusters.

    Attributes:
        styles: names of the styles; batches hold their numbers, from 0.
        speakers: names of the speakers; batches hold their numbers, from 0.
        style_counts: number of training utterances of each style.
        speaker_counts: number of training utterances of each speaker.
    """

    styles: tuple[str, ...]
    speakers: tuple[str, ...]
    style_counts: tuple[int, ...]
    speaker_counts: tuple[int, ...]


class UnitWaveformData(Protocol):
    """Gives units with their waveforms to vocoder training.

    Attributes:
        speakers: names of the voices; batches hold their numbers, from 0. None before `setup`.
        styles: names of the global styles, one of which each utterance has; empty if there are none.
        layout: streams of the speech tokenizer that gave the units; None before `setup`.
        common_codes: most frequent pitch code and most frequent style code of the training data; None for units alone
            (Base).
    """

    speakers: tuple[str, ...] | None
    styles: tuple[str, ...]
    layout: SpeechLayout | None
    common_codes: tuple[int, int] | None


class CorpusData(Protocol):
    """Gives what it was made from to `CompareVoice`, which measures whole held-out utterances.

    Attributes:
        corpora: folders of the corpora.
        units: folders of the tokenised corpora, in the same order.
        cuts: utterances of each split that is read, once the data module is set up.
    """

    corpora: list[str]
    units: list[str]
    cuts: Mapping[str, Any]


class TokenData(Protocol):
    """Gives packed rows of tokens to LM pretraining.

    Attributes:
        vocabulary: layout of the token ids.
        row_length: number of tokens in a row.
        text_fingerprint: hash of the text tokenizer; None if the data does not record it.
        units_per_second: number of speech tokens per second, after deduplication; None if the data does not record it.
        val_streams: name of each validation loader, such as text, speech or aligned.
        test_streams: name of each test loader.
    """

    vocabulary: Vocabulary
    row_length: int
    text_fingerprint: str | None
    units_per_second: float | None
    val_streams: Sequence[str]
    test_streams: Sequence[str]


class PreferenceData(TokenData, Protocol):
    """Gives packed pairs of continuations to preference tuning.

    Attributes:
        reference_model: hash of the model whose log-likelihoods batches hold (`spiritlm_pl.lm.identity`);
            None if they hold none.
    """

    reference_model: str | None


class PlannedData(Protocol):
    """Gives whole corpora to `predict`, in parts that `WriteUnits` keeps.

    Attributes:
        plan: the `spiritlm_pl.data.parts.CorpusPlan`, once the data module is set up for `predict`; None before.
    """

    plan: Any
