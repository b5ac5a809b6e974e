"""Throughput of a language model's training: tokens per second, share of the device's peak speed, memory."""

import time
from typing import Any, cast

import psutil
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.attention import packing
from spiritlm_pl.lm.flops import attention_width, costly_weights, peak_flops, training_flops
from spiritlm_pl.modules.lm import LanguageModelModule, log_interval


class Throughput(Callback):
    """Callback that logs `perf/tokens_per_second` (all ranks), `perf/tokens`, `perf/mfu`, `perf/memory_gib`.

    The time between the ends of training batches counts, saving of checkpoints included; validation does not.

    Args:
        peak: peak operations per second of one device; None for the known value, or no MFU on devices without one
            (CPUs, unlisted GPUs).
    """

    def __init__(self, peak: float | None = None) -> None:
        """Keep the peak speed."""
        self.peak = peak
        self.tokens_seen = 0
        self._weights, self._width = 0.0, 0
        self._start: float | None = None
        self._tokens, self._operations = 0, 0.0
        self._tokens_of_step = 0  # of the current step so far; an interrupted step is done again

    def state_dict(self) -> dict[str, Any]:
        """Return the number of tokens of the complete steps of the run so far."""
        return {"tokens_seen": self.tokens_seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of tokens, so that counting continues."""
        self.tokens_seen = state_dict["tokens_seen"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the model's weights."""
        network = cast(LanguageModelModule, pl_module).network
        self._weights, self._width = costly_weights(network), attention_width(network.config)
        self.peak = self.peak or peak_flops(trainer.strategy.root_device)
        self._start, self._tokens_of_step = None, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock during validation."""
        self._start = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Count the tokens of the batch, and log whenever the trainer logs."""
        tokens = batch.tokens.numel()
        self._tokens_of_step += tokens * trainer.world_size
        whole = trainer.global_step > batch.step
        if whole:
            self.tokens_seen, self._tokens_of_step = self.tokens_seen + self._tokens_of_step, 0
        if self._start is None:  # the first batch after a pause only starts the clock
            self._start, self._tokens, self._operations = time.perf_counter(), 0, 0.0
            return
        lengths = packing(batch, cast(LanguageModelModule, pl_module).network_config.cross_documents).lengths
        context = sum(length**2 for length in lengths) / sum(lengths) / 2 if lengths else 0.0
        self._tokens += tokens
        self._operations += tokens * training_flops(self._weights, self._width, context)
        if not whole or trainer.global_step % log_interval(trainer):
            return
        _synchronize(pl_module.device)
        now = time.perf_counter()
        seconds = now - self._start
        values = {
            "perf/tokens_per_second": self._tokens * trainer.world_size / seconds,
            "perf/tokens": float(self.tokens_seen),
            "perf/memory_gib": _memory(pl_module.device) / 2**30,
        }
        if self.peak is not None:
            values["perf/mfu"] = self._operations / seconds / self.peak
        pl_module.log_dict(values)
        self._start, self._tokens, self._operations = now, 0, 0.0  # the time of measuring and logging counts, too


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> int:
    """Return the peak memory on a CUDA device, else the memory of this process, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)
