"""Every shipped configuration is parsed and instantiated, the 7B ones included; overlays on what they overlay."""

import warnings
from pathlib import Path

import pytest
from lightning import LightningDataModule, LightningModule

from spiritlm_pl.cli.configs import config_folder, find_config, shipped_configs
from spiritlm_pl.cli.training import SpiritCLI

# What the machine at hand may lack; the parts themselves are still parsed and built in the strategy tests.
HERE = [
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.num_nodes=1",
    "--trainer.strategy=auto",
    "--trainer.logger=false",
    "--trainer.callbacks=null",
    "--trainer.precision=32-true",
]


def base_of(name: str) -> list[str]:
    """The configurations to give before this one: an overlay names them in its first comment line."""
    first = find_config(name).read_text().splitlines()[0]
    words = first.removeprefix("#").split()
    named = [words[i + 1] for i, word in enumerate(words) if word == "--config"]
    return named or [name]


@pytest.mark.parametrize("name", shipped_configs())
def test_it_is_instantiated(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"--config={find_config(config)}" for config in base_of(name)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr("sys.argv", ["spiritlm", *given, *HERE])
        cli = SpiritCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_kwargs={"parser_mode": "omegaconf+"},
            auto_configure_optimizers=False,
            run=False,
        )
    assert isinstance(cli.model, LightningModule) and isinstance(cli.datamodule, LightningDataModule)


def test_every_config_says_how_it_is_run() -> None:
    for path in config_folder().rglob("*.yaml"):
        if "parts" not in path.parts:
            first = path.read_text().splitlines()[0]
            assert first.startswith("# spiritlm "), f"{path} must open with the command that runs it"
