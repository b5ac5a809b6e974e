"""F0 contours of a corpus for the pitch VQ-VAE, extracted before by `spiritlm extract-f0`.

Shapes: B batch, F frames at 200 Hz.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from spiritlm_pl.contracts.batches import F0Batch
from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.data.batching import Indices, Visit, bucketed_batches, fixed_batches, generator
from spiritlm_pl.datamodules.speech import Choice, SpeechDataModule
from spiritlm_pl.f0.contour import contour, voiced_mean
from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE
from spiritlm_pl.f0.reader import StoredF0

FRAME_RATE = SAMPLE_RATE / HOP_LENGTH


class F0DataModule(SpeechDataModule):
    """Data module of F0 contours: random crops for training, whole contours for validation.

    Args:
        corpora: folders of the corpora.
        f0_name: name under which the F0 of the corpora was extracted.
        speaker_means: whether to subtract the mean F0 of the speaker where it is known; otherwise that of the utterance
            is subtracted.
        crop_frames: number of F0 frames of 5 ms in a training crop; the default is about one second (1.04 s).
        batch_seconds: largest duration of a batch in seconds, padding included.
        min_seconds: duration in seconds below which utterances are left out of training and validation.
        max_seconds: duration in seconds above which utterances are left out of training and validation; None keeps all.
        limit_seconds: seconds of each corpus to use in training, in utterances chosen at random; None for all.
        seed: seed for shuffling and crops.
        num_workers: number of processes that cut crops; 0 cuts them in this process.
    """

    def __init__(
        self,
        corpora: list[str],
        f0_name: str = "fcpe",
        speaker_means: bool = True,
        crop_frames: int = 208,
        batch_seconds: float = 64.0,
        min_seconds: float = 0.2,
        max_seconds: float | None = None,
        limit_seconds: float | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Store the settings; nothing is read before `setup`."""
        super().__init__(corpora, SAMPLE_RATE, min_seconds, max_seconds, limit_seconds, seed, num_workers)
        if crop_frames < 1:
            raise ValueError(f"crop_frames must be at least 1, but is {crop_frames} instead")
        self.f0_name = f0_name
        self.speaker_means = speaker_means
        self.crop_frames = crop_frames
        self.batch_seconds = batch_seconds
        self._stored: dict[str, StoredF0] = {}

    def read_split(self, split: str) -> None:
        """Open the F0 of a split."""
        self._stored[split] = StoredF0(self.corpora, self.f0_name, self.speaker_means, splits=(split,))

    def usable(self, cuts: Cuts, split: str) -> Choice:
        """Return which utterances have F0 (N,).

        Raises:
            ValueError: if the F0 was extracted from other audio, or before the utterance was added.
        """
        stored = self._stored[split]
        skipped = [row for name in stored.skipped if (row := cuts.find(name)) is not None]
        usable = ~np.isin(cuts.rows, skipped)
        found = stored.num_frames(cuts)
        missing = np.flatnonzero(usable & (found < 0))
        expected = np.rint(cuts.durations * SAMPLE_RATE).astype(np.int64) // HOP_LENGTH + 1
        other = np.flatnonzero(usable & (found >= 0) & (abs(found - expected) > 1))
        if len(missing) and not (len(other) and other[0] < missing[0]):
            raise ValueError(
                f"F0 must be that of the present corpus, but lacks {cuts[int(missing[0])].id} of split {split}: "
                "run `spiritlm extract-f0` again"
            )
        if len(other):
            place = int(other[0])
            raise ValueError(
                f"F0 must be that of the present corpus, but that of {cuts[place].id} has {found[place]} frames "
                f"instead of {expected[place]}: run `spiritlm extract-f0` again"
            )
        return usable

    def dataset(self, split: str, training: bool) -> Dataset[F0Batch]:
        """Make the dataset of contours of this split, which are cropped for training."""
        return F0Crops(self.cuts[split], self._stored[split], self.crop_frames if training else None, self.seed)

    def visits(self, split: str, epoch: int, training: bool) -> Sequence[Indices]:
        """Return batches of crops, which all have one length, or of whole contours of similar length."""
        durations = self.cuts[split].durations
        if training:
            size = max(1, int(self.batch_seconds * FRAME_RATE / self.crop_frames))
            return fixed_batches(np.ones(len(durations), dtype=np.int64), size, seed=self.seed, epoch=epoch)
        return bucketed_batches(durations, self.batch_seconds, seed=self.seed, epoch=epoch, shuffle=False)


class F0Crops(Dataset[F0Batch]):
    """Dataset from a visit to its contours; crops depend on seed, epoch and utterance alone."""

    def __init__(self, cuts: Cuts, stored: StoredF0, crop_frames: int | None, seed: int) -> None:
        """Store what a worker needs.

        Args:
            cuts: utterances of the split.
            stored: extracted F0 of the utterances, with the means of their speakers.
            crop_frames: number of frames in a crop; None for whole contours.
            seed: seed for drawing crops.
        """
        self.cuts, self.stored = cuts, stored
        self.crop_frames, self.seed = crop_frames, seed

    def __getitem__(self, visit: Visit) -> F0Batch:
        """Return the batch of a visit."""
        cuts = [self.cuts[index] for index in visit.indices]
        found, known = [], []
        for cut in cuts:
            contour_and_mean = self.stored.find(cut)
            assert contour_and_mean is not None, "utterances without F0 are left out"
            found.append(contour_and_mean[0])
            known.append(contour_and_mean[1])
        longest = max(len(item.f0) for item in found)
        f0, voiced = torch.zeros(len(cuts), longest), torch.zeros(len(cuts), longest, dtype=torch.bool)
        for row, item in enumerate(found):
            f0[row, : len(item.f0)] = torch.from_numpy(item.f0)
            voiced[row, : len(item.f0)] = torch.from_numpy(item.voiced)
        means = torch.tensor(known)
        means = torch.where(means.isnan(), voiced_mean(f0, voiced), means)
        contours, lengths = contour(f0, voiced, means), torch.tensor([len(item.f0) for item in found])
        if self.crop_frames is not None:
            contours, lengths = self._cropped(contours, lengths, visit)
        return F0Batch(contours=contours, means=means, lengths=lengths, ids=[cut.id for cut in cuts])

    def _cropped(
        self, contours: torch.Tensor, lengths: torch.Tensor, visit: Visit
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.crop_frames is not None
        crops = contours.new_zeros(len(contours), contours.shape[1], self.crop_frames)
        for row, (index, length) in enumerate(zip(visit.indices, lengths.tolist(), strict=True)):
            room = max(0, length - self.crop_frames)
            start = int(generator(self.seed, visit.epoch, index, 3).integers(room + 1))
            part = contours[row, :, start : min(length, start + self.crop_frames)]
            crops[row, :, : part.shape[1]] = part
        return crops, lengths.clamp(max=self.crop_frames)
