"""The expressive tokenizer: phonetic units, pitch codes and style codes (Spirit LM, arXiv 2402.05755, section 3.2).

A folder holds all three: a phonetic tokenizer, with the networks `pitch` and `style` in folders of that name and
`expressive.json`. The style tokenizer is one of frames as the phonetic one is, but with one frame a second.

Shapes: B batch, S samples, F F0 frames.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from spiritlm_pl.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_network
from spiritlm_pl.provenance import atomic_path, file_sha256
from spiritlm_pl.speech.contract import PITCH_RATE, STYLE_RATE, SpeechLayout, SpeechTokenizer, Units
from spiritlm_pl.speech.pitch_tokenizer import PitchTokenizer
from spiritlm_pl.speech.pitch_vqvae import PitchVQVAE
from spiritlm_pl.speech.tokenizer import PhoneticTokenizer, tokenizer_fingerprint

EXPRESSIVE_FILE = "expressive.json"
PITCH, STYLE = "pitch", "style"


@dataclass(frozen=True)
class KnownF0:
    """F0 that was extracted before, and the means of the speakers.

    Attributes:
        f0: (B, F) in Hz.
        voiced: (B, F).
        means: (B,) Hz, nan where the speaker is unknown.
    """

    f0: Tensor
    voiced: Tensor
    means: Tensor


class ExpressiveTokenizer(nn.Module):
    """Waveforms to units with pitch and style codes.

    Args:
        phonetic: gives units.
        pitch: gives pitch codes.
        style: gives style codes.

    Raises:
        ValueError: if the rates of pitch or style are other ones than those of the stream.
    """

    def __init__(self, phonetic: PhoneticTokenizer, pitch: PitchTokenizer, style: PhoneticTokenizer) -> None:
        """Put the three together."""
        super().__init__()
        for name, wanted, rate in (
            ("pitch", PITCH_RATE, pitch.network.code_rate),
            ("style", STYLE_RATE, style.frame_rate),
        ):
            if rate != wanted:
                raise ValueError(f"{name} must give {wanted:g} codes a second, but gives {rate:g} instead")
        if phonetic.sample_rate != style.sample_rate:
            raise ValueError(
                f"style must take {phonetic.sample_rate} samples a second, but takes {style.sample_rate} instead"
            )
        self.phonetic, self.pitch, self.style = phonetic, pitch, style

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.phonetic.sample_rate

    @property
    def frame_rate(self) -> float:
        """Units a second."""
        return self.phonetic.frame_rate

    @property
    def hop_length(self) -> int:
        """Samples a unit."""
        return self.phonetic.hop_length

    @property
    def cardinality(self) -> int:
        """Number of different units."""
        return self.phonetic.cardinality

    @property
    def layout(self) -> SpeechLayout:
        """All three kinds."""
        return SpeechLayout(
            num_units=self.cardinality,
            frame_rate=self.frame_rate,
            num_pitches=self.pitch.cardinality,
            num_styles=self.style.cardinality,
        )

    @torch.inference_mode()
    def encode(self, waveforms: Tensor, lengths: Tensor, known: KnownF0 | None = None) -> list[Units]:
        """Units and codes of waveforms (B, S) with lengths (B,); F0 is extracted unless it is known."""
        if not len(waveforms):
            return []
        f0, voiced = self.pitch.extract(waveforms, lengths) if known is None else (known.f0, known.voiced)
        pitches = self.pitch.encode(f0, voiced, lengths, None if known is None else known.means)
        styles = [units.frames() for units in self.style.encode(waveforms, lengths)]
        units = self.phonetic.encode(waveforms, lengths)
        return [
            replace(unit, pitches=pitch, styles=style)
            for unit, pitch, style in zip(units, pitches, styles, strict=True)
        ]


def join_tokenizers(
    phonetic: str | Path, pitch: str | Path, style: str | Path, folder: str | Path, f0: str = "fcpe"
) -> SpeechLayout:
    """Put a phonetic, a pitch and a style tokenizer into one folder; returns what it gives.

    Args:
        phonetic: tokenizer folder.
        pitch: exported pitch VQ-VAE.
        style: tokenizer folder of one code a second.
        folder: to write.
        f0: extractor for speech whose F0 is not at hand.

    Raises:
        ValueError: if a folder holds something else, or they do not fit together.
    """
    layout = _load(phonetic, pitch, style, f0, "cpu").layout
    folder = Path(folder)
    parts = {folder: phonetic, folder / PITCH: pitch, folder / STYLE: style}
    for target, source in parts.items():
        if Path(source).resolve() != target.resolve():
            shutil.copytree(source, target, dirs_exist_ok=True)
    with atomic_path(folder / EXPRESSIVE_FILE) as path:
        path.write_text(json.dumps({"f0": f0}) + "\n")
    return layout


def _load(
    phonetic: str | Path, pitch: str | Path, style: str | Path, f0: str, device: str | torch.device
) -> ExpressiveTokenizer:
    network = load_network(pitch, PITCH, device)
    assert isinstance(network, PitchVQVAE)
    return ExpressiveTokenizer(
        PhoneticTokenizer.load(phonetic, device), PitchTokenizer(network, f0), PhoneticTokenizer.load(style, device)
    )


def load_tokenizer(folder: str | Path, device: str | torch.device = "cpu") -> SpeechTokenizer:
    """The speech tokenizer of a folder, phonetic or expressive, in evaluation mode.

    Raises:
        ValueError: if the folder holds none.
    """
    folder = Path(folder)
    if not (folder / EXPRESSIVE_FILE).is_file():
        return PhoneticTokenizer.load(folder, device)
    f0 = json.loads((folder / EXPRESSIVE_FILE).read_text())["f0"]
    return _load(folder, folder / PITCH, folder / STYLE, f0, device).eval()


def speech_fingerprint(folder: str | Path) -> str:
    """Hash of all that the tokens depend on, of either kind of tokenizer.

    Raises:
        ValueError: if the folder holds none.
    """
    folder = Path(folder)
    phonetic = tokenizer_fingerprint(folder)
    if not (folder / EXPRESSIVE_FILE).is_file():
        return phonetic
    digest = hashlib.sha256((phonetic + tokenizer_fingerprint(folder / STYLE)).encode())
    digest.update((folder / EXPRESSIVE_FILE).read_bytes())
    digest.update(json.dumps(json.loads((folder / PITCH / CONFIG_FILE).read_text())["config"]).encode())
    digest.update(file_sha256(folder / PITCH / WEIGHTS_FILE).encode())
    return digest.hexdigest()
