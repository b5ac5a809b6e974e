"""Expressive tokenizer: phonetic units, pitch codes and style codes (Spirit LM, arXiv 2402.05755, section 3.2).

A folder holds all three: a phonetic tokenizer, `expressive.json`, and the networks `pitch` and `style` in folders of
these names. The style tokenizer has the form of a phonetic one, but with one frame per second.

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
from spiritlm_pl.runtime.checksums import CHECKSUMS, read_object, recorded, values_of
from spiritlm_pl.runtime.older_names import first_name
from spiritlm_pl.runtime.provenance import atomic_path, file_sha256
from spiritlm_pl.streams import PITCH, PITCH_RATE, STYLE, STYLE_RATE, SpeechLayout
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer, tokenizer_fingerprint
from spiritlm_pl.tokenizers.pitch_tokenizer import PitchTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE

EXPRESSIVE_FILE = "expressive.json"
NEURAL_CODEC = "spiritlm_pl.tokenizers.neural_codec.NeuralCodec"  # class path in folders of `import-codec`


@dataclass(frozen=True)
class KnownF0:
    """F0 that was extracted before, and the mean F0 of the speakers.

    Attributes:
        f0: F0 contours in Hz (B, F).
        voiced: mask of voiced frames (B, F).
        means: mean F0 of each row's speaker in Hz (B,), nan where the speaker is unknown.
    """

    f0: Tensor
    voiced: Tensor
    means: Tensor

    def chunk(self, rows: Tensor, start: int) -> "KnownF0":
        """Select rows (N,) from the sample `start` on."""
        first = start // HOP_LENGTH
        return KnownF0(self.f0[rows, first:], self.voiced[rows, first:], self.means[rows])


class ExpressiveTokenizer(nn.Module):
    """Tokenizer from waveforms to units with pitch and style codes.

    Args:
        phonetic: tokenizer that gives the units.
        pitch: tokenizer that gives the pitch codes.
        style: tokenizer that gives the style codes.
        together: whether each of the chunks into which `phonetic` cuts long audio is tokenized by itself in all
            streams, with the mean F0 of the chunk, as the published release does. Otherwise F0 and its mean are those
            of the whole utterance.

    Raises:
        ValueError: if pitch or style have other rates than their streams.
    """

    def __init__(
        self, phonetic: PhoneticTokenizer, pitch: PitchTokenizer, style: PhoneticTokenizer, together: bool = False
    ) -> None:
        """Check that the three tokenizers fit together, and store them."""
        super().__init__()
        for name, wanted, rate in (
            ("pitch", PITCH_RATE, pitch.network.code_rate),
            ("style", STYLE_RATE, style.frame_rate),
        ):
            if rate != wanted:
                raise ValueError(f"{name} must give {wanted:g} codes per second, but gives {rate:g} instead")
        if phonetic.frame_rate <= STYLE_RATE:
            raise ValueError(
                f"phonetic must give more than {STYLE_RATE:g} unit a second, but gives {phonetic.frame_rate:g}: "
                "it seems to be a style tokenizer"
            )
        for name, rate in (("phonetic", phonetic.sample_rate), ("style", style.sample_rate)):
            if rate != SAMPLE_RATE:
                raise ValueError(
                    f"{name} must take {SAMPLE_RATE} samples per second, as F0 does, but takes {rate} instead"
                )
        self.phonetic, self.pitch, self.style, self.together = phonetic, pitch, style, together

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return self.phonetic.sample_rate

    @property
    def frame_rate(self) -> float:
        """Number of units per second before deduplication, in Hz."""
        return self.phonetic.frame_rate

    @property
    def hop_length(self) -> int:
        """Number of samples per unit before deduplication."""
        return self.phonetic.hop_length

    @property
    def cardinality(self) -> int:
        """Number of different units."""
        return self.phonetic.cardinality

    @property
    def layout(self) -> SpeechLayout:
        """Streams of units, pitches and styles."""
        return SpeechLayout.spirit_lm(
            num_units=self.cardinality,
            frame_rate=self.frame_rate,
            num_pitches=self.pitch.cardinality,
            num_styles=self.style.cardinality,
        )

    @torch.inference_mode()
    def encode(self, waveforms: Tensor, lengths: Tensor, known: KnownF0 | None = None) -> list[Units]:
        """Encode waveforms to units with pitch and style codes.

        Args:
            waveforms: batch of waveforms (B, S).
            lengths: number of samples (B,) of each waveform.
            known: F0 of these waveforms; None extracts it.
        """
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
        """Write all three tokenizers, and return the folder."""
        folder = self.phonetic.save(folder)
        save_network(folder / PITCH, self.pitch.network, stage=PITCH)
        self.style.save(folder / STYLE)
        _describe(folder, self.pitch.f0, self.together)
        return folder


def _joined(chunks: list[Units]) -> Units:
    """Concatenate the units and codes of chunks."""
    empty = torch.zeros(0, dtype=torch.long)
    codes = {name: torch.cat([empty, *(chunk.codes[name] for chunk in chunks)]) for name in (PITCH, STYLE)}
    return replace(Units.from_frames(torch.cat([empty, *(chunk.frames() for chunk in chunks)])), codes=codes)


def _describe(folder: Path, f0: str, together: bool) -> None:
    with recorded(folder, EXPRESSIVE_FILE), atomic_path(folder / EXPRESSIVE_FILE) as path:
        path.write_text(json.dumps({"f0": f0, **({"together": True} if together else {})}) + "\n", encoding="utf-8")


def join_tokenizers(
    phonetic: str | Path, pitch: str | Path, style: str | Path, folder: str | Path, f0: str = "fcpe"
) -> SpeechLayout:
    """Copy a phonetic, a pitch and a style tokenizer into one folder, and return the streams that it gives.

    Args:
        phonetic: folder of a phonetic tokenizer.
        pitch: folder of an exported pitch VQ-VAE.
        style: folder of a tokenizer with one code per second.
        folder: folder to write to.
        f0: name of the F0 extractor for speech whose F0 was not extracted before.

    Raises:
        ValueError: if a folder holds something else, or the tokenizers do not fit together.
    """
    layout = _load(phonetic, pitch, style, f0, "cpu").layout
    folder = Path(folder)
    parts = {folder: phonetic, folder / PITCH: pitch, folder / STYLE: style}
    for target, source in parts.items():
        if Path(source).resolve() != target.resolve():
            (target / CHECKSUMS).unlink(missing_ok=True)  # of files that are replaced
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
    """Load the speech tokenizer of a folder in evaluation mode: phonetic, expressive, or of another class.

    Args:
        folder: folder of a speech tokenizer.
        device: device on which its networks are placed.

    Raises:
        ValueError: if the folder holds no tokenizer, or its class may not be loaded.
    """
    folder = Path(folder)
    if is_own_class(folder):
        found = load_network(folder, TOKENIZER_STAGE, device)
        if not isinstance(found, SpeechTokenizer):
            raise ValueError(f"class of {folder} must be a SpeechTokenizer, but is {path_of(type(found))} instead")
        return found
    if not (folder / EXPRESSIVE_FILE).is_file():
        return PhoneticTokenizer.load(folder, device)
    described = read_object(folder / EXPRESSIVE_FILE)
    parts = folder, folder / PITCH, folder / STYLE
    with values_of(folder / EXPRESSIVE_FILE):
        f0 = str(described["f0"])
    return _load(*parts, f0, device, described.get("together", False)).eval()


def speech_fingerprint(folder: str | Path) -> str:
    """Hash everything that the tokens of a tokenizer depend on, for any kind of tokenizer.

    Raises:
        ValueError: if the folder holds no tokenizer.
    """
    folder = Path(folder)
    if is_own_class(folder):
        description = read_config(folder, TOKENIZER_STAGE)
        config = dict(description["config"])
        if description["class_path"] == NEURAL_CODEC:
            for name in ("lookahead", "batched"):  # measured at import; codes do not depend on them
                config.pop(name, None)
        named = [first_name(description["class_path"]), config]
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
        digest.update(file_sha256(folder / WEIGHTS_FILE).encode())
        return digest.hexdigest()
    phonetic = tokenizer_fingerprint(folder)
    if not (folder / EXPRESSIVE_FILE).is_file():
        return phonetic
    digest = hashlib.sha256((phonetic + tokenizer_fingerprint(folder / STYLE)).encode())
    digest.update((folder / EXPRESSIVE_FILE).read_bytes())
    with values_of(folder / PITCH / CONFIG_FILE):
        digest.update(json.dumps(read_object(folder / PITCH / CONFIG_FILE)["config"]).encode())
    digest.update(file_sha256(folder / PITCH / WEIGHTS_FILE).encode())
    return digest.hexdigest()
