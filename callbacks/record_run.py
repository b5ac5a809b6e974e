"""Records of a run: its configuration, the stages it builds on, and the paths of its checkpoints.

The command line adds `RecordRun` to every trainer. The configuration goes to `config.yaml` in the trainer's
`default_root_dir`. With MLflow it also becomes the run's parameters and an artifact, the code version and the
parent stages become tags, checkpoints are named by path and not copied, and `tracking.json` beside the
checkpoints remembers the run, so that a resumed fit goes on with it. A folder with a `tracking.json` (an
exported network) that the configuration of model or data names is a parent.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

from spiritlm_pl.callbacks.mlflow_logger import MLflowLogger
from spiritlm_pl.runtime.lineage import ancestors, read_note, write_note
from spiritlm_pl.runtime.provenance import atomic_path, code_version

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

CONFIG_FILE = "config.yaml"
MAX_PATH = 1024


def stage_name(pl_module: LightningModule) -> str:
    """Return the stage that a module trains, which is the name of its file, such as `lm` or `vocoder`."""
    return type(pl_module).__module__.rpartition(".")[2]


def config_file(trainer: Trainer) -> Path:
    """Return the file that the resolved configuration of this command is written to."""
    command = str(trainer.state.fn.value) if trainer.state.fn else TrainerFn.FITTING.value
    name = CONFIG_FILE if command == TrainerFn.FITTING else f"config_{command}.yaml"
    return Path(trainer.default_root_dir) / name


def write_run_file(folder: str | Path, trainer: Trainer, pl_module: LightningModule) -> None:
    """Write a note with the id of the MLflow run and the folders it read, into a folder that the run makes."""
    logger = mlflow_logger(trainer)
    callbacks = cast(Any, trainer).callbacks  # Lightning sets this attribute without declaring it
    record = next((callback for callback in callbacks if isinstance(callback, RecordRun)), None)
    write_note(
        folder,
        stage_name(pl_module),
        [] if record is None else named_folders(record.configuration()),
        run_id=logger.run_id if logger else None,
        tracking_uri=logger.tracking_uri if logger else None,
    )


def mlflow_logger(trainer: Trainer) -> MLflowLogger | None:
    """Return the trainer's MLflow logger, or None if it has none."""
    return next((logger for logger in trainer.loggers if isinstance(logger, MLflowLogger)), None)


def named_folders(config: dict[str, Any]) -> list[str]:
    """List the folders that the configuration of model or data names and that an earlier run made."""
    values = _leaves([config.get(key) for key in ("model", "data")])
    names = (value for value in values if isinstance(value, str) and 0 < len(value) < MAX_PATH and "\n" not in value)
    return [name for name in names if read_note(name) is not None]


def _leaves(values: Any) -> Iterator[Any]:
    """Yield the values of nested mappings and lists."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _leaves(value)
    else:
        yield values


def parent_tags(config: dict[str, Any]) -> dict[str, str]:
    """Return tags for the stages that a configuration builds on: runs as `parent.*`, code versions as `code.*`."""
    folders = named_folders(config)
    tags: dict[str, str] = {}
    for stage, made in ancestors(folders).items():
        named = {f"code.{stage}": made["code_version"], f"parent.{stage}": made["run_id"]}
        tags |= {name: value for name, value in named.items() if value}
    if folders:
        tags["parent_stage"] = ", ".join(sorted({str((read_note(folder) or {})["stage"]) for folder in folders}))
    return tags


def continued_run(trainer: Trainer) -> str | None:
    """Return the id of the MLflow run that wrote the checkpoint from which a fit is resumed; None if it is not known.

    The id is read from a file in the folder of the checkpoint, or in one of the folders above.
    """
    if trainer.ckpt_path is None or trainer.state.fn is not TrainerFn.FITTING:
        return None
    checkpoint = Path(str(trainer.ckpt_path)).resolve()
    notes = (read_note(folder) for folder in (checkpoint, *checkpoint.parents[:3]))
    note = next((note for note in notes if note is not None), None)
    return None if note is None else note["run_id"]


class RecordRun(SaveConfigCallback):
    """Callback that records a run of the command line; see the module's description.

    The arguments are LightningCLI's own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keep the parser and the configuration."""
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})
        self._monitor: SystemMetricsMonitor | None = None
        self._opened = False

    def configuration(self) -> dict[str, Any]:
        """Return the resolved configuration as plain values."""
        config: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        return config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write nothing yet: the module and the other callbacks may refuse the configuration in their own set-up."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration to a file; only rank zero calls this."""
        with atomic_path(config_file(trainer)) as path:
            path.write_text(self.parser.dump(self.config, skip_none=False), encoding="utf-8")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the MLflow run of `spiritlm fit`, or continue that of the checkpoint that is resumed."""
        self._open_run(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the id of the MLflow run to the place where a resumed fit reads it."""
        logger = mlflow_logger(trainer)
        if logger is None or not trainer.is_global_zero:
            return
        for folder in self._checkpoint_folders(trainer):
            write_run_file(folder, trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open an MLflow run for `spiritlm validate`."""
        self._open_run(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open an MLflow run for `spiritlm test`."""
        self._open_run(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open an MLflow run for `spiritlm predict`."""
        self._open_run(trainer, pl_module)

    def _open_run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the configuration to a file and to MLflow, once a command."""
        if self._opened or not trainer.is_global_zero:
            return
        self._opened = True
        self.save_config(trainer, pl_module, "")
        logger = mlflow_logger(trainer)
        if logger is None:
            return
        stage, command = stage_name(pl_module), str(trainer.state.fn.value if trainer.state.fn else "")
        logger.name_stage(stage, Path(trainer.default_root_dir).name)
        run_id = continued_run(trainer)
        resumed = run_id is not None and logger.resume(run_id)
        assert logger.run_id is not None
        name = CONFIG_FILE
        tags = {"stage": stage, "code_version": code_version(), "command": command}
        if resumed:
            times = int(logger.experiment.get_run(logger.run_id).data.tags.get("resumed", 0)) + 1
            tags |= {"resumed": str(times), "resumed_from": str(trainer.ckpt_path)}
            name = f"config_resumed_{times}.yaml"
        text = self.parser.dump(self.config, skip_none=False)
        config = self.configuration()
        logger.set_tags(tags | parent_tags(config))
        logger.log_hyperparams(config)
        logger.experiment.log_text(logger.run_id, text, f"config/{name}")
        if logger.system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(
                logger.run_id, resume_logging=resumed, tracking_uri=logger.tracking_uri
            )
            self._monitor.start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop recording system metrics before the run is closed."""
        self._stop_monitor()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop recording system metrics if `on_train_end` has not done so, as after every command but fit."""
        self._stop_monitor()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the paths of the checkpoints."""
        self._name_checkpoints(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Log the paths of the checkpoints that exist."""
        self._stop_monitor()
        logger = mlflow_logger(trainer)
        if logger is not None and isinstance(exception, KeyboardInterrupt):
            logger.stopped = True
        self._name_checkpoints(trainer)

    def _stop_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None

    @staticmethod
    def _checkpoint_folders(trainer: Trainer) -> list[Path]:
        found = [
            callback.dirpath
            for callback in trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint) and callback.dirpath
        ]
        # If a cluster stops a job, Lightning saves a checkpoint in the root folder.
        return [*(Path(folder) for folder in found), Path(trainer.default_root_dir)]

    @staticmethod
    def _name_checkpoints(trainer: Trainer) -> None:
        logger = mlflow_logger(trainer)
        if logger is None or not trainer.is_global_zero:
            return
        tags: dict[str, str] = {}
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                for name, path in (("last", callback.last_model_path), ("best", callback.best_model_path)):
                    if path:
                        tags[f"checkpoint.{name}"] = str(Path(path).resolve())
        if tags:
            logger.set_tags(tags)
