"""Codes of tokenised utterances at the frames of the first stream.

Shapes: T frames of the first stream, K codebooks.
"""

from typing import Any

import numpy as np

from spiritlm_pl.data.corpus_store import UnitUtterance


def unit_frames(utterance: UnitUtterance) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return the units of all frames, (T,) or (T, K): every unit repeated for its run."""
    durations = np.diff(utterance.unit_starts.astype(np.int64), append=utterance.num_frames)
    return np.repeat(utterance.units, durations, axis=0)


def at_frames(
    codes: np.ndarray[Any, np.dtype[np.uint16]], rate: float, frame_rate: float, num_frames: int
) -> np.ndarray[Any, Any]:
    """Look up codes at the (T,) frames of another rate; the last code is held.

    Args:
        codes: codes of a stream (F,) or (F, K).
        rate: rate of the codes in Hz.
        frame_rate: rate of the frames in Hz.
        num_frames: number of frames, T.
    """
    assert len(codes), "speech with units has codes"
    places = np.floor(np.arange(num_frames) * rate / frame_rate + 1e-9).astype(np.int64)
    return codes[np.minimum(places, len(codes) - 1)]
