"""Acoustic networks with CTC output over characters: MMS_FA of torchaudio, or a folder of `transformers` on disk.

Frame t of the output stands for the middle of its receptive field: samples
[t * hop_length + offset, (t + 1) * hop_length + offset).

Shapes: S samples, T frames, C classes.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from spiritlm_pl.corpora.audio import SAMPLE_RATE
from spiritlm_pl.runtime.foreign_models import UNREADABLE
from spiritlm_pl.runtime.found import lacks


@dataclass(frozen=True, kw_only=True)
class CTCNetwork:
    """A CTC network from waveforms to log-probabilities, with the meaning of its classes.

    Args:
        log_probs: function from a waveform (S,) at 16 kHz to log-probabilities (T, C).
        characters: class of each character that can be said.
        blank: class that stands for no character (CTC's blank).
        delimiter: class that stands between two words; None if there is none.
        hop_length: number of samples between two frames.
        offset: number of samples before the stretch that frame 0 stands for.
    """

    log_probs: Callable[[Tensor], Tensor]
    characters: Mapping[str, int]
    blank: int = 0
    delimiter: int | None = None
    hop_length: int = 320
    offset: int = 0

    def __post_init__(self) -> None:
        """Check the hop length and the classes."""
        if self.hop_length < 1:
            raise ValueError(f"hop_length must be positive, but is {self.hop_length} instead")
        if not self.characters or self.blank in self.characters.values():
            raise ValueError(
                f"characters must be some, none of them of class {self.blank} (blank), "
                f"but are {dict(self.characters)} instead"
            )


def frame_geometry(kernels: Iterable[int], strides: Iterable[int]) -> tuple[int, int]:
    """Return hop length and offset in samples of a stack of convolutions without padding.

    Args:
        kernels: kernel size of each layer.
        strides: stride of each layer.
    """
    receptive, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        receptive += (kernel - 1) * hop
        hop *= stride
    return hop, max(0, (receptive - hop) // 2)


def load_mms_fa(device: str | torch.device = "cpu") -> CTCNetwork:
    """Load Meta's multilingual aligner (Pratap et al., 2023) of torchaudio; downloads 1.2 GB at first use.

    Raises:
        ConnectionError: if the weights are not in torch's hub cache and cannot be downloaded.
    """
    bundle = torchaudio.pipelines.MMS_FA
    try:
        network = bundle.get_model(with_star=False, dl_kwargs={"weights_only": True}).to(device)
    except OSError as error:
        raise ConnectionError(
            "MMS_FA needs its weights from dl.fbaipublicfiles.com, but they cannot be fetched here "
            f"({error}); give a folder with a CTC checkpoint instead"
        ) from error

    def log_probs(waveform: Tensor) -> Tensor:
        emission: Tensor = network(waveform[None].to(device))[0][0]  # (1, S) -> (T, C)
        return emission

    characters = {label: index for label, index in bundle.get_dict(star=None).items() if index != 0}
    layers = bundle._params["extractor_conv_layer_config"]
    hop_length, offset = frame_geometry([layer[1] for layer in layers], [layer[2] for layer in layers])
    return CTCNetwork(log_probs=log_probs, characters=characters, hop_length=hop_length, offset=offset)


def _read_json(folder: Path, *names: str, required: bool = False) -> dict[str, Any]:
    """Read the first of these JSON files that exists; return an empty mapping if none does."""
    for path in (folder / name for name in names):
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} must be JSON, but is not ({error})") from error
            if isinstance(content, dict):
                return content
            raise ValueError(f"{path} must be a JSON object, but is {type(content).__name__} instead")
    if required:
        raise ValueError(f"CTC checkpoint must be a folder with {names[0]}, but {lacks(folder)}")
    return {}


def _load_model(folder: Path) -> nn.Module:
    """Load a CTC model with weights from safetensors, or from a pickle that holds nothing but tensors."""
    from transformers import AutoModelForCTC

    try:
        model, info = AutoModelForCTC.from_pretrained(
            folder, local_files_only=True, weights_only=True, output_loading_info=True, dtype=torch.float32
        )
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"CTC checkpoint must be loadable, but {folder} is not ({reason})") from error
    missing = sorted(name for name in info["missing_keys"] if not name.endswith("masked_spec_embed"))
    if missing:
        raise ValueError(f"CTC checkpoint must have all weights, but {folder} lacks {', '.join(missing[:3])}")
    return model.eval()


def load_folder(folder: str | Path, device: str | torch.device = "cpu") -> CTCNetwork:
    """Load a CTC checkpoint of `transformers` that reads raw waveforms, such as wav2vec 2.0, HuBERT or WavLM.

    Args:
        folder: path of a folder with config.json, vocab.json (character to class) and weights; tokenizer_config.json
            and preprocessor_config.json are read where they exist.
        device: device on which the network runs.

    Raises:
        ValueError: if a file is missing or damaged, or the network is of another kind.
    """
    folder = Path(folder)
    _read_json(folder, "config.json", required=True)
    vocabulary = _read_json(folder, "vocab.json", required=True)
    tokens = _read_json(folder, "tokenizer_config.json")
    processor = _read_json(folder, "preprocessor_config.json", "processor_config.json")
    processor = processor.get("feature_extractor", processor)
    if not all(isinstance(index, int) for index in vocabulary.values()):
        raise ValueError(f"{folder / 'vocab.json'} must map characters to classes, of one language only")
    if processor.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise ValueError(f"sampling_rate must be {SAMPLE_RATE}, but is {processor['sampling_rate']} instead")
    model = _load_model(folder).to(device)
    config: Any = model.config
    if not hasattr(config, "conv_stride") or getattr(config, "add_adapter", False):
        raise ValueError(
            "CTC checkpoint must go from waveforms to frames by convolutions alone, "
            f"but {folder} is {config.model_type!r} instead"
        )
    if max(vocabulary.values(), default=0) >= config.vocab_size:
        raise ValueError(
            f"vocab.json must have classes below {config.vocab_size}, but has {max(vocabulary.values())} instead"
        )
    normalize = bool(processor.get("do_normalize", True))

    def log_probs(waveform: Tensor) -> Tensor:
        if normalize:
            waveform = layer_norm(waveform, waveform.shape, eps=1e-7)
        logits: Tensor = model(waveform[None].to(device)).logits[0]  # (1, S) -> (T, C)
        return logits.float().log_softmax(-1)

    hop_length, offset = frame_geometry(config.conv_kernel, config.conv_stride)
    delimiter = vocabulary.get(tokens.get("word_delimiter_token", "|"))
    characters = {
        character: index
        for character, index in vocabulary.items()
        if len(character) == 1 and not character.isspace() and index not in (config.pad_token_id, delimiter)
    }
    return CTCNetwork(
        log_probs=log_probs,
        characters=characters,
        blank=config.pad_token_id,
        delimiter=delimiter,
        hop_length=hop_length,
        offset=offset,
    )
