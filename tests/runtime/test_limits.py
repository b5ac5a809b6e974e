import pytest

from spiritlm_pl.runtime.limits import MOST_LAYERS, check_budget, check_layers
from spiritlm_pl.tokenizers.hubert import HubertConfig
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAEConfig


def test_only_numbers_of_layers_are_limited():
    check_layers({"num_layers": MOST_LAYERS, "layer_types": ["full"], "hidden_size": 10**9, "layer_drop": 0.1}, "here")
    with pytest.raises(ValueError, match="max_window_layers must be at most 10000 in here, but is 10001 instead"):
        check_layers({"max_window_layers": MOST_LAYERS + 1}, "here")


@pytest.mark.parametrize(("config", "name"), [(HubertConfig, "num_layers"), (PitchVQVAEConfig, "depth")])
def test_our_own_networks_are_limited(config, name):
    with pytest.raises(ValueError, match=f"{name} must be at most 10000 in the configuration of .*, but is 1000000000"):
        config(**{name: 10**9})


@pytest.mark.parametrize("budget", [0.0, -1.0, 1e308, float("inf"), float("nan")])
def test_a_budget_that_no_training_ends_with(budget: float) -> None:
    check_budget(0.001)
    with pytest.raises(ValueError, match="budget must be above 0 and at most 1,000,000, but is "):
        check_budget(budget)
