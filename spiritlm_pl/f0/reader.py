"""Reader of stored F0 by utterance, which holds a few groups of contours in memory at a time.

Shapes: B batch, F frames, 200 a second; N utterances.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.f0.contour_index import ContourIndex, StoredContour, f0_folder
from spiritlm_pl.f0.frames import num_frames
from spiritlm_pl.f0.store import read_f0_info, skipped_f0
from spiritlm_pl.runtime.names import Rows


class StoredF0:
    """F0 of the utterances of several corpora, as `spiritlm extract-f0` stored it.

    Attributes:
        skipped: recordings without F0 by id, each with the reason.

    Args:
        corpora: paths of corpus folders.
        name: name under which their F0 was extracted.
        speaker_means: whether to return each speaker's mean F0. If False, all means are nan, so that every utterance is
            normalised by its own.
        splits: names of the splits whose F0 is read.

    Raises:
        FileNotFoundError: if the F0 of a corpus is missing or its extraction is unfinished.
    """

    def __init__(
        self, corpora: Sequence[str], name: str, speaker_means: bool = True, splits: Sequence[str] = SPLITS
    ) -> None:
        """Index the utterances by id."""
        self.name, self.speaker_means, self.splits = name, speaker_means, splits
        self.skipped: dict[str, str] = {}
        self._members: list[tuple[ContourIndex, dict[str, float]]] = []  # with the mean F0 of each speaker
        for corpus in corpora:
            means = self._speakers(corpus)
            self._members += [(ContourIndex(f0_folder(corpus, name), split), means) for split in splits]
            self.skipped |= skipped_f0(corpus, name)

    def _speakers(self, corpus: str) -> dict[str, float]:
        return read_f0_info(corpus, self.name).speaker_means if self.speaker_means else {}

    def fingerprint(self, corpora: Iterable[str]) -> str:
        """Return a hash of the F0 of all splits and of the speaker means of these corpora."""
        digest = hashlib.sha256()
        for corpus in corpora:
            info = read_f0_info(corpus, self.name)
            digest.update(json.dumps([info.extractor, self._speakers(corpus)], sort_keys=True).encode())
            folder = f0_folder(corpus, self.name)
            for split in sorted(SPLITS):  # the order of all files by their names
                for checksum in ContourIndex(folder, split).sha256:
                    digest.update(checksum.encode())
        return digest.hexdigest()

    def num_frames(self, cuts: Cuts) -> Rows:
        """Return the number of frames of each utterance's F0 (N,); -1 where there is none."""
        found = np.full(len(cuts), -1, dtype=np.int64)
        for contours, _ in self._members:
            rows = cuts.rows_in(contours.names)
            found[rows >= 0] = contours.frames[rows[rows >= 0]]
        return found

    def find(self, cut: MonoCut) -> tuple[StoredContour, float] | None:
        """Read the contour of an utterance and the mean F0 of its speaker in Hz, nan where that is unknown.

        Returns:
            None if the utterance has no F0.
        """
        for contours, means in reversed(self._members):
            row = contours.names.find(cut.id)
            if row is not None:
                return contours.at(row), means.get(cut.supervisions[0].speaker or "", float("nan"))
        return None

    def batch(self, cuts: Sequence[MonoCut], lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Read the F0 of a batch of utterances.

        Args:
            cuts: utterances of the batch, B of them.
            lengths: number of samples of each utterance's waveform at 16 kHz.

        Returns:
            F0 in Hz (B, F), voicing (B, F), and the mean F0 of each utterance's speaker in Hz (B,), nan where unknown.

        Raises:
            ValueError: if an utterance has no F0, or its F0 is of a recording of another length.
        """
        f0, voiced, means = [], [], []
        for cut, length in zip(cuts, lengths, strict=True):
            found = self.find(cut)
            if found is None:
                raise ValueError(f"f0_name {self.name} must hold every utterance, but lacks {cut.id}: extract F0 again")
            contour, mean = found
            f0.append(torch.from_numpy(contour.f0))
            voiced.append(torch.from_numpy(contour.voiced))
            means.append(mean)
            if len(f0[-1]) != num_frames(length):
                raise ValueError(
                    f"F0 of {cut.id} must have {num_frames(length)} frames, but {self.name} holds {len(f0[-1])} "
                    "instead: the recording has changed, extract F0 again"
                )
        return pad_sequence(f0, batch_first=True), pad_sequence(voiced, batch_first=True), torch.tensor(means)
