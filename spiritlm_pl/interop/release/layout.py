"""Layout of the directory of the published release: the places of its models and their parts."""

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
    """Directory of the published release.

    Args:
        folder: folder that holds `spiritlm_model` and `speech_tokenizer`.
    """

    folder: Path

    @staticmethod
    def is_at(folder: str | Path) -> bool:
        """Whether a folder is a directory of the published release."""
        return (Path(folder) / SPEECH).is_dir() and not (Path(folder) / SPEECH / "config.json").exists()

    def lm(self, variant: Variant) -> Path:
        """Return the folder of a language model; its name ends in the size of the model, which may be any."""
        found = sorted((self.folder / MODELS).glob(f"spirit-lm-{variant}*"))
        return found[0] if found else self.folder / MODELS / f"spirit-lm-{variant}-7b"

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Variants whose language model is present."""
        return tuple(variant for variant in VARIANTS if self.lm(variant).is_dir())

    def vocoder(self, variant: Variant) -> Path:
        """Return the folder of a vocoder."""
        return self.speech / VOCODERS[variant]

    @property
    def speech(self) -> Path:
        """Folder of the tokenizers and vocoders."""
        return self.folder / SPEECH
