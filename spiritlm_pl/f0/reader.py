"""Reader of stored F0 by utterance, which holds only two files of the store in memory at a time.

Shapes: B batch, F frames, 200 a second.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.f0.frames import num_frames
from spiritlm_pl.f0.store import f0_folder, read_f0_info, skipped_f0
from spiritlm_pl.runtime.checksums import checked, values_of
from spiritlm_pl.runtime.provenance import file_sha256


class StoredF0:
    """F0 of the utterances of several corpora, as `spiritlm extract-f0` stored it.

    Attributes:
        skipped: recordings without F0 by id, each with the reason.

    Args:
        corpora: paths of corpus folders.
        name: name under which their F0 was extracted.
        speaker_means: whether to return each speaker's mean F0. If False, all means are nan, so that every utterance is
            normalised by its own.

    Raises:
        FileNotFoundError: if the F0 of a corpus is missing or its extraction is unfinished.
    """

    def __init__(self, corpora: Sequence[str], name: str, speaker_means: bool = True) -> None:
        """Index the utterances by id."""
        self.name, self.speaker_means = name, speaker_means
        self.skipped: dict[str, str] = {}
        self._place: dict[str, tuple[Path, int, int]] = {}  # path of the part, row in it, number of the corpus
        self._means: list[dict[str, float]] = []
        for number, corpus in enumerate(corpora):
            self._means.append(self._speakers(corpus))
            folder = f0_folder(corpus, name)
            for path in sorted(folder.glob("*.parquet")):
                with values_of(path):
                    ids = pq.read_table(checked(path), columns=["id"])["id"].to_pylist()
                self._place |= {utterance: (path, row, number) for row, utterance in enumerate(ids)}
            self.skipped |= skipped_f0(corpus, name)

    def _speakers(self, corpus: str) -> dict[str, float]:
        return read_f0_info(corpus, self.name).speaker_means if self.speaker_means else {}

    def fingerprint(self, corpora: Iterable[str]) -> str:
        """Return a hash of the F0 and the speaker means of these corpora."""
        digest = hashlib.sha256()
        for corpus in corpora:
            info = read_f0_info(corpus, self.name)
            digest.update(json.dumps([info.extractor, self._speakers(corpus)], sort_keys=True).encode())
            for path in sorted(f0_folder(corpus, self.name).glob("*.parquet")):
                digest.update(file_sha256(path).encode())
        return digest.hexdigest()

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
            if cut.id not in self._place:
                raise ValueError(f"f0_name {self.name} must hold every utterance, but lacks {cut.id}: extract F0 again")
            path, row, corpus = self._place[cut.id]
            table = _table(path)
            f0.append(torch.from_numpy(np.array(table["f0"][row].values)))
            voiced.append(torch.from_numpy(np.array(table["voiced"][row].values)))
            means.append(self._means[corpus].get(cut.supervisions[0].speaker or "", float("nan")))
            if len(f0[-1]) != num_frames(length):
                raise ValueError(
                    f"F0 of {cut.id} must have {num_frames(length)} frames, but {self.name} holds {len(f0[-1])} "
                    "instead: the recording has changed, extract F0 again"
                )
        return pad_sequence(f0, batch_first=True), pad_sequence(voiced, batch_first=True), torch.tensor(means)


@lru_cache(maxsize=2)
def _table(path: Path) -> pa.Table:
    return pq.read_table(path).combine_chunks()
