"""The published speech tokenizers and vocoders in whole: Base gives units, Expressive also pitch and style codes."""

from dataclasses import replace

import torch

from spiritlm_pl.interop.release.hubert import read_hubert
from spiritlm_pl.interop.release.layout import HUBERT, PITCH, QUANTIZER, STYLE, Release, Variant
from spiritlm_pl.interop.release.pitch import read_pitch
from spiritlm_pl.interop.release.quantizer import read_quantizer
from spiritlm_pl.interop.release.style import read_style
from spiritlm_pl.interop.release.vocoder import read_vocoder
from spiritlm_pl.streams import PITCH_RATE
from spiritlm_pl.tokenizers.expressive import ExpressiveTokenizer
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.pitch_tokenizer import PitchTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE
from spiritlm_pl.vocoder.hifigan import HiFiGANVocoder

SHORTEST = 1280  # samples in one pitch code
USUAL_STYLE = 71  # one of the three from which the release draws where a string has no style


def read_tokenizer(release: Release, variant: Variant) -> PhoneticTokenizer | ExpressiveTokenizer:
    """Read the speech tokenizer of a variant, in evaluation mode.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file holds something else.
    """
    speech = release.speech
    phonetic = PhoneticTokenizer(
        read_hubert(speech / HUBERT), read_quantizer(speech / QUANTIZER), shortest=SHORTEST
    ).eval()
    if variant == "base":
        return phonetic
    pitch, style = PitchTokenizer(read_pitch(speech / PITCH)), read_style(speech / STYLE)
    return ExpressiveTokenizer(phonetic, pitch, style, together=True).eval()


def read_speaker(release: Release, variant: Variant) -> HiFiGANVocoder:
    """Read the vocoder of a variant, with defaults for units that come without pitch or style.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file holds something else.
    """
    vocoder = read_vocoder(release.vocoder(variant))
    if vocoder.expressive:
        style = min(USUAL_STYLE, vocoder.config.num_styles - 1)
        pitch = level_pitch(read_pitch(release.speech / PITCH))
        vocoder.config = replace(vocoder.config, default_style=style, default_pitch=pitch)
    return vocoder


def level_pitch(network: PitchVQVAE) -> int:
    """Return the code in the middle of a second of voice that stays at the speaker's mean."""
    contour = torch.zeros(1, 2, round(network.config.frame_rate))
    contour[:, 1] = 1.0
    return int(network.encode(contour)[0, round(PITCH_RATE / 2)])
