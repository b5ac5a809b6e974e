"""Plots of speech for the page.

Shapes: S samples.
"""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from spiritlm_pl.evaluation.plots import COLOURS, FLOOR_DB, log_spectrogram

COLUMNS = 1200  # columns of the waveform's outline


def speech_figure(waveform: Tensor, sample_rate: int) -> Figure:
    """Draw waveform and spectrogram of (S,) samples, one above the other.

    Raises:
        ValueError: if there are no samples.
    """
    if not len(waveform):
        raise ValueError("waveform must hold samples, but is empty instead")
    seconds = len(waveform) / sample_rate
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=110)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    lowest, highest = outline(waveform)
    times = (torch.arange(len(lowest)) + 0.5) * (seconds / len(lowest))
    above.fill_between(times.numpy(), lowest.numpy(), highest.numpy(), color=COLOURS[0], linewidth=0.5)
    above.set_ylim(-1, 1)
    above.set_yticks([])
    above.set_ylabel("waveform")
    for side in ("top", "right", "left"):
        above.spines[side].set_visible(False)
    extent = (0.0, seconds, 0.0, sample_rate / 2000)
    image = log_spectrogram(waveform).numpy()
    below.imshow(image, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)
    below.set_xlim(0, seconds)
    below.set_ylabel("kHz")
    below.set_xlabel("seconds")
    return figure


def outline(waveform: Tensor, columns: int = COLUMNS) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest sample of each column, (N,) both, with N = min(S, columns) or slightly less."""
    size = -(-len(waveform) // columns)
    samples = waveform.detach().cpu().float()
    padding = -len(samples) % size
    if padding:
        samples = torch.cat([samples, samples[-1:].expand(padding)])
    parts = samples.view(-1, size)
    return parts.amin(1), parts.amax(1)
