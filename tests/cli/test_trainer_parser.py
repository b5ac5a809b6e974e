"""The trainer's subcommands take options as all commands do, and nulls at any depth."""

import shlex

import pytest
import yaml

from spiritlm_pl.cli.main import TRAINER_SUBCOMMANDS, run
from spiritlm_pl.cli.training import HELP


def parse(command: str) -> None:
    """Print the configuration that a command line gives."""
    with pytest.raises(SystemExit) as exit_:
        run([*shlex.split(command)[1:], "--print-config"])
    assert exit_.value.code == 0


@pytest.mark.parametrize("name", TRAINER_SUBCOMMANDS)
def test_examples_of_the_trainer_are_parsed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for example in HELP[name][1]:
        parse(example)
    assert "class_path" in capsys.readouterr().out


def test_the_trainer_takes_both_spellings_and_switches(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--trainer.max-steps 7 --seed-everything=5 --trainer.barebones --weights_only --ckpt-path x"
    parse(f"spiritlm fit --config lm/base_quickstart {words} --data.init_args.row-length=77 --data.batch-size 3")
    told = capsys.readouterr().out
    for line in ("max_steps: 7", "seed_everything: 5", "barebones: true", "weights_only: true", "ckpt_path: x"):
        assert line in told
    assert "row_length: 77" in told and "batch_size: 3" in told


@pytest.mark.parametrize("word", ["null", "None"])
def test_null_reaches_a_value_within_another(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    nested = ("model.init_args.network.checkpoint", "model.optimizer.muon_lr", "model.init_args.units_per_second")
    options = " ".join(f"--{name}={word}" for name in nested)
    parse(f"spiritlm fit --config lm/base_7b --model.init_args.optimizer.muon_lr=1 {options}")
    model = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    assert model["network"]["checkpoint"] is None and model["optimizer"]["muon_lr"] is None
    assert model["units_per_second"] is None and model["network"]["packing"] == "packed"
