"""`spiritlm fit | validate | test | predict`: LightningCLI over this project's modules and data."""

import logging
import math
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    DeviceStatsMonitor,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden

from spiritlm_pl.callbacks.checkpoints import PatientCheckpoint, made_patient
from spiritlm_pl.callbacks.progress_bar import StepProgressBar
from spiritlm_pl.callbacks.record_run import RecordRun
from spiritlm_pl.callbacks.watch_ranks import WatchRanks
from spiritlm_pl.cli.parser import LAST_CHECKPOINT, BothSpellings, parsed, parser_settings
from spiritlm_pl.cli.strategies import check_start, check_strategy
from spiritlm_pl.cli.typed_names import settings_spelt
from spiritlm_pl.cli.units_first import write_units_first
from spiritlm_pl.runtime.checkpoint import check_is_checkpoint, mismatch, newest_checkpoint, saved_at
from spiritlm_pl.runtime.checksums import check_archive
from spiritlm_pl.runtime.foreign_texts import ADVERT, AFTER_STEP, OWN_CODE
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.launch import is_first_of_machine

CHECKPOINTS = "checkpoints"
NOT_FOR_USERS: dict[str, type[Warning]] = {OWN_CODE: FutureWarning, AFTER_STEP: UserWarning}  # beginnings of warnings
LIMITS = {  # subcommand -> limits of its batches
    "fit": ("limit_train_batches", "max_steps", "max_epochs"),
    "validate": ("limit_val_batches",),
    "test": ("limit_test_batches",),
    "predict": ("limit_predict_batches",),
}
SIGNAL_CHECKPOINTS = "hpc_ckpt_*.ckpt"  # those that Lightning saves on a signal of SLURM, in its default_root_dir
HELP: dict[str, tuple[str, tuple[str, ...]]] = {  # subcommand -> description and examples in its help
    "fit": (
        "Train a stage.",
        (
            "spiritlm fit --config lm/base_quickstart",
            "spiritlm fit --config lm/base_7b --config lm/overlay_8gpus --trainer.max_steps 1000",
            "spiritlm fit --config vocoder/quickstart --ckpt-path last",
        ),
    ),
    "validate": (
        "Measure a checkpoint on the validation split.",
        (
            "spiritlm validate --config lm/base_quickstart --ckpt-path last",
            "spiritlm validate --config hubert/base_25hz --ckpt-path runs/hubert/checkpoints/last.ckpt",
        ),
    ),
    "test": (
        "Measure a checkpoint on the test split.",
        (
            "spiritlm test --config lm/base_quickstart --ckpt-path last",
            "spiritlm test --config style/base --ckpt-path runs/style/checkpoints/last.ckpt",
        ),
    ),
    "predict": (
        "Run a trained network over a corpus, such as a speech tokenizer, whose tokens are written.",
        (
            "spiritlm predict --config tokenize/quickstart",
            "spiritlm predict --config tokenize/base --config tokenize/expressive --trainer.devices 8",
        ),
    ),
}


class TrainerParser(BothSpellings, LightningArgumentParser):  # type: ignore[misc]  # as CommandParser
    """Parser of the trainer subcommands, which accepts the same spellings as those of the other commands."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings of `LightningArgumentParser`."""
        super().__init__(**{**parser_settings(), **settings})


def help_settings() -> dict[str, dict[str, str]]:
    """Return the parser settings of each subcommand: usage, description and examples of its help."""
    return {
        name: {
            "usage": f"spiritlm {name} [options]",
            "description": description,
            "epilog": "examples:\n" + "\n".join(f"  {example}" for example in examples),
        }
        for name, (description, examples) in HELP.items()
    }


class SpiritCLI(LightningCLI):
    """LightningCLI with modules and data given by class, and configurations composed of parts."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the command line as other commands do; the first word is the subcommand."""
        if args is not None or not {*sys.argv[1:2]} & {*self.subcommands()}:
            super().parse_arguments(parser, args)
            return
        subcommand, *words = sys.argv[1:]
        if not any(word.startswith(("--config", "-c", "--model", "--help", "-h")) for word in words):
            raise ValueError(f"--config must be given, as in {HELP[subcommand][1][0]}, but is missing")
        self.config = parsed(parser, self._parser(subcommand), words, before=[subcommand])

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Seed every run, with 0 by default."""
        parser.set_defaults({"seed_everything": 0})

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; errors name settings as they are typed."""
        config = self.config if self.subcommand is None else self.config[self.subcommand]
        with settings_spelt(config.as_dict()):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer; checkpoints go to a folder where the next run of the configuration finds the last one.

        Raises:
            NotADirectoryError: if the trainer's folder is a file.
        """
        trainer = super().instantiate_trainer(**kwargs)
        root = Path(trainer.default_root_dir)
        if root.exists() and not root.is_dir():
            raise NotADirectoryError(f"default_root_dir must be a folder, but {found_at(root)}")
        for callback in trainer.checkpoint_callbacks:
            if not isinstance(callback, ModelCheckpoint):
                continue
            made_patient(callback)
            if callback.dirpath is None:
                callback.dirpath = str(Path(trainer.default_root_dir).absolute() / CHECKPOINTS)
                if isinstance(callback, PatientCheckpoint):
                    callback.argument = "--trainer.default_root_dir"
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Build the trainer with a watch over its ranks, and our progress bar unless another or none is asked for."""
        given = config.get("callbacks") or []
        if config.get("enable_progress_bar") is not False and not any(
            isinstance(callback, ProgressBar) for callback in (given if isinstance(given, list) else [given])
        ):
            callbacks = [*callbacks, StepProgressBar()]
        callbacks = [*callbacks, WatchRanks()]
        try:
            trainer: Trainer = super()._instantiate_trainer(config, callbacks)
        except MisconfigurationException as error:
            advice = device_advice(config.get("accelerator"), config.get("devices"), num_gpus())
            raise ValueError(f"{error}{advice}") from error
        check_start(trainer, config.get("strategy"))
        leave_out_without_logger(trainer)
        return trainer

    def before_fit(self) -> None:
        """Resume from the newest complete checkpoint, if there is one, where the last is asked for or was interrupted.

        A job of SLURM or torchrun that was started again by itself goes on from what it has saved before. Units that
        the data asks for are made first.
        """
        self._find_last(needed=False)
        path, options = self._newest_checkpoint(), self.config_init[self.subcommand]
        if path is not None and not options.get("ckpt_path"):
            if saved_at(path) >= own_checkpoints_since(Path(self.trainer.default_root_dir)):
                options["ckpt_path"] = str(path)
            else:
                print(f"spiritlm: begins anew beside {path}; --ckpt-path=last would go on from it", file=sys.stderr)
        check_strategy(options.get("ckpt_path"), self.trainer)
        write_units_first(self.datamodule, self.trainer)

    def before_validate(self) -> None:
        """Find the last checkpoint if it is asked for; raise an error if there is none."""
        self._find_last(needed=True)
        check_strategy(self.config_init[self.subcommand].get("ckpt_path"), self.trainer)

    def before_test(self) -> None:
        """Find the last checkpoint as before validation."""
        self.before_validate()

    def before_predict(self) -> None:
        """Refuse a module that is only trained, and a tokenizer whose units nothing would write.

        Raises:
            ValueError: if it is one of these.
        """
        from spiritlm_pl.callbacks.write_units import WriteUnits
        from spiritlm_pl.modules.tokenize import TokenizeModule

        if not is_overridden("predict_step", self.model) and not is_overridden("forward", self.model):
            raise ValueError(
                "model must be one that predict runs over a corpus, as in --config tokenize/base, but is "
                f"{type(self.model).__name__} instead"
            )
        writers, trainer = (WriteUnits, BasePredictionWriter), cast(Any, self.trainer)
        if isinstance(self.model, TokenizeModule) and not any(isinstance(c, writers) for c in trainer.callbacks):
            raise ValueError(
                "--trainer.callbacks must have WriteUnits, without which no units are written, but lacks it: it is in "
                "--config tokenize/base"
            )

    def _checkpoint_folders(self) -> list[str]:
        callbacks = self.trainer.checkpoint_callbacks
        return [str(c.dirpath) for c in callbacks if isinstance(c, ModelCheckpoint) and c.dirpath]

    def _newest_checkpoint(self) -> Path | None:
        places = [newest_checkpoint(folder) for folder in self._checkpoint_folders()]
        places.append(newest_checkpoint(self.trainer.default_root_dir, SIGNAL_CHECKPOINTS))
        found = [path for path in places if path is not None]
        return max(found, key=saved_at, default=None)

    def _find_last(self, needed: bool) -> None:
        options = self.config_init[self.subcommand]
        if options.get("ckpt_path") != "last":
            return
        path = self._newest_checkpoint()
        if path is not None:
            if path.is_file() and is_first_of_machine():
                check_archive(path)
            options["ckpt_path"] = str(path)
        elif needed:
            folders = ", ".join(self._checkpoint_folders())
            raise ValueError(f"ckpt_path must name a checkpoint, but there is no last one in {folders}")

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a subcommand; if it is stopped, print how to resume and exit as after Ctrl-C, or with 143 on SIGTERM."""
        check_limit(subcommand, self.trainer)
        try:
            with settings_spelt(self.config[subcommand].as_dict()):
                super()._run_subcommand(subcommand)
        except BaseException as error:
            if self.trainer.received_sigterm:
                print(f"spiritlm: terminated; {self._how_to_go_on(subcommand)}", file=sys.stderr)
                raise SystemExit(128 + signal.SIGTERM) from error
            if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt(self._how_to_go_on(subcommand)) from error
            raise

    def _how_to_go_on(self, subcommand: str) -> str:
        if subcommand != "fit":
            return "run the same command again"
        path = self._newest_checkpoint()
        if path is None:
            return "there is no checkpoint yet, the same command begins anew"
        return f"add --ckpt-path=last to go on from {path}"

    def _parse_ckpt_path(self) -> None:
        """Refuse what is no checkpoint, and use the given configuration, not that of the checkpoint.

        Raises:
            ValueError: if it is none.
        """
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path is None:
            return
        check_is_checkpoint(str(path), LAST_CHECKPOINT)
        if Path(path).is_file() and is_first_of_machine():
            check_archive(Path(path))


def _is_no_advert(record: logging.LogRecord) -> bool:
    """Whether a log record is anything other than Lightning's advertisement, which appears in every run."""
    return ADVERT not in record.getMessage()


def leave_out_without_logger(trainer: Trainer) -> None:
    """Do without the callbacks that only log, where a trainer has no logger, and print so."""
    callbacks: list[Callback] = cast(Any, trainer).callbacks
    for callback in [] if trainer.loggers else [*callbacks]:
        if isinstance(callback, LearningRateMonitor | DeviceStatsMonitor):
            callbacks.remove(callback)
            rank_zero_info(f"{type(callback).__name__} is left out, as it only logs and there is no logger")


def check_limit(subcommand: str, trainer: Trainer) -> None:
    """Refuse a command that Lightning would end without a batch and without a word, as if all had been done.

    Args:
        subcommand: name of the command: fit, validate, test or predict.
        trainer: the trainer, with its limits.

    Raises:
        ValueError: if a limit of the command's batches is 0.
    """
    for name in LIMITS[subcommand]:
        if getattr(trainer, name) == 0:
            raise ValueError(f"--trainer.{name} must be above 0, as `{subcommand}` would do nothing, but is 0 instead")


def own_checkpoints_since(root: Path) -> float:
    """Return the time since when checkpoints are this job's own, if it was started again by itself; infinity if not.

    The job is older than its processes: torchrun has started them anew, or SLURM has put the job back into its queue
    after a signal on which Lightning saved a checkpoint.

    Args:
        root: the trainer's `default_root_dir`.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0:
        return psutil.Process(os.getppid()).create_time()  # torchrun's
    saved = newest_checkpoint(root, SIGNAL_CHECKPOINTS) if SLURMEnvironment.detect() else None
    return math.inf if saved is None else saved_at(saved)


def num_gpus() -> int:
    """Count the GPUs that torch can use here."""
    return int(torch.backends.mps.is_available()) or torch.cuda.device_count()


def device_advice(accelerator: Any, devices: Any, found: int) -> str:
    """Name the option that helps if a configuration asks for GPUs that this machine lacks; else return "".

    Args:
        accelerator: accelerator in the trainer's configuration.
        devices: number or indices of devices in the trainer's configuration: a number, a list or "0,2"; "auto" and -1
            mean all of the machine.
        found: number of GPUs of this machine.
    """
    if accelerator not in ("gpu", "cuda", "mps"):
        return ""
    if not found:
        return " (--trainer.accelerator cpu where there is none)"
    which = [int(index) for index in re.findall(r"-?\d+", str(devices))]
    several = isinstance(devices, list | tuple) or "," in str(devices)
    asked = max(which, default=0) + 1 if several else max(which, default=0)
    return " (--trainer.devices and --trainer.num_nodes say how many)" if asked > found else ""


def raised_in(error: BaseException, function: Callable[..., Any]) -> bool:
    """Whether an error was raised within a call of a function, at any depth."""
    return any(frame.f_code is function.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def run_trainer(arguments: list[str]) -> None:
    """Run one trainer subcommand.

    Args:
        arguments: the subcommand and its options, with the paths of configurations (`resolve_configs`).

    Raises:
        ValueError: if a checkpoint is that of another module or of another size.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advert)
    for text, kind in NOT_FOR_USERS.items():
        warnings.filterwarnings("ignore", re.escape(text), kind)
    # Set here, since LightningCLI warns about arguments given to it, and Lightning starts further ranks by argv[0].
    sys.argv = [sys.argv[0], *arguments]
    try:
        SpiritCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RecordRun,
            save_config_kwargs={"overwrite": True},
            parser_class=TrainerParser,
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "spiritlm", **help_settings()},
            auto_configure_optimizers=False,
        )
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except RuntimeError as error:
        if not raised_in(error, torch.nn.Module.load_state_dict):
            raise
        raise ValueError(
            f"checkpoint must be of the module and size of the configuration, but is not: {mismatch(error)[:200]}"
        ) from error
