"""F0 extractors by their names.

Spirit LM (arXiv 2402.05755, section 3.2) trains on YAAPT's F0 and applies FCPE's for speed.

Shapes: B batch, S samples at 16 kHz, F = S // 80 + 1 frames.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchaudio.functional import detect_pitch_frequency

from spiritlm_pl.f0.frames import F0_MIN, HOP_LENGTH, SAMPLE_RATE, F0Extractor, at_frames, num_frames, one_by_one
from spiritlm_pl.f0.yin import yin_f0
from spiritlm_pl.registry import find
from spiritlm_pl.runtime.devices import check_device


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
    """Our YIN (`f0.yin`): no further package, no weights.

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
    """Make an extractor.

    Args:
        kind: a registered name (fcpe, yaapt, yin, torchaudio), or the path of a class that needs no arguments.
        device: for extractors that are networks.

    Raises:
        ValueError: if there is none of that name, it is no F0 extractor, or there is no such device.
    """
    where = check_device(device)
    made = find("f0", kind, "F0 extractor")()
    if not callable(made):
        raise ValueError(f"F0 extractor must be a class whose instances are called with waveforms, but is {kind}")
    extractor: F0Extractor = made.to(where) if isinstance(made, nn.Module) else made
    return extractor
