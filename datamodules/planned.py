"""Whole utterances for `predict`, in the parts of a plan.

Shapes: B batch, S samples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from spiritlm_pl.contracts.batches import WaveformBatch
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import AudioError, load_waveform
from spiritlm_pl.data.batching import Indices
from spiritlm_pl.data.parts import CorpusPlan
from spiritlm_pl.f0.reader import StoredF0


class PlannedUtterances(Dataset[WaveformBatch]):
    """Whole utterances of this rank's unfinished parts, in the batches of the plan."""

    def __init__(
        self, plan: CorpusPlan, rank: int, world_size: int, sample_rate: int, stored_f0: StoredF0 | None = None
    ) -> None:
        """Select this rank's parts.

        Args:
            plan: corpora that are to be tokenised.
            rank: number of this process.
            world_size: number of processes that share the parts.
            sample_rate: sample rate of the waveforms, in Hz.
            stored_f0: F0 that was extracted before; None gives batches without F0.
        """
        self.parts = plan.remaining(rank, world_size)
        self._ends = np.cumsum([0, *(len(part.places) for part in self.parts)])
        self._part: tuple[int, Sequence[Indices]] = -1, []  # number and batches of the part that was asked for last
        self.sample_rate = sample_rate
        self.stored_f0 = stored_f0

    def __len__(self) -> int:
        """Return the number of this rank's batches."""
        return int(self._ends[-1])

    def _cuts(self, index: int) -> list[MonoCut]:
        """Return the utterances of a batch."""
        number = int(np.searchsorted(self._ends, index, side="right")) - 1
        part = self.parts[number]
        if self._part[0] != number:
            self._part = number, part.places
        return [part.cuts[place] for place in self._part[1][index - int(self._ends[number])].tolist()]

    def __getitem__(self, index: int) -> WaveformBatch:
        """Return one batch of the plan, without recordings that cannot be read."""
        waveforms: dict[str, Tensor] = {}
        skipped: list[Skipped] = []
        cuts = {cut.id: cut for cut in self._cuts(index)}
        for name, cut in cuts.items():
            try:
                if self.stored_f0 is not None and name in self.stored_f0.skipped:
                    raise AudioError(f"it has no F0: {self.stored_f0.skipped[name]}")
                waveforms[name] = load_waveform(cut, self.sample_rate)
            except AudioError as error:
                skipped.append(Skipped(name, cut.recording.sources[0].source, str(error)))
        f0, voiced, means = None, None, None
        if self.stored_f0 is not None and waveforms:
            lengths = [len(waveform) for waveform in waveforms.values()]
            f0, voiced, means = self.stored_f0.batch([cuts[name] for name in waveforms], lengths)
        return WaveformBatch(
            waveforms=pad_sequence([*waveforms.values()], batch_first=True) if waveforms else torch.zeros(0, 0),
            lengths=torch.tensor([len(waveform) for waveform in waveforms.values()], dtype=torch.long),
            ids=list(waveforms),
            skipped=tuple(skipped),
            f0=f0,
            voiced=voiced,
            f0_means=means,
        )
