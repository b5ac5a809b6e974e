"""F0 by the network of torchfcpe (Luo et al.), with the settings of the published Spirit LM, in batches.

The network normalises once, in an early layer, over the time of an utterance, and its convolutions look beyond the
utterance's end. Padding is kept out of both, so that an utterance has the same F0 whatever it is batched with.

Shapes: B batch, S samples at 16 kHz, F F0 frames, G frames of the network, C channels.
"""

import contextlib
import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.data.batching import by_length
from spiritlm_pl.f0.frames import BATCH_SECONDS, SAMPLE_RATE, at_frames
from spiritlm_pl.runtime.devices import cpu_has_bfloat16
from spiritlm_pl.runtime.inference import use_channels_last
from spiritlm_pl.runtime.packed_linear import has_products, pack_pointwise


class FCPE(nn.Module):
    """FCPE F0 extractor: the network of torchfcpe.

    Args:
        threshold: confidence of the network below which a frame is unvoiced.
        batch_seconds: seconds of audio to compute at once. None takes one utterance at a time on a CPU, which is faster
            because it fits the cache, and 200 s on other devices.

    Attributes:
        in_bfloat16: whether it computes in bfloat16, which `use_bfloat16` begins where the device can.
    """

    def __init__(self, threshold: float = 0.05, batch_seconds: float | None = None) -> None:
        """Load the weights that come with torchfcpe."""
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()):  # loading prints messages
            from torchfcpe import spawn_bundled_infer_model

            self.network: Any = spawn_bundled_infer_model(device="cpu")
        use_channels_last(self.network)  # twice as fast on a CPU
        pack_pointwise(self.network)  # and again
        self.threshold, self.batch_seconds = threshold, batch_seconds
        self.in_bfloat16 = False
        self._inside: Tensor | None = None  # mask of real frames (B, 1, G) while a batch with padding is computed
        assert self.network.model.net.encoder_layers[0].attn is None, "attention would see padding"
        self.stack, self.network.model.input_stack = self.network.model.input_stack, nn.Identity()
        for module in self.network.modules():
            if isinstance(module, nn.Conv1d) and module.kernel_size[0] > 1:
                module.register_forward_pre_hook(self._silence_padding)

    def use_bfloat16(self) -> None:
        """Compute the layers between the residuals in bfloat16; on a CPU without its instructions, nothing changes.

        F0 then differs by 0.1 cents on average, and in 0.02 % of the frames another voicing is found.
        """
        if self.network.get_device().type == "cpu" and not (cpu_has_bfloat16() and has_products(torch.bfloat16)):
            return
        self.in_bfloat16 = True
        for layer in self.network.model.net.encoder_layers:
            first, *others = layer.conformer.net[2:]  # after the norm, which reads the residual in float32
            for module in (first, *others):
                module.to(torch.bfloat16)
            first.register_forward_pre_hook(lambda module, inputs: inputs[0].to(torch.bfloat16))

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract F0 in Hz (B, F) and voicing (B, F) from waveforms (B, S) with lengths (B,) in samples."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a message about samples beyond [-1, 1]
            return at_frames(self._extract, waveforms, lengths, self.network.get_hop_size())

    def _extract(self, waveforms: list[Tensor]) -> list[Tensor]:
        """Compute F0 in Hz (G,), 0 where unvoiced, of each waveform (S,); waveforms of similar length are batched."""
        together = self.batch_seconds
        if together is None:
            together = 0.0 if self.network.get_device().type == "cpu" else BATCH_SECONDS
        seconds = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
        found: dict[int, Tensor] = {}
        for batch in by_length(seconds, together):
            found.update(zip(batch, self._f0([self._hidden(waveforms[place]) for place in batch]), strict=True))
        return [found[place] for place in range(len(waveforms))]

    def _hidden(self, waveform: Tensor) -> Tensor:
        """Compute the input (G, C) of the network's main part from one utterance alone, as its group norm needs it."""
        mel = self.network.wav2mel(waveform[None, :, None], SAMPLE_RATE)  # (1, G, bands)
        hidden: Tensor = self.stack(mel.transpose(1, 2))[0].T
        return hidden

    def _f0(self, hidden: list[Tensor]) -> list[Tensor]:
        """Compute F0 in Hz (G,) for each output (G, C) of `_hidden`."""
        padded = pad_sequence(hidden, batch_first=True)
        counts = torch.tensor([len(row) for row in hidden], device=padded.device)
        inside = within(counts, padded.shape[1])
        self._inside = None if bool(inside.all()) else inside[:, None]
        try:
            f0 = self.network.model.infer(padded, "local_argmax", self.threshold)
        finally:
            self._inside = None
        return [row[: len(one), 0] for row, one in zip(f0, hidden, strict=True)]

    def _silence_padding(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return None if self._inside is None else (inputs[0] * self._inside, *inputs[1:])
