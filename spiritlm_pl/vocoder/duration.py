"""Durations of units in frames, predicted from deduplicated units (as in FastSpeech 2, Ren et al., 2021).

The network predicts log(1 + d). It trains beside the generator, on the runs that start within the same segments.

Shapes: B batch, T frames, R runs of equal units, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DurationPredictor(nn.Module):
    """Two convolutions with ReLU, layer norm and dropout, then a linear layer.

    Args:
        in_channels: channels of the embedded units.
        hidden_channels: channels of the convolutions.
        kernel_size: taps of the convolutions, an odd number.
        dropout: probability of dropping an activation.
    """

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: int = 3, dropout: float = 0.5) -> None:
        """Build the layers."""
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, but is {kernel_size} instead")
        padding = kernel_size // 2
        self.conv1 = nn.Sequential(nn.Conv1d(in_channels, hidden_channels, kernel_size, padding=padding), nn.ReLU())
        self.ln1 = nn.LayerNorm(hidden_channels)
        self.conv2 = nn.Sequential(nn.Conv1d(hidden_channels, hidden_channels, kernel_size, padding=padding), nn.ReLU())
        self.ln2 = nn.LayerNorm(hidden_channels)
        self.proj = nn.Linear(hidden_channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.reach = 2 * padding  # number of units on either side on which a duration depends

    def forward(self, embedded: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict log(1 + d) (B, R) of embedded runs (B, R, C); the mask (B, R) is True where there is a run."""
        inside = 1 if mask is None else mask[..., None]  # beyond the runs, convolutions must see zeros as at any edge
        x = self.conv1((embedded * inside).transpose(1, 2)).transpose(1, 2)
        x = self.dropout(self.ln1(x)) * inside
        x = self.conv2(x.transpose(1, 2)).transpose(1, 2)
        x = self.dropout(self.ln2(x))
        return self.proj(x).squeeze(-1)


def durations_from_log(log_durations: Tensor) -> Tensor:
    """Convert predictions of log(1 + d), of any shape, to whole frames, at least 1."""
    return (log_durations.exp() - 1).round().clamp(min=1).long()


def collapse(units: Tensor, lengths: Tensor, durations: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Collapse runs of equal units.

    Args:
        units: frame-rate units (B, T), int64.
        lengths: number of valid frames (B,).
        durations: whole duration in frames of the run that starts at each frame (B, T), int64, 0 where none starts;
            None counts the frames in `units` instead.

    Returns:
        Units of the runs (B, R); durations of the runs in frames (B, R), 0 for a run that started before the segment;
        and a mask (B, R), True where there is a run. R is always T, since convolution kernels would be planned anew at
        every step for batches of changing shapes.
    """
    num_frames = units.shape[1]
    position = torch.arange(num_frames, device=units.device)
    valid = position < lengths[:, None]  # (B, T)
    changes = torch.ones_like(valid)
    changes[:, 1:] = units[:, 1:] != units[:, :-1]
    first = changes & valid
    run = (first.cumsum(1) - 1).clamp(min=0)  # (B, T) which run a frame belongs to
    counted = valid.long() if durations is None else durations * first
    values, lasting = (torch.zeros_like(units).scatter_add_(1, run, source) for source in (units * first, counted))
    return values, lasting, position < first.sum(1, keepdim=True)


def duration_loss(log_durations: Tensor, durations: Tensor) -> Tensor:
    """Return the mean squared error of log(1 + d) over runs of known duration d, not 0; both arguments are (B, R)."""
    known = durations > 0
    squared = F.mse_loss(log_durations.float(), torch.log1p(durations.float()), reduction="none")
    return (squared * known).sum() / known.sum().clamp(min=1)
