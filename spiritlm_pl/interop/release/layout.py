"""Where things lie in the directory of the published release, and what of it belongs to which model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Variant: TypeAlias = Literal["base", "expressive"]
VARIANTS: tuple[Variant, ...] = ("base", "expressive")
MODELS, SPEECH = "spiritlm_model", "speech_tokenizer"
HUBERT, QUANTIZER = "hubert_25hz/mhubert_base_25hz.pt", "hubert_25hz/L11_quantizer_500.pt"
PITCH, STYLE = "vqvae_f0_quantizer", "style_encoder_w2v2"
VOCODERS = {"base": "hifigan_spiritlm_base", "expressive": "hifigan_spiritlm_expressive_w2v2"}


@dataclass(frozen=True)
class Release:
    """A release directory.

    Args:
        folder: holds `spiritlm_model` and `speech_tokenizer`.
    """

    folder: Path

    @staticmethod
    def is_at(folder: str | Path) -> bool:
        """Whether a folder is one."""
        return (Path(folder) / SPEECH).is_dir() and not (Path(folder) / SPEECH / "config.json").exists()

    def lm(self, variant: Variant) -> Path:
        """Folder of a language model; its name ends in its size, which is not looked at."""
        found = sorted((self.folder / MODELS).glob(f"spirit-lm-{variant}*"))
        return found[0] if found else self.folder / MODELS / f"spirit-lm-{variant}-7b"

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Those whose language model is here."""
        return tuple(variant for variant in VARIANTS if self.lm(variant).is_dir())

    def vocoder(self, variant: Variant) -> Path:
        """Folder of a vocoder."""
        return self.speech / VOCODERS[variant]

    @property
    def speech(self) -> Path:
        """Folder of what tokenizes and speaks."""
        return self.folder / SPEECH
