"""Pitch tokenizer: F0 minus its mean, through the pitch VQ-VAE (Spirit LM, arXiv 2402.05755, section 3.2).

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
    """Tokenizer from F0 to pitch codes, one per 80 ms; audio without voiced frames gets codes, too.

    Args:
        network: pitch VQ-VAE that gives the codes.
        f0: name of the F0 extractor, see `make_extractor`.
    """

    def __init__(self, network: PitchVQVAE, f0: str = "fcpe") -> None:
        """Store the network; the extractor is made on first use, since F0 may have been extracted before."""
        super().__init__()
        self.network = network
        self.f0 = f0
        self._extractor: F0Extractor | None = None

    @property
    def cardinality(self) -> int:
        """Number of different pitch codes."""
        return self.network.cardinality

    def extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract F0 in Hz (B, F) and voicing (B, F) from waveforms (B, S) with lengths (B,)."""
        if self._extractor is None:
            self._extractor = make_extractor(self.f0, str(waveforms.device))
        with torch.autocast(waveforms.device.type, enabled=False):  # F0 in Hz needs full precision
            return self._extractor(waveforms, lengths)

    @torch.inference_mode()
    def encode(self, f0: Tensor, voiced: Tensor, lengths: Tensor, means: Tensor | None = None) -> list[Tensor]:
        """Encode each utterance to pitch codes (P,), at least one for an utterance with samples.

        The codes of an utterance do not depend on what it is batched with.

        Args:
            f0: F0 contours in Hz (B, F).
            voiced: mask of voiced frames (B, F).
            lengths: number of samples (B,) of each utterance.
            means: mean F0 of each row's speaker in Hz (B,), nan where unknown. None, or nan, takes the mean of the
                utterance.
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
