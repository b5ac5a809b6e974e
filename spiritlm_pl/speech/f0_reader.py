"""Reads stored F0 by utterance, a part at a time, whatever the size of the corpus.

Shapes: B batch, F frames, 200 a second.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lhotse import MonoCut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.speech.f0_store import f0_folder, read_f0_info


class StoredF0:
    """The F0 of corpora.

    Args:
        corpora: corpus folders.
        name: under which their F0 was extracted.

    Raises:
        FileNotFoundError: if the F0 of a corpus has not been extracted to its end.
    """

    def __init__(self, corpora: Sequence[str], name: str) -> None:
        """Index the ids."""
        self.name = name
        self._place: dict[str, tuple[Path, int, int]] = {}  # part, row, corpus
        self._means: list[dict[str, float]] = []
        for number, corpus in enumerate(corpora):
            self._means.append(read_f0_info(corpus, name).speaker_means)
            for path in sorted(f0_folder(corpus, name).glob("*.parquet")):
                ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
                self._place |= {utterance: (path, row, number) for row, utterance in enumerate(ids)}

    def batch(self, cuts: Sequence[MonoCut]) -> tuple[Tensor, Tensor, Tensor]:
        """F0 in Hz (B, F), voicing (B, F), and the mean F0 of each speaker (B,), nan where unknown.

        Raises:
            ValueError: if an utterance has none.
        """
        f0, voiced, means = [], [], []
        for cut in cuts:
            if cut.id not in self._place:
                raise ValueError(f"f0_name {self.name} must hold every utterance, but lacks {cut.id}: extract F0 again")
            path, row, corpus = self._place[cut.id]
            table = _table(path)
            f0.append(torch.from_numpy(np.array(table["f0"][row].values)))
            voiced.append(torch.from_numpy(np.array(table["voiced"][row].values)))
            means.append(self._means[corpus].get(cut.supervisions[0].speaker or "", float("nan")))
        return pad_sequence(f0, batch_first=True), pad_sequence(voiced, batch_first=True), torch.tensor(means)


@lru_cache(maxsize=4)
def _table(path: Path) -> pa.Table:
    return pq.read_table(path).combine_chunks()
