"""F0 by torchfcpe's network (Luo et al.), with the settings of the release; several utterances at once.

The network normalises over the time of an utterance and its convolutions look beyond the end, so padding has to be kept
out of both: then an utterance's F0 is the same whatever it is batched with.

Shapes: B batch, S samples at 16 kHz, F F0 frames, G frames of the network, C channels.
"""

import contextlib
import io
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.inference import use_channels_last
from spiritlm_pl.speech.batching import bucketed_batches
from spiritlm_pl.speech.f0 import SAMPLE_RATE, at_frames

BATCH_SECONDS = 200.0


class FCPE(nn.Module):
    """Torchfcpe's network.

    Args:
        threshold: confidence below which a frame is unvoiced.
        batch_seconds: audio that is computed at once; None for one utterance on a CPU, which is faster with what fits
            its cache, and 200 s elsewhere.
    """

    def __init__(self, threshold: float = 0.05, batch_seconds: float | None = None) -> None:
        """Load the weights that come with the package."""
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()):  # it talks
            from torchfcpe import spawn_bundled_infer_model

            self.network: Any = spawn_bundled_infer_model(device="cpu")
        use_channels_last(self.network)  # twice as fast on a CPU
        self.threshold, self.batch_seconds = threshold, batch_seconds
        self._inside: Tensor | None = None  # (B, 1, G), where a batch has padding
        stack = self.network.model.input_stack
        stack[1] = MaskedGroupNorm(stack[1], self)
        for module in self.network.modules():
            if isinstance(module, nn.Conv1d) and module.kernel_size[0] > 1:
                module.register_forward_pre_hook(self._silence_padding)

    @property
    def inside(self) -> Tensor | None:
        """(B, 1, G) True where the batch that is computed has audio; None if that is everywhere."""
        return self._inside

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F0 and voicing (B, F) of waveforms (B, S)."""
        with contextlib.redirect_stdout(io.StringIO()):  # of samples beyond [-1, 1]
            return at_frames(self._extract, waveforms, lengths, self.network.get_hop_size())

    def _extract(self, waveforms: list[Tensor]) -> list[Tensor]:
        """F0 (G,) of waveforms (S,), those of like length at once."""
        together = self.batch_seconds
        if together is None:
            together = 0.0 if self.network.get_device().type == "cpu" else BATCH_SECONDS
        seconds = np.array([len(waveform) / SAMPLE_RATE for waveform in waveforms])
        found: dict[int, Tensor] = {}
        for batch in bucketed_batches(seconds, together, seed=0, epoch=0, shuffle=False):
            mels = [self.network.wav2mel(waveforms[place][None, :, None], SAMPLE_RATE)[0] for place in batch]
            found.update(zip(batch.tolist(), self._f0(mels), strict=True))
        return [found[place] for place in range(len(waveforms))]

    def _f0(self, mels: list[Tensor]) -> list[Tensor]:
        """F0 (G,) of mel spectrograms (G, C)."""
        padded = pad_sequence(mels, batch_first=True)
        counts = torch.tensor([len(mel) for mel in mels], device=padded.device)
        inside = torch.arange(padded.shape[1], device=padded.device) < counts[:, None]
        self._inside = None if bool(inside.all()) else inside[:, None]
        try:
            f0 = self.network.model.infer(padded, "local_argmax", self.threshold)
        finally:
            self._inside = None
        return [row[: len(mel), 0] for row, mel in zip(f0, mels, strict=True)]

    def _silence_padding(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return None if self._inside is None else (inputs[0] * self._inside, *inputs[1:])


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm of (B, C, G) over what is inside."""

    def __init__(self, norm: nn.GroupNorm, batch: FCPE) -> None:
        """Take over the weights of a layer."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias
        self._batch = [batch]  # in a list, so that it is no part of this one

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, G) to the same shape."""
        inside = self._batch[0].inside
        if inside is None:
            return super().forward(input)
        values = input.unflatten(1, (self.num_groups, -1))  # (B, groups, C / groups, G)
        mask = inside[:, None].to(input.dtype)
        count = mask.sum((2, 3), keepdim=True) * values.shape[2]
        mean = (values * mask).sum((2, 3), keepdim=True) / count
        variance = ((values - mean) * mask).square().sum((2, 3), keepdim=True) / count
        normed = ((values - mean) * (variance + self.eps).rsqrt()).flatten(1, 2)
        return normed * cast(Tensor, self.weight)[:, None] + cast(Tensor, self.bias)[:, None]
