"""The cycle of the learning rate, against the one that must be told its length."""

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from spiritlm_pl.vocoder.schedule import OneCycle


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("steps", "warmup"), [(1500, 0.05), (30, 0.3), (4, 0.05)])
def test_same_factors_as_the_one_of_torch(steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 2.0)
    reference = OneCycleLR(optimizer, max_lr=2.0, total_steps=steps, pct_start=warmup, cycle_momentum=False)
    cycle = OneCycle(warmup=warmup)
    for step in range(steps):
        assert 2.0 * cycle.factor(step, steps) == pytest.approx(reference.get_last_lr()[0], rel=1e-12)
        reference.step()
    assert cycle.factor(10 * steps, steps) == cycle.factor(steps - 1, steps)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"warmup must be in \[0, 1\), but is 1.0"):
        OneCycle(warmup=1.0)
