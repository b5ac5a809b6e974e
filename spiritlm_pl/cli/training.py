"""`spiritlm fit | validate | test | predict`: LightningCLI over this project's modules and data."""

import sys
import zipfile
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from spiritlm_pl.callbacks.record_run import RecordRun
from spiritlm_pl.cli.configs import resolve_configs

CHECKPOINTS = "checkpoints"


class SpiritCLI(LightningCLI):
    """LightningCLI with modules and data given by class, and configurations composed of parts."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Every run is seeded, with 0 unless told otherwise."""
        parser.set_defaults({"seed_everything": 0})

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Checkpoints go where the next run of the same configuration finds its last one."""
        trainer = super().instantiate_trainer(**kwargs)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(Path(trainer.default_root_dir).absolute() / CHECKPOINTS)
        return trainer

    def before_validate(self) -> None:
        """Do not measure untrained weights where the last checkpoint was asked for."""
        self._check_last()

    def before_test(self) -> None:
        """As before validate."""
        self._check_last()

    def _check_last(self) -> None:
        if self.config[self.subcommand].get("ckpt_path") != "last":
            return
        folders = [c.dirpath for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath]
        if not any(any(Path(folder).glob("*.ckpt")) for folder in folders):
            raise ValueError(
                f"ckpt_path must name a checkpoint, but there is no last one in {', '.join(map(str, folders))}"
            )

    def _parse_ckpt_path(self) -> None:
        """Refuse what is no checkpoint. The configuration given counts, not the one that a checkpoint was made with."""
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path is not None and Path(path).is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"ckpt_path must be a whole checkpoint, but {path} is damaged or something else")


def run_trainer(arguments: list[str]) -> None:
    """Run one trainer subcommand.

    Args:
        arguments: the subcommand and its options, as on the command line.

    Raises:
        ValueError: if a checkpoint is of another module, or of another size.
    """
    # LightningCLI warns about arguments from elsewhere; Lightning starts further ranks by the first word.
    sys.argv = [sys.argv[0], *resolve_configs(arguments)]
    try:
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
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        first, *details = str(error).splitlines()
        raise ValueError(
            f"checkpoint must be of the module and size of the configuration ({first} {details[0].strip()[:200]} ...)"
        ) from error
