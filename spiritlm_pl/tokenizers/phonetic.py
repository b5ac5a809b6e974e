"""Phonetic tokenizer: frame features, then deduplicated units; a folder holds all of it.

Long audio is cut into chunks of 100 s, as the published tokenizer does (Spirit LM, section 3.1).

Shapes: B batch, S samples, T frames.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor, Quantizer, Units, exact_hop
from spiritlm_pl.runtime.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_network, save_network
from spiritlm_pl.runtime.checkpoint import TOKENIZER_STAGE as STAGE
from spiritlm_pl.runtime.checksums import check_plain, read_object, recorded, values_of
from spiritlm_pl.runtime.older_names import first_name
from spiritlm_pl.runtime.provenance import atomic_path, code_version, file_sha256
from spiritlm_pl.streams import SpeechLayout

EXTRACTOR = "extractor"
QUANTIZER = "quantizer"
CHUNK_SECONDS = 100.0


class PhoneticTokenizer(nn.Module):
    """Tokenizer from waveforms to deduplicated phonetic units.

    Args:
        extractor: network from waveforms to frame features.
        quantizer: network from frame features to units.
        chunk_seconds: length in seconds of the chunks into which longer audio is cut.
        shortest: number of samples below which a chunk is left out.
        fingerprint: content hash of the folder that the tokenizer was loaded from; None for one that was not loaded.

    Raises:
        ValueError: if the features do not have the size that the quantizer takes.
    """

    extractor: FeatureExtractor
    quantizer: Quantizer

    def __init__(
        self,
        extractor: FeatureExtractor,
        quantizer: Quantizer,
        chunk_seconds: float = CHUNK_SECONDS,
        fingerprint: str | None = None,
        shortest: int = 1,
    ) -> None:
        """Check that the two networks fit together, and store them."""
        super().__init__()
        if extractor.feature_dim != quantizer.feature_dim:
            raise ValueError(
                f"quantizer must take the extractor's {extractor.feature_dim} features, "
                f"but takes {quantizer.feature_dim} instead"
            )
        self.extractor = extractor
        self.quantizer = quantizer
        self.chunk_seconds = chunk_seconds
        self.fingerprint = fingerprint
        self.shortest = shortest

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return self.extractor.sample_rate

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return self.extractor.frame_rate

    @property
    def hop_length(self) -> int:
        """Number of samples between frames."""
        return exact_hop(self.sample_rate, self.frame_rate)

    @property
    def cardinality(self) -> int:
        """Number of different units."""
        return self.quantizer.num_units

    @property
    def layout(self) -> SpeechLayout:
        """One stream of units."""
        return SpeechLayout.spirit_lm(num_units=self.cardinality, frame_rate=self.frame_rate)

    @torch.inference_mode()
    def encode(self, waveforms: Tensor, lengths: Tensor) -> list[Units]:
        """Encode waveforms (B, S) with lengths (B,); audio shorter than a frame gives no units.

        Raises:
            ValueError: if the shapes do not fit.
        """
        if waveforms.ndim != 2 or lengths.shape != waveforms.shape[:1]:
            raise ValueError(
                "waveforms and lengths must be of shapes (B, S) and (B,), "
                f"but are {tuple(waveforms.shape)} and {tuple(lengths.shape)} instead"
            )
        frames: list[list[Tensor]] = [[] for _ in waveforms]
        for start, rows, part_lengths in self.chunks(lengths):
            part = waveforms[rows, start : start + int(part_lengths.max())]
            features, num_frames = self.extractor(part, part_lengths)
            units = self.quantizer(features, num_frames).cpu()  # (B, T)
            for row, values, count in zip(rows.tolist(), units, num_frames.tolist(), strict=True):
                frames[row].append(values[:count])
        empty = torch.zeros(0, dtype=torch.long)
        return [Units.from_frames(torch.cat(parts) if parts else empty) for parts in frames]

    def chunks(self, lengths: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each chunk's first sample, the rows (N,) of `lengths` (B,) that reach it, and their samples in it."""
        size = round(self.chunk_seconds * self.sample_rate)
        for start in range(0, int(lengths.max()) if len(lengths) else 0, size):
            left = (lengths - start).clamp(max=size)
            rows = (left >= self.shortest).nonzero().squeeze(1)
            if len(rows):
                yield start, rows, left[rows]

    def save(self, folder: str | Path) -> Path:
        """Write extractor, quantizer and settings, and return the folder."""
        folder = Path(folder)
        assert isinstance(self.extractor, nn.Module) and isinstance(self.quantizer, nn.Module)
        save_network(folder / EXTRACTOR, self.extractor, stage="features")
        save_network(folder / QUANTIZER, self.quantizer, stage="quantizer")
        description = {
            "stage": STAGE,
            "chunk_seconds": self.chunk_seconds,
            "shortest": self.shortest,
            "code_version": code_version(),
        }
        with recorded(folder, CONFIG_FILE), atomic_path(folder / CONFIG_FILE) as path:
            path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "PhoneticTokenizer":
        """Load a tokenizer that `save` wrote, in evaluation mode.

        Args:
            folder: folder of the tokenizer.
            device: device on which the networks are placed.

        Raises:
            ValueError: if the folder holds no tokenizer.
        """
        folder = Path(folder)
        description = _description(folder)
        extractor = cast(FeatureExtractor, load_network(folder / EXTRACTOR, "features"))
        quantizer = cast(Quantizer, load_network(folder / QUANTIZER, "quantizer"))
        with values_of(folder / CONFIG_FILE):
            tokenizer = cls(
                extractor,
                quantizer,
                chunk_seconds=description["chunk_seconds"],
                fingerprint=tokenizer_fingerprint(folder),
                shortest=description.get("shortest", 1),
            )
        return tokenizer.to(device).eval()


def tokenizer_fingerprint(folder: str | Path) -> str:
    """Hash everything that the units depend on, without code version and notes about the training run.

    Raises:
        ValueError: if the folder holds no tokenizer.
    """
    description = _description(Path(folder))
    with values_of(Path(folder) / CONFIG_FILE):
        shortest = [description["shortest"]] if description.get("shortest", 1) > 1 else []
        chunks = [description["chunk_seconds"], *shortest]
    digest = hashlib.sha256(" ".join(map(str, chunks)).encode())
    for part in (EXTRACTOR, QUANTIZER):
        path = Path(folder) / part / CONFIG_FILE
        config = read_object(path)
        with values_of(path):
            digest.update(json.dumps([first_name(config["class_path"]), config["config"]], sort_keys=True).encode())
        digest.update(file_sha256(Path(folder) / part / WEIGHTS_FILE).encode())
    return digest.hexdigest()


def _description(folder: Path) -> dict[str, Any]:
    config = folder / CONFIG_FILE
    description = read_object(config) if config.is_file() else {}
    if description.get("stage") != STAGE:
        hint = "; `spiritlm import-codec` makes one of a codec of transformers" if "model_type" in description else ""
        raise ValueError(f"tokenizer must be a folder of stage {STAGE!r}, but is {str(folder)!r} instead{hint}")
    with values_of(config):
        check_plain({"shortest": 1, **description}, {"chunk_seconds": float, "shortest": int})
    return description
