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

from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer, Units
from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE
from spiritlm_pl.registry import path_of
from spiritlm_pl.runtime.checkpoint import (
    CONFIG_FILE,
    TOKENIZER_STAGE,
    WEIGHTS_FILE,
    is_own_class,
    load_network,
    read_config,
    save_network,
)
from spiritlm_pl.runtime.older_names import first_name
from spiritlm_pl.runtime.provenance import atomic_path, file_sha256
from spiritlm_pl.streams import PITCH, PITCH_RATE, STYLE, STYLE_RATE, SpeechLayout
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer, tokenizer_fingerprint
from spiritlm_pl.tokenizers.pitch_tokenizer import PitchTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE

EXPRESSIVE_FILE = "expressive.json"


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

    def chunk(self, rows: Tensor, start: int) -> "KnownF0":
        """That of some rows (N,) from a sample on."""
        first = start // HOP_LENGTH
        return KnownF0(self.f0[rows, first:], self.voiced[rows, first:], self.means[rows])


class ExpressiveTokenizer(nn.Module):
    """Waveforms to units with pitch and style codes.

    Args:
        phonetic: gives units.
        pitch: gives pitch codes.
        style: gives style codes.
        together: the chunks into which `phonetic` cuts long audio are tokenized each for itself in all kinds, with the
            mean F0 of a chunk, as the release does; else F0 and its mean are those of the whole.

    Raises:
        ValueError: if the rates of pitch or style are other ones than those of the stream.
    """

    def __init__(
        self, phonetic: PhoneticTokenizer, pitch: PitchTokenizer, style: PhoneticTokenizer, together: bool = False
    ) -> None:
        """Put the three together."""
        super().__init__()
        for name, wanted, rate in (
            ("pitch", PITCH_RATE, pitch.network.code_rate),
            ("style", STYLE_RATE, style.frame_rate),
        ):
            if rate != wanted:
                raise ValueError(f"{name} must give {wanted:g} codes a second, but gives {rate:g} instead")
        if phonetic.frame_rate <= STYLE_RATE:
            raise ValueError(
                f"phonetic must give more than {STYLE_RATE:g} unit a second, but gives {phonetic.frame_rate:g}: "
                "a style tokenizer?"
            )
        for name, rate in (("phonetic", phonetic.sample_rate), ("style", style.sample_rate)):
            if rate != SAMPLE_RATE:
                raise ValueError(
                    f"{name} must take {SAMPLE_RATE} samples a second, as F0 does, but takes {rate} instead"
                )
        self.phonetic, self.pitch, self.style, self.together = phonetic, pitch, style, together

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
        """All three streams."""
        return SpeechLayout.spirit_lm(
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
        if not self.together:
            return self._encode(waveforms, lengths, known)
        parts: list[list[Units]] = [[] for _ in waveforms]
        for start, rows, part_lengths in self.phonetic.chunks(lengths):
            part = waveforms[rows, start : start + int(part_lengths.max())]
            at_hand = None if known is None else known.chunk(rows, start)
            for row, units in zip(rows.tolist(), self._encode(part, part_lengths, at_hand), strict=True):
                parts[row].append(units)
        return [_joined(chunks) for chunks in parts]

    def _encode(self, waveforms: Tensor, lengths: Tensor, known: KnownF0 | None) -> list[Units]:
        f0, voiced = self.pitch.extract(waveforms, lengths) if known is None else (known.f0, known.voiced)
        pitches = self.pitch.encode(f0, voiced, lengths, None if known is None else known.means)
        styles = [units.frames() for units in self.style.encode(waveforms, lengths)]
        units = self.phonetic.encode(waveforms, lengths)
        return [
            replace(unit, codes={PITCH: pitch, STYLE: style})
            for unit, pitch, style in zip(units, pitches, styles, strict=True)
        ]

    def save(self, folder: str | Path) -> Path:
        """Write all three; returns the folder."""
        folder = self.phonetic.save(folder)
        save_network(folder / PITCH, self.pitch.network, stage=PITCH)
        self.style.save(folder / STYLE)
        _describe(folder, self.pitch.f0, self.together)
        return folder


def _joined(chunks: list[Units]) -> Units:
    """Units and codes of chunks, one behind the other."""
    empty = torch.zeros(0, dtype=torch.long)
    codes = {name: torch.cat([empty, *(chunk.codes[name] for chunk in chunks)]) for name in (PITCH, STYLE)}
    return replace(Units.from_frames(torch.cat([empty, *(chunk.frames() for chunk in chunks)])), codes=codes)


def _describe(folder: Path, f0: str, together: bool) -> None:
    with atomic_path(folder / EXPRESSIVE_FILE) as path:
        path.write_text(json.dumps({"f0": f0, **({"together": True} if together else {})}) + "\n", encoding="utf-8")


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
    _describe(folder, f0, together=False)
    return layout


def _load(
    phonetic: str | Path,
    pitch: str | Path,
    style: str | Path,
    f0: str,
    device: str | torch.device,
    together: bool = False,
) -> ExpressiveTokenizer:
    network = load_network(pitch, PITCH, device)
    assert isinstance(network, PitchVQVAE)
    return ExpressiveTokenizer(
        PhoneticTokenizer.load(phonetic, device),
        PitchTokenizer(network, f0),
        PhoneticTokenizer.load(style, device),
        together,
    )


def load_tokenizer(folder: str | Path, device: str | torch.device = "cpu") -> SpeechTokenizer:
    """The speech tokenizer of a folder, in evaluation mode: phonetic, expressive, or a class of its own.

    Raises:
        ValueError: if the folder holds none, or its class may not be loaded.
    """
    folder = Path(folder)
    if is_own_class(folder):
        found = load_network(folder, TOKENIZER_STAGE, device)
        if not isinstance(found, SpeechTokenizer):
            raise ValueError(f"class of {folder} must be a SpeechTokenizer, but is {path_of(type(found))} instead")
        return found
    if not (folder / EXPRESSIVE_FILE).is_file():
        return PhoneticTokenizer.load(folder, device)
    found = json.loads((folder / EXPRESSIVE_FILE).read_text(encoding="utf-8"))
    parts = folder, folder / PITCH, folder / STYLE
    return _load(*parts, found["f0"], device, found.get("together", False)).eval()


def speech_fingerprint(folder: str | Path) -> str:
    """Hash of all that the tokens depend on, of any kind of tokenizer.

    Raises:
        ValueError: if the folder holds none.
    """
    folder = Path(folder)
    if is_own_class(folder):
        description = read_config(folder, TOKENIZER_STAGE)
        named = [first_name(description["class_path"]), description["config"]]
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
        digest.update(file_sha256(folder / WEIGHTS_FILE).encode())
        return digest.hexdigest()
    phonetic = tokenizer_fingerprint(folder)
    if not (folder / EXPRESSIVE_FILE).is_file():
        return phonetic
    digest = hashlib.sha256((phonetic + tokenizer_fingerprint(folder / STYLE)).encode())
    digest.update((folder / EXPRESSIVE_FILE).read_bytes())
    digest.update(json.dumps(json.loads((folder / PITCH / CONFIG_FILE).read_text(encoding="utf-8"))["config"]).encode())
    digest.update(file_sha256(folder / PITCH / WEIGHTS_FILE).encode())
    return digest.hexdigest()
