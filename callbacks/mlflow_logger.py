"""MLflow logger for Lightning, which also serves chains of training stages.

No set-up is needed: without an address, runs are written to the SQLite file `mlflow.db` in the current folder
and artifacts to `./mlruns`; `mlflow ui --backend-store-uri sqlite:///mlflow.db` shows them. The run is opened
only when something is logged, so that a resumed fit can go on with its old one.
"""

import os
from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from spiritlm_pl.runtime.interrupts import interrupts_held

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

DEFAULT_DATABASE = "mlflow.db"
DEFAULT_ARTIFACTS = "mlruns"
PARAMETER_LENGTH = 500  # characters that every MLflow server takes; the whole configuration is an artifact
KEY_LENGTH = 250
BATCH_SIZE = 100
SQLITE = "sqlite:///"
ACTIVE = "active"  # MLflow's name for experiments and runs that were not deleted


def tracking_address(tracking_uri: str | None = None) -> str:
    """Return the tracking address: the argument, else MLFLOW_TRACKING_URI, else a SQLite file in the current folder."""
    default = f"{SQLITE}{Path(DEFAULT_DATABASE).resolve()}"
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default


class MLflowLogger(MLFlowLogger):
    """Logger of one run of one experiment.

    Args:
        experiment_name: name of the experiment; None for the name of the stage (`lm`, `hubert`, ...).
        run_name: name of the run; None for one that MLflow makes up.
        tracking_uri: address of the tracking server or store; None for MLFLOW_TRACKING_URI, or else
            `sqlite:///mlflow.db`.
        artifact_location: folder or address of the artifacts of a new experiment; None for `./mlruns` beside a SQLite
            file, and otherwise for the server's default.
        run_id: id of a run to continue; None for a new run.
        tags: further tags of a new run; None for none.
        system_metrics: whether the use of memory, processor and GPU is recorded.
    """

    def __init__(
        self,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        system_metrics: bool = True,
    ) -> None:
        """Open the store; the run is opened later."""
        address = tracking_address(tracking_uri)
        local = address.startswith(SQLITE)
        if local and artifact_location is None:
            artifact_location = Path(DEFAULT_ARTIFACTS).resolve().as_uri()
        if local:
            Path(address.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        # Two stages that start at the same time must not both create the tables.
        lock = FileLock(f"{address.removeprefix(SQLITE)}.lock") if local else nullcontext()
        with lock:
            super().__init__(
                experiment_name=experiment_name or "spiritlm",
                run_name=run_name,
                tracking_uri=address,
                tags=dict(tags or {}),
                artifact_location=artifact_location,
                run_id=run_id,
            )
            if local and _on_rank_zero():
                self._mlflow_client.search_experiments(max_results=1)
        self.tracking_uri = address
        self.system_metrics = system_metrics
        self._held = interrupts_held if local else nullcontext  # an interrupted transaction would keep its lock
        self.stopped = False  # an interrupt by the user
        self._named_by_stage = experiment_name is None

    @property
    @rank_zero_experiment
    def experiment(self) -> "MlflowClient":
        """MLflow's client; reading this property does not open the run."""
        return self._mlflow_client

    @property
    def run_id(self) -> str | None:
        """Id of the run, which this property opens if necessary; None on ranks other than zero."""
        if _on_rank_zero() and not self._initialized:
            if self._run_id is not None:
                self._check_active(self._run_id)
            else:
                self._experiment_name = self._free_name(self._experiment_name)
            _ = super().experiment  # reading the property opens the run
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment; this property opens the run if necessary."""
        _ = self.run_id
        return self._experiment_id

    @property
    def is_open(self) -> bool:
        """Whether the run has been opened."""
        return bool(self._initialized)

    def name_stage(self, stage: str, run: str) -> None:
        """Name experiment and run before the run is opened, unless the configuration has named them.

        Args:
            stage: stage that names the experiment, such as `lm`.
            run: name of the run, used if the configuration has none.
        """
        if self._initialized:
            return
        if self._named_by_stage:
            self._experiment_name = stage
        if self._run_name is None:
            self._run_name = run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics under a step."""
        with self._held():
            super().log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Close the run; one that the user stopped is marked KILLED, not FAILED.

        Args:
            status: status that Lightning reports: success, failed or finished.
        """
        with self._held():
            super().finalize(status)
            if self.stopped and self._initialized:
                self._mlflow_client.set_terminated(str(self._run_id), "KILLED")

    @rank_zero_only
    def resume(self, run_id: str) -> bool:
        """Continue an earlier run; a new run that was opened meanwhile is removed.

        Returns:
            Whether the run exists, and neither it nor its experiment was deleted; if not, a new one will be opened.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._check_active(run_id)
        except (MlflowException, ValueError) as error:
            rank_zero_warn(f"a new MLflow run is opened, since the old one cannot be continued: {error}")
            return False
        if self._initialized and self._run_id != run_id:  # something has logged before the resume
            self._mlflow_client.delete_run(str(self._run_id))
        self._run_id, self._experiment_id = run_id, run.info.experiment_id
        self._initialized = True
        self._mlflow_client.update_run(run_id, status="RUNNING")
        return True

    def _check_active(self, run_id: str) -> "Run":
        """Return a run if it can be continued.

        Raises:
            ValueError: if the run or its experiment was deleted.
            MlflowException: if there is no such run.
        """
        run = self._mlflow_client.get_run(run_id)
        experiment = self._mlflow_client.get_experiment(run.info.experiment_id)
        for what, found in ((f"run {run_id}", run.info), (f"experiment {experiment.name}", experiment)):
            if found.lifecycle_stage != ACTIVE:
                raise ValueError(f"{what} must be active, but was deleted")
        return run

    def _free_name(self, name: str) -> str:
        """Return the name of an experiment, with a number if MLflow keeps the name for a deleted experiment."""
        free, number = name, 1
        while (found := self._mlflow_client.get_experiment_by_name(free)) is not None:
            if found.lifecycle_stage == ACTIVE:
                break
            number += 1
            free = f"{name}-{number}"
        if free != name:
            rank_zero_warn(
                f"runs go to the MLflow experiment {free}, since {name} was deleted and its name is kept until "
                "`mlflow gc` removes it or `mlflow experiments restore` brings it back"
            )
        return free

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Record nested values as parameters with dotted names; parameters that are already recorded stay unchanged.

        MLflow's parameters cannot change, and a resumed run may have other settings; its configuration files
        tell them apart.
        """
        from mlflow.entities import Param

        values = flatten(vars(params) if isinstance(params, Namespace) else params)
        run_id = self.run_id
        assert run_id is not None
        known = self._mlflow_client.get_run(run_id).data.params
        new = [
            Param(name[:KEY_LENGTH], str(value)[:PARAMETER_LENGTH])
            for name, value in values.items()
            if name[:KEY_LENGTH] not in known
        ]
        for start in range(0, len(new), BATCH_SIZE):
            with self._held():
                self._mlflow_client.log_batch(run_id, params=new[start : start + BATCH_SIZE])

    @rank_zero_only
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        from mlflow.entities import RunTag

        run_id = self.run_id
        assert run_id is not None
        with self._held():
            self._mlflow_client.log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])


def _on_rank_zero() -> bool:
    return bool(getattr(rank_zero_only, "rank", 0) == 0)  # Lightning sets this attribute


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries and lists to one dictionary with dotted names (`trainer.callbacks.0.dirpath`)."""
    if isinstance(values, Mapping):
        pairs = [(str(name), value) for name, value in values.items()]
    elif isinstance(values, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in values):
        pairs = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {prefix: values}
    if not pairs:
        return {prefix: values} if prefix else {}
    flat: dict[str, Any] = {}
    for name, value in pairs:
        flat |= flatten(value, f"{prefix}.{name}" if prefix else name)
    return flat
