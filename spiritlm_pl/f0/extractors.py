"""F0 and voicing every 5 ms, by four extractors of one contract, and the contour that the pitch VQ-VAE reads.

Spirit LM (arXiv 2402.05755, section 3.2) trains on YAAPT's F0 and applies FCPE's for speed.

Shapes: B batch, S samples at 16 kHz, F = S // 80 + 1 frames, G frames at an extractor's own rate.
"""

import warnings
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import detect_pitch_frequency

from spiritlm_pl.f0.names import EXTRACTORS, check_extractor
from spiritlm_pl.f0.yin import yin_f0
from spiritlm_pl.runtime.devices import check_device

SAMPLE_RATE = 16_000
HOP_LENGTH = 80
F0_MIN, F0_MAX = 50.0, 1100.0  # Hz
BATCH_SECONDS = 200.0  # at once, on a GPU
PIECE, OVERLAP = 100 * SAMPLE_RATE, SAMPLE_RATE  # samples; half an hour at once takes 4 GB (FCPE) to 25 GB (YAAPT)


@runtime_checkable
class F0Extractor(Protocol):
    """Waveforms to F0 and voicing."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F0 in Hz (B, F) and voicing (B, F), True = voiced, of waveforms (B, S) with lengths (B,).

        Over unvoiced frames F0 goes in a line from voice to voice; without any voice, and after the end of a
        waveform, it is 0.
        """
        ...


def num_frames(num_samples: int) -> int:
    """Frames of a waveform."""
    return num_samples // HOP_LENGTH + 1


def _filled(f0: Tensor) -> Tensor:
    """F0 (G,) with a line drawn over unvoiced frames (0), the ends held; all 0 stays so."""
    values, places = f0.detach().cpu().numpy(), np.arange(len(f0))
    voiced = values > 0
    return torch.from_numpy(np.interp(places, places[voiced], values[voiced])).to(f0) if voiced.any() else f0


def in_pieces(
    extract: Callable[[list[Tensor]], list[Tensor]], waveforms: list[Tensor], hop_length: int
) -> list[Tensor]:
    """F0 (G,) of waveforms (S,), long ones by pieces of 100 s with a second more on both sides."""
    places = [(row, start) for row, wave in enumerate(waveforms) for start in range(0, max(len(wave), 1), PIECE)]
    pieces = [waveforms[row][max(start - OVERLAP, 0) : start + PIECE + OVERLAP] for row, start in places]
    found: list[list[Tensor]] = [[] for _ in waveforms]
    for (row, start), f0 in zip(places, extract(pieces), strict=True):
        first = min(start, OVERLAP) // hop_length
        last = first + PIECE // hop_length if start + PIECE < len(waveforms[row]) else len(f0)
        found[row].append(f0[first:last])
    return [torch.cat(parts) for parts in found]


def at_frames(
    extract: Callable[[list[Tensor]], list[Tensor]], waveforms: Tensor, lengths: Tensor, hop_length: int = HOP_LENGTH
) -> tuple[Tensor, Tensor]:
    """F0 and voicing (B, F) of waveforms (B, S).

    Every frame takes the nearest of the filled values, as in the release.

    Args:
        extract: F0 (G,) of waveforms (S,), 0 where unvoiced.
        waveforms: (B, S).
        lengths: (B,) samples.
        hop_length: of `extract`.
    """
    rows = [waveform[:length] for waveform, length in zip(waveforms, lengths.tolist(), strict=True)]
    found = []
    for row, waveform in zip(in_pieces(extract, rows, hop_length), rows, strict=True):
        row = torch.where(row < F0_MIN, 0.0, row.clamp(max=F0_MAX))
        both = torch.stack([_filled(row), (row > 0).to(row.dtype)])[None]
        found.append(interpolate(both, size=num_frames(len(waveform)), mode="nearest")[0].T)
    padded = pad_sequence(found, batch_first=True)  # (B, F, 2)
    return padded[..., 0], padded[..., 1] > 0


def one_by_one(extract: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """An extractor of several waveforms."""
    return lambda waveforms: [extract(waveform) for waveform in waveforms]


class YAAPT:
    """AMFM-decompy's YAAPT (Zahorian and Hu, 2008); on the CPU, one utterance at a time.

    Args:
        nccf_threshold: correlation above which a peak is a candidate.
    """

    FRAME = 20.0  # ms

    def __init__(self, nccf_threshold: float = 0.25) -> None:
        """Keep the settings."""
        self.nccf_threshold = nccf_threshold

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F0 and voicing (B, F) of waveforms (B, S)."""
        f0, voiced = at_frames(one_by_one(self._row), waveforms, lengths)
        return f0.to(waveforms.device), voiced.to(waveforms.device)

    def _row(self, waveform: Tensor) -> Tensor:
        from amfm_decompy.basic_tools import SignalObj
        from amfm_decompy.pYAAPT import yaapt

        half = round(self.FRAME / 2000 * SAMPLE_RATE)
        samples = pad(waveform.detach().cpu().double(), (half, half)).numpy()
        settings = {"frame_length": self.FRAME, "frame_space": 1000 * HOP_LENGTH / SAMPLE_RATE}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of divisions where there is no voice
                found = yaapt(
                    SignalObj(samples, SAMPLE_RATE), nccf_thresh1=self.nccf_threshold, tda_frame_length=25.0, **settings
                ).samp_values
        except (ValueError, IndexError, ZeroDivisionError):  # too short for its filters
            found = np.zeros(1)
        return torch.from_numpy(np.nan_to_num(found)).float()


class YIN:
    """Our YIN (`speech.yin`): no further package, no weights.

    Args:
        threshold: aperiodicity below which a frame is voiced.
        f_max: highest F0, Hz.
    """

    def __init__(self, threshold: float = 0.3, f_max: float = 600.0) -> None:
        """Keep the settings."""
        self.threshold, self.f_max = threshold, f_max

    @torch.no_grad()
    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F0 and voicing (B, F) of waveforms (B, S)."""
        return at_frames(one_by_one(self.row), waveforms, lengths)

    def row(self, waveform: Tensor) -> Tensor:
        """F0 (F,) of a waveform (S,), 0 where unvoiced."""
        waveform = waveform.float() - waveform.float().mean()  # an offset alone would repeat itself perfectly
        room = pad(waveform, (0, SAMPLE_RATE // 2))[None]  # for the last frames
        rate = SAMPLE_RATE / HOP_LENGTH
        f0, voiced = yin_f0(
            room, SAMPLE_RATE, f_min=F0_MIN, f_max=self.f_max, frame_rate=rate, threshold=self.threshold
        )
        return torch.where(voiced, f0, 0.0)[0, : num_frames(len(waveform))]


class TorchaudioF0(YIN):
    """Torchaudio's `detect_pitch_frequency` where YIN finds voice; coarse, for comparison.

    On recorded prompts 43 % of its voiced frames are more than a semitone from FCPE's, of YIN's 3 %.

    Args:
        threshold: aperiodicity below which a frame is voiced.
        f_min: lowest F0, Hz; it takes the octave below where it may.
        f_max: highest F0, Hz.
    """

    def __init__(self, threshold: float = 0.3, f_min: float = 80.0, f_max: float = 600.0) -> None:
        """Keep the settings."""
        super().__init__(threshold, f_max)
        self.f_min = f_min

    def row(self, waveform: Tensor) -> Tensor:
        """F0 (F,) of a waveform (S,), 0 where unvoiced."""
        found = detect_pitch_frequency(
            pad(waveform.float(), (0, SAMPLE_RATE // 2))[None],
            SAMPLE_RATE,
            HOP_LENGTH / SAMPLE_RATE,
            win_length=15,
            freq_low=int(self.f_min),
            freq_high=int(self.f_max),
        )
        return torch.where(super().row(waveform) > 0, found[0, : num_frames(len(waveform))], 0.0)


def make_extractor(kind: str, device: str = "cpu") -> F0Extractor:
    """An extractor by its name.

    Raises:
        ValueError: if there is none of that name, or no such device.
    """
    from spiritlm_pl.f0.fcpe import FCPE

    check_extractor("extractor", kind)
    where = check_device(device)
    kinds: tuple[type[FCPE] | type[YAAPT] | type[YIN], ...] = (FCPE, YAAPT, YIN, TorchaudioF0)
    made = dict(zip(EXTRACTORS, kinds, strict=True))[kind]()
    return made.to(where) if isinstance(made, nn.Module) else made


def voiced_mean(f0: Tensor, voiced: Tensor) -> Tensor:
    """Mean F0 in Hz (B,) over the voiced frames of F0 (B, F) and voicing (B, F); 0 without any voice."""
    return torch.where(voiced, f0, 0.0).sum(1) / voiced.sum(1).clamp(min=1)


def contour(f0: Tensor, voiced: Tensor, mean: Tensor | None = None) -> Tensor:
    """What the VQ-VAE reads: F0 less its mean, and voicing.

    Args:
        f0: (B, F) in Hz, 0 throughout where there is no voice.
        voiced: (B, F).
        mean: (B,) of each speaker; None, or nan in a row, for the mean over the voiced frames.

    Returns:
        (B, 2, F); F0 of 0 stays 0.
    """
    own = voiced_mean(f0, voiced)
    mean = own if mean is None else torch.where(mean.isnan(), own, mean)
    return torch.stack([torch.where(f0 > 0, f0 - mean[:, None], 0.0), voiced.to(f0.dtype)], dim=1)
