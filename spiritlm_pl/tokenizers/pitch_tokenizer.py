"""Waveforms to pitch codes: F0, less its mean, through the pitch VQ-VAE (Spirit LM, arXiv 2402.05755, section 3.2).

Shapes: B batch, S samples, F F0 frames, P codes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from spiritlm_pl.f0.contour import contour
from spiritlm_pl.f0.extractors import make_extractor
from spiritlm_pl.f0.frames import F0Extractor, num_frames
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE


class PitchTokenizer(nn.Module):
    """One code in 80 ms; audio without any voice has codes, too.

    Args:
        network: the VQ-VAE.
        f0: name of the extractor.
    """

    def __init__(self, network: PitchVQVAE, f0: str = "fcpe") -> None:
        """Keep the network; the extractor is made when it is needed, since F0 may be at hand."""
        super().__init__()
        self.network = network
        self.f0 = f0
        self._extractor: F0Extractor | None = None

    @property
    def cardinality(self) -> int:
        """Number of different codes."""
        return self.network.cardinality

    def extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F0 in Hz (B, F) and voicing (B, F) of waveforms (B, S) with lengths (B,)."""
        if self._extractor is None:
            self._extractor = make_extractor(self.f0, str(waveforms.device))
        with torch.autocast(waveforms.device.type, enabled=False):  # hertz need their digits
            return self._extractor(waveforms, lengths)

    @torch.inference_mode()
    def encode(self, f0: Tensor, voiced: Tensor, lengths: Tensor, means: Tensor | None = None) -> list[Tensor]:
        """Codes (P,) of each utterance, at least one of whatever has samples.

        An utterance's codes are the same whatever it is batched with.

        Args:
            f0: (B, F) in Hz.
            voiced: (B, F).
            lengths: (B,) samples.
            means: (B,) mean F0 of each speaker in Hz, nan where unknown; None for those of the utterances.
        """
        size = self.network.frames_per_code
        codes = []
        for row, length in enumerate(lengths.tolist()):
            if not length:
                codes.append(torch.zeros(0, dtype=torch.long))
                continue
            frames = slice(row, row + 1), slice(0, num_frames(length))
            shape = contour(f0[frames], voiced[frames], None if means is None else means[row : row + 1])
            shape = pad(shape, (0, max(0, size - shape.shape[-1])))
            with torch.autocast(shape.device.type, enabled=False):
                codes.append(self.network.encode(shape)[0].cpu())
        return codes
