"""F0 contours of a corpus for the pitch VQ-VAE, extracted before by `spiritlm extract-f0`.

Shapes: B batch, F frames at 200 Hz.
"""

import numpy as np
import torch
from lhotse import MonoCut
from torch.utils.data import Dataset

from spiritlm_pl.contracts.batches import F0Batch
from spiritlm_pl.data.batching import Indices, Visit, bucketed_batches, fixed_batches, generator
from spiritlm_pl.datamodules.speech import SpeechDataModule
from spiritlm_pl.f0.contour import contour, voiced_mean
from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE, num_frames
from spiritlm_pl.f0.store import StoredContour, load_f0, skipped_f0

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
        self._contours: dict[str, dict[str, StoredContour]] = {}
        self._means: dict[str, dict[str, float]] = {}  # mean F0 by speaker, of the corpus of each utterance
        self._skipped: set[str] = set()

    def read_split(self, split: str) -> None:
        """Read the F0 of a split."""
        self._contours[split] = {}
        for corpus in self.corpora:
            contours, means = load_f0(corpus, self.f0_name, split)
            self._contours[split] |= contours
            self._means |= dict.fromkeys(contours, means)
            self._skipped |= skipped_f0(corpus, self.f0_name).keys()

    def usable(self, cut: MonoCut, split: str) -> bool:
        """Whether an utterance has F0.

        Raises:
            ValueError: if the F0 was extracted from other audio, or before the utterance was added.
        """
        if cut.id in self._skipped:
            return False
        found = self._contours[split].get(cut.id)
        if found is None:
            raise ValueError(
                f"F0 must be that of the present corpus, but lacks {cut.id} of split {split}: "
                "run `spiritlm extract-f0` again"
            )
        frames = num_frames(round(cut.duration * SAMPLE_RATE))
        if abs(len(found.f0) - frames) > 1:
            raise ValueError(
                f"F0 must be that of the present corpus, but that of {cut.id} has {len(found.f0)} frames instead of "
                f"{frames}: run `spiritlm extract-f0` again"
            )
        return True

    def dataset(self, split: str, training: bool) -> Dataset[F0Batch]:
        """Make the dataset of contours of this split, which are cropped for training."""
        members = self.cuts[split]
        means = {}
        for cut in members if self.speaker_means else ():
            means[cut.id] = self._means[cut.id].get(cut.supervisions[0].speaker or "", float("nan"))
        return F0Crops(members, self._contours[split], means, self.crop_frames if training else None, self.seed)

    def visits(self, split: str, epoch: int, training: bool) -> list[Indices]:
        """Return batches of crops, which all have one length, or of whole contours of similar length."""
        durations = np.array([cut.duration for cut in self.cuts[split]])
        if training:
            size = max(1, int(self.batch_seconds * FRAME_RATE / self.crop_frames))
            return fixed_batches(np.ones(len(durations), dtype=np.int64), size, seed=self.seed, epoch=epoch)
        return bucketed_batches(durations, self.batch_seconds, seed=self.seed, epoch=epoch, shuffle=False)


class F0Crops(Dataset[F0Batch]):
    """Dataset from a visit to its contours; crops depend on seed, epoch and utterance alone."""

    def __init__(
        self,
        cuts: list[MonoCut],
        contours: dict[str, StoredContour],
        means: dict[str, float],
        crop_frames: int | None,
        seed: int,
    ) -> None:
        """Store what a worker needs.

        Args:
            cuts: utterances of the split.
            contours: extracted F0 of each utterance by its id.
            means: mean F0 of each utterance's speaker in Hz by the utterance's id; nan where unknown.
            crop_frames: number of frames in a crop; None for whole contours.
            seed: seed for drawing crops.
        """
        self.cuts, self.contours, self.means = cuts, contours, means
        self.crop_frames, self.seed = crop_frames, seed

    def __getitem__(self, visit: Visit) -> F0Batch:
        """Return the batch of a visit."""
        cuts = [self.cuts[index] for index in visit.indices]
        found = [self.contours[cut.id] for cut in cuts]
        longest = max(len(item.f0) for item in found)
        f0, voiced = torch.zeros(len(cuts), longest), torch.zeros(len(cuts), longest, dtype=torch.bool)
        for row, item in enumerate(found):
            f0[row, : len(item.f0)] = torch.from_numpy(item.f0)
            voiced[row, : len(item.f0)] = torch.from_numpy(item.voiced)
        known = torch.tensor([self.means.get(cut.id, float("nan")) for cut in cuts])
        means = torch.where(known.isnan(), voiced_mean(f0, voiced), known)
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
