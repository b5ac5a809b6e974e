"""Judges of sentiment by path: classifiers of audio or text of `transformers`, or style classifiers of this package.

Shapes: S samples, C classes.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import pad

from spiritlm_pl.corpora.audio import SAMPLE_RATE, resample
from spiritlm_pl.evaluation.classifiers import load_classifier
from spiritlm_pl.evaluation.text_classifier import load_text_classifier
from spiritlm_pl.runtime.checkpoint import read_config
from spiritlm_pl.runtime.foreign_models import UNREADABLE
from spiritlm_pl.tokenizers.style import STAGE

SHORTEST = 0.1  # seconds; shorter audio is followed by silence, as networks need a few frames
WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class JudgeSource:
    """Folder of a judge and what is known of it before it is loaded.

    Attributes:
        folder: folder of the judge.
        side: modality that it judges.
        own: whether it is a style classifier of this package.
        classes: names of its classes in their order.
        files: its configuration and weights, of which results are no longer those if they change.
    """

    folder: Path
    side: Literal["speech", "text"]
    own: bool
    classes: tuple[str, ...]
    files: tuple[Path, ...]


@runtime_checkable
class HearingJudge(Protocol):
    """Classifier of speech."""

    def hear(self, waveform: Tensor, rate: int) -> str:
        """Return the class of a waveform (S,) of a sample rate in Hz."""
        ...


@runtime_checkable
class ReadingJudge(Protocol):
    """Classifier of texts."""

    def read(self, text: str) -> str:
        """Return the class of a text."""
        ...


def find_judge(folder: str | Path, side: Literal["speech", "text"]) -> JudgeSource:
    """Find out what a folder holds, without its weights.

    Args:
        folder: folder of the judge.
        side: modality that it must judge.

    Raises:
        ValueError: if the folder is no classifier, or one of the other modality.
    """
    path, who = Path(folder).expanduser(), f"{side}_judge"
    what = "an audio classifier" if side == "speech" else "a text classifier"
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("config.json is no object")
    except (OSError, ValueError) as error:
        raise ValueError(f"{who} must be the folder of {what} with a config.json, but {path} is not: {error}") from None
    files = tuple(sorted({path / "config.json", *(file for kind in WEIGHTS for file in path.glob(kind))}))
    if len(files) == 1:
        raise ValueError(f"{who} must be a folder with weights (*.safetensors or *.bin), but {path} has none")
    if "stage" in config:
        if side == "text":
            raise ValueError(f"{who} must be {what}, but {path} is a network of this package, which hears")
        try:
            labels = tuple(read_config(path, STAGE)["config"].get("labels") or ())
        except ValueError as error:
            raise ValueError(f"{who}: {error}") from None
        if not labels:
            raise ValueError(f"{who} must tell labels apart, but {path} has none")
        return JudgeSource(path, side, True, labels, files)
    return JudgeSource(path, side, False, _classes(path, side, config, f"{who} must be {what}"), files)


def _classes(path: Path, side: str, config: dict[str, Any], must: str) -> tuple[str, ...]:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    heard, read = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    kind = config.get("model_type")
    if kind not in (heard if side == "speech" else read):
        raise ValueError(f"{must} that transformers has itself, but {path} is of model_type {kind!r}")
    try:
        whole: Any = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except UNREADABLE as error:
        raise ValueError(f"{must}, but {path} is not: {_first_line(error)}") from None
    return tuple(str(whole.id2label[place]) for place in sorted(whole.id2label))


@lru_cache(maxsize=4)
def open_judge(source: JudgeSource, device: str = "cpu") -> HearingJudge | ReadingJudge:
    """Load a judge, once for all items.

    Args:
        source: folder of the judge.
        device: device that it computes on.

    Raises:
        ValueError: if its files are damaged, or weights are missing.
    """
    if source.own:
        return _OwnJudge(source, device)
    return _AudioClassifier(source, device) if source.side == "speech" else _TextJudge(source, device)


class _OwnJudge:
    def __init__(self, source: JudgeSource, device: str) -> None:
        self.classifier = load_classifier("speech_judge", source.folder, "style", device)

    def hear(self, waveform: Tensor, rate: int) -> str:
        return self.classifier.label(_heard(waveform, rate, self.classifier.sample_rate))


class _AudioClassifier:
    def __init__(self, source: JudgeSource, device: str) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        self.classes, self.device = source.classes, device
        self.network = _network(source, AutoModelForAudioClassification, device)
        self.extractor = _extractor(source, AutoFeatureExtractor)
        self.rate = int(getattr(self.extractor, "sampling_rate", SAMPLE_RATE))

    @torch.no_grad()
    def hear(self, waveform: Tensor, rate: int) -> str:
        samples = _heard(waveform, rate, self.rate).numpy()
        values = self.extractor(samples, sampling_rate=self.rate, return_tensors="pt").to(self.device)
        return _likeliest(self.network(**values).logits[0], self.classes)


class _TextJudge:
    def __init__(self, source: JudgeSource, device: str) -> None:
        self.classifier = load_text_classifier("text_judge", source.folder, device=device)

    def read(self, text: str) -> str:
        return self.classifier.label([text])[0]


def _network(source: JudgeSource, loader: Any, device: str) -> Any:
    """Load a network from safetensors, or from a pickle that holds nothing but tensors; all weights must be there."""
    try:
        network, found = loader.from_pretrained(
            source.folder,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except UNREADABLE as error:
        raise ValueError(f"speech_judge must be loadable, but {source.folder} is not: {_first_line(error)}") from None
    missing = sorted(name for name in found["missing_keys"] if not name.endswith("masked_spec_embed"))
    if missing:
        raise ValueError(f"speech_judge must have all weights of a classifier, but {source.folder} lacks {missing[0]}")
    return network.to(device).eval()


def _extractor(source: JudgeSource, loader: Any) -> Any:
    try:
        return loader.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
    except UNREADABLE as error:
        raise ValueError(
            f"speech_judge must have preprocessor_config.json, but {source.folder} has none that can be read: "
            f"{_first_line(error)}"
        ) from None


def _heard(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """Return a waveform (S,) on the CPU at the rate that a judge wants, at least `SHORTEST` seconds long."""
    samples = resample(waveform.detach().cpu().float(), rate, wanted)
    return pad(samples, (0, max(0, round(SHORTEST * wanted) - len(samples))))


def _likeliest(logits: Tensor, classes: tuple[str, ...]) -> str:
    if not bool(logits.isfinite().all()):
        raise ValueError("the judge's figures must be numbers, but some are not")
    return classes[int(logits.argmax())]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
