"""F0 extractors, and how to make one by its name.

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
    """YAAPT F0 extractor (Zahorian and Hu, 2008) of AMFM-decompy; runs on the CPU, one utterance at a time.

    Args:
        nccf_threshold: normalised cross-correlation above which a peak becomes a candidate for F0.
    """

    FRAME = 20.0  # ms

    def __init__(self, nccf_threshold: float = 0.25) -> None:
        """Store the settings."""
        self.nccf_threshold = nccf_threshold

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract F0 in Hz (B, F) and voicing (B, F) from waveforms (B, S) with lengths (B,) in samples."""
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
                warnings.simplefilter("ignore")  # where nothing is voiced, it divides by zero
                found = yaapt(
                    SignalObj(samples, SAMPLE_RATE), nccf_thresh1=self.nccf_threshold, tda_frame_length=25.0, **settings
                ).samp_values
        except (ValueError, IndexError, ZeroDivisionError):  # the waveform is too short for its filters
            found = np.zeros(1)
        return torch.from_numpy(np.nan_to_num(found)).float()


class YIN:
    """YIN F0 extractor of this package (`f0.yin`); needs no other package and no weights.

    Args:
        threshold: aperiodicity below which a frame is voiced.
        f_max: highest F0 that is looked for, in Hz.
    """

    def __init__(self, threshold: float = 0.3, f_max: float = 600.0) -> None:
        """Store the settings."""
        self.threshold, self.f_max = threshold, f_max

    @torch.no_grad()
    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract F0 in Hz (B, F) and voicing (B, F) from waveforms (B, S) with lengths (B,) in samples."""
        return at_frames(one_by_one(self.row), waveforms, lengths)

    def row(self, waveform: Tensor) -> Tensor:
        """Extract F0 in Hz (F,), 0 where unvoiced, from one waveform (S,)."""
        waveform = waveform.float() - waveform.float().mean()  # a constant offset would look perfectly periodic
        room = pad(waveform, (0, SAMPLE_RATE // 2))[None]  # the last frames need samples after them
        rate = SAMPLE_RATE / HOP_LENGTH
        f0, voiced = yin_f0(
            room, SAMPLE_RATE, f_min=F0_MIN, f_max=self.f_max, frame_rate=rate, threshold=self.threshold
        )
        return torch.where(voiced, f0, 0.0)[0, : num_frames(len(waveform))]


class TorchaudioF0(YIN):
    """F0 extractor of torchaudio (`detect_pitch_frequency`) for the frames that YIN finds voiced; for comparison.

    It is coarse: on recorded prompts, 43 % of its voiced frames are more than a semitone away from FCPE's F0; of
    YIN's, 3 % are.

    Args:
        threshold: aperiodicity of YIN below which a frame is voiced.
        f_min: lowest F0 that is looked for, in Hz; the algorithm tends to err one octave down where this allows it.
        f_max: highest F0 that is looked for, in Hz.
    """

    def __init__(self, threshold: float = 0.3, f_min: float = 80.0, f_max: float = 600.0) -> None:
        """Store the settings."""
        super().__init__(threshold, f_max)
        self.f_min = f_min

    def row(self, waveform: Tensor) -> Tensor:
        """Extract F0 in Hz (F,), 0 where unvoiced, from one waveform (S,)."""
        found = detect_pitch_frequency(
            pad(waveform.float(), (0, SAMPLE_RATE // 2))[None],
            SAMPLE_RATE,
            HOP_LENGTH / SAMPLE_RATE,
            win_length=15,
            freq_low=int(self.f_min),
            freq_high=int(self.f_max),
        )
        return torch.where(super().row(waveform) > 0, found[0, : num_frames(len(waveform))], 0.0)


def make_extractor(kind: str, device: str = "cpu", half: bool = False, argument: str = "f0") -> F0Extractor:
    """Make an F0 extractor from its name.

    Args:
        kind: a registered name (fcpe, yaapt, yin, torchaudio), or the path of a class that can be made without
            arguments.
        device: device for extractors that are networks, such as "cpu" or "cuda:1"; ignored by the others.
        half: compute in bfloat16 where the device has it, which extractors with a method `use_bfloat16` can.
        argument: argument that the name was given for, for errors.

    Raises:
        ValueError: if the name is not registered, the class makes no F0 extractor or none that computes in bfloat16
            where this is asked for, or the device does not exist.
    """
    where = check_device(device)
    made = find("f0", kind, argument)()
    if not callable(made):
        raise ValueError(f"{argument} must be a class whose instances are called with waveforms, but is {kind}")
    extractor: F0Extractor = made.to(where) if isinstance(made, nn.Module) else made
    if half:
        if not hasattr(extractor, "use_bfloat16"):
            raise ValueError(f"half must be false for extractor {kind}, which has no bfloat16, but is true instead")
        extractor.use_bfloat16()
    return extractor


def computes_in_bfloat16(extractor: F0Extractor) -> bool:
    """Whether an extractor that was told to compute in bfloat16 does so; its attribute `in_bfloat16` says where not."""
    return bool(getattr(extractor, "in_bfloat16", True))
