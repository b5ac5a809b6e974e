"""Plots of spectrograms, F0 contours, and measurements beside their baselines.

Shapes: S samples, F frequencies or F0 frames, T frames.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import shorten

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from spiritlm_pl.f0.yin import yin_f0

COLOURS = ("#2f6db5", "#e0883a", "#5a9e5f", "#8c6bb1", "#8a8a8a")
FLOOR_DB = -80.0
F0_RATE = 100.0  # Hz
USUAL_F0 = (50.0, 450.0)  # Hz
LONGEST_TITLE = 100  # characters


def log_spectrogram(waveform: Tensor, n_fft: int = 512, hop_length: int = 128) -> Tensor:
    """Compute the spectrogram (F, T) of a waveform (S,) in dB relative to its maximum; F = n_fft / 2 + 1."""
    window = torch.hann_window(n_fft)
    padded = torch.nn.functional.pad(waveform.detach().cpu().float(), (0, max(0, n_fft - len(waveform))))
    magnitude = torch.stft(padded, n_fft, hop_length, window=window, return_complex=True).abs()
    decibels = 20 * torch.log10(magnitude.clamp(min=1e-8))
    return (decibels - decibels.max()).clamp(min=FLOOR_DB)


def spectrogram_figure(
    waveforms: Mapping[str, Tensor], sample_rate: int, split: float | None = None, f0: bool = False
) -> Figure:
    """Draw spectrograms above each other on one time axis.

    Args:
        waveforms: waveforms (S,) by their titles.
        sample_rate: rate of the waveforms in Hz.
        split: time in seconds to mark with a line, such as the end of a prompt; None for no mark.
        f0: whether to draw the F0 contour, too.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if not waveforms:
        raise ValueError("waveforms must hold at least one, but is empty instead")
    figure = Figure(figsize=(9, 1.0 + 1.9 * len(waveforms)), layout="constrained")
    rows = figure.subplots(len(waveforms), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, waveform) in zip(rows, waveforms.items(), strict=True):
        extent = (0.0, len(waveform) / sample_rate, 0.0, sample_rate / 2000)
        image = log_spectrogram(waveform).numpy()
        axes.imshow(image, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)
        _set_title(axes, title)
        axes.set_ylabel("kHz")
        if f0:
            _draw_f0(axes, waveform, sample_rate)
        if split is not None:
            axes.axvline(split, color="white", linewidth=1, linestyle="--")
    rows[-1].set_xlim(0, max(max(len(waveform) for waveform in waveforms.values()) / sample_rate, 0.01))
    rows[-1].set_xlabel("seconds")
    return figure


def _set_title(axes: Axes, title: str) -> None:
    """Set a title that may hold any text, without reading it as a formula."""
    axes.set_title(shorten(title, LONGEST_TITLE, placeholder=" ..."), fontsize=9, loc="left", parse_math=False)


def _draw_f0(axes: Axes, waveform: Tensor, sample_rate: int) -> None:
    hertz = yin_f0(waveform[None].detach().cpu(), sample_rate, frame_rate=F0_RATE)[0][0]
    pitch = axes.twinx()
    times = torch.arange(len(hertz)) / F0_RATE
    pitch.plot(times, torch.where(hertz > 0, hertz, torch.nan), color="cyan", linewidth=1)
    pitch.set_ylim(*USUAL_F0)
    pitch.set_ylabel("F0, Hz")


def contour_figure(contours: Mapping[str, Tensor], frame_rate: float, title: str = "") -> Figure:
    """Draw F0 contours over each other.

    Args:
        contours: contours by their names, as F0 in Hz (F,), nan where unvoiced.
        frame_rate: number of F0 frames per second.
        title: title above the plot.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    for (name, hertz), colour in zip(contours.items(), cycle(COLOURS), strict=False):
        axes.plot(torch.arange(len(hertz)) / frame_rate, hertz, label=name, color=colour, linewidth=1.5)
    longest = max((len(hertz) for hertz in contours.values()), default=0)
    axes.set_xlim(0, max(longest, 1) / frame_rate)
    if sum(int(hertz.isfinite().sum()) for hertz in contours.values()) < 2:  # nothing to scale the axis by
        axes.set_ylim(*USUAL_F0)
        axes.text(0.5, 0.5, "no voice", transform=axes.transAxes, ha="center")
    axes.set_xlabel("seconds")
    axes.set_ylabel("F0, Hz")
    _set_title(axes, title)
    axes.legend(fontsize=8, frameon=False)
    return figure


def comparison_figure(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    references: Sequence[float] = (),
    reference: str = "chance",
    ylabel: str = "",
    title: str = "",
    colours: Sequence[str] = COLOURS,
) -> Figure:
    """Draw bars in groups, such as accuracy per direction with and without interleaving.

    Args:
        groups: names of the groups along the axis.
        series: values of each series by its name, one per group.
        intervals: intervals (low, high) of each series by its name, one per group.
        references: level to mark in each group, such as the accuracy of guessing; empty for none.
        reference: name of the marked level in the legend.
        ylabel: label of the value axis.
        title: title above the plot.
        colours: colours of the series in their order.

    Raises:
        ValueError: if a series has another number of values than there are groups, or the references have.
    """
    for name, values in {**series, **({reference: references} if references else {})}.items():
        if len(values) != len(groups):
            raise ValueError(f"series {name} must have {len(groups)} values, but has {len(values)} instead")
    inches = max(4.0, 1.5 + 0.72 * len(groups) * max(1, len(series)))
    figure = Figure(figsize=(inches, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(series))
    for index, (name, values) in enumerate(series.items()):
        places = [group + (index - (len(series) - 1) / 2) * width for group in range(len(groups))]
        errors = None
        if intervals and name in intervals:
            errors = [
                [value - low for value, (low, _) in zip(values, intervals[name], strict=True)],
                [high - value for value, (_, high) in zip(values, intervals[name], strict=True)],
            ]
        colour = colours[index % len(colours)]
        bars = axes.bar(places, values, width * 0.94, label=name, color=colour, yerr=errors, capsize=3)
        axes.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
    if references:
        starts, ends = ([group + side for group in range(len(groups))] for side in (-0.45, 0.45))
        axes.hlines(references, starts, ends, color="black", linewidth=1, linestyle=":", label=reference)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.margins(y=0.15)
    if len(series) > 1 or references:
        figure.legend(loc="outside lower center", ncols=len(series) + 1, fontsize=8, frameon=False)
    return figure


def curve_figure(
    curves: Mapping[str, Sequence[float]],
    bands: Mapping[str, Sequence[tuple[float, float]]],
    pale: Sequence[str] = (),
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
) -> Figure:
    """Draw curves over 0, 1, 2, ..., such as a measure in each layer, with their intervals.

    Args:
        curves: values of each curve by its name.
        bands: intervals (low, high) of each curve by its name, one per value.
        pale: names of curves that are drawn dotted, each in the colour of the curve before it.
        xlabel: label of the axis of numbers.
        ylabel: label of the axis of values.
        title: title above the plot.
    """
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    colours = iter(cycle(COLOURS))
    colour = COLOURS[0]
    for name, values in curves.items():
        colour = colour if name in pale else next(colours)
        places = range(len(values))
        axes.plot(places, values, label=name, color=colour, linestyle=":" if name in pale else "-", marker="o", ms=3)
        if name in bands:
            low, high = zip(*bands[name], strict=True)
            axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xticks(range(max((len(values) for values in curves.values()), default=1)))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
