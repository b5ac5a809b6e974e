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


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0.1), (2, 0.5), (1, 0.3)])
def test_a_warm_up_of_a_single_step_is_its_peak(steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 2.0)
    if steps > 1:
        with pytest.raises(ZeroDivisionError):  # why the one of torch is not used
            OneCycleLR(optimizer, max_lr=2.0, total_steps=steps, pct_start=warmup)
    factors = [OneCycle(warmup=warmup).factor(step, steps) for step in range(steps)]
    assert factors == sorted(factors, reverse=True) and factors[-1] == pytest.approx(4e-6)
    assert steps == 1 or factors[0] == 1.0


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"warmup must be in \[0, 1\), but is 1.0"):
        OneCycle(warmup=1.0)
