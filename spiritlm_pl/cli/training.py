"""`spiritlm fit | validate | test | predict`: LightningCLI over this project's modules and data."""

import sys

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from spiritlm_pl.callbacks.record_run import RecordRun
from spiritlm_pl.cli.configs import resolve_configs


class SpiritCLI(LightningCLI):
    """LightningCLI with modules and data given by class, and configurations composed of parts."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Every run is seeded, with 0 unless told otherwise."""
        parser.set_defaults({"seed_everything": 0})


def run_trainer(arguments: list[str]) -> None:
    """Run one trainer subcommand.

    Args:
        arguments: the subcommand and its options, as on the command line.
    """
    sys.argv = ["spiritlm", *resolve_configs(arguments)]  # LightningCLI warns about arguments from elsewhere
    SpiritCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=RecordRun,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},
        auto_configure_optimizers=False,
    )
