"""MLflow as Lightning's logger, with what a chain of training stages needs beyond Lightning's own.

Nothing has to be set up: without an address, runs go to the SQLite file `mlflow.db` in the current folder
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
ACTIVE = "active"  # as MLflow calls what was not deleted


def tracking_address(tracking_uri: str | None = None) -> str:
    """Where runs go: the argument, else MLFLOW_TRACKING_URI, else a SQLite file in the current folder."""
    default = f"{SQLITE}{Path(DEFAULT_DATABASE).resolve()}"
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default


class MLflowLogger(MLFlowLogger):
    """One run of one experiment.

    Args:
        experiment_name: None for the name of the stage (`lm`, `hubert`, ...).
        run_name: None for one that MLflow makes up.
        tracking_uri: None for MLFLOW_TRACKING_URI, or else `sqlite:///mlflow.db`.
        artifact_location: where a new experiment keeps artifacts; None for `./mlruns` beside a SQLite file,
            and for the server's own place otherwise.
        run_id: go on with this run.
        tags: further tags of a new run.
        system_metrics: whether memory, processor and GPU use are recorded.
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
        # Two stages that start together must not both create the tables.
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
        self._held = interrupts_held if local else nullcontext  # a transaction cut short keeps its lock
        self.stopped = False  # by the user
        self._named_by_stage = experiment_name is None

    @property
    @rank_zero_experiment
    def experiment(self) -> "MlflowClient":
        """MLflow's client; asking for it opens no run."""
        return self._mlflow_client

    @property
    def run_id(self) -> str | None:
        """Id of the run, which is opened if it is not yet; None on ranks other than zero."""
        if _on_rank_zero() and not self._initialized:
            if self._run_id is not None:
                self._check_active(self._run_id)
            else:
                self._experiment_name = self._free_name(self._experiment_name)
            _ = super().experiment  # opens it
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment; opens the run."""
        _ = self.run_id
        return self._experiment_id

    @property
    def is_open(self) -> bool:
        """Whether the run has been opened."""
        return bool(self._initialized)

    def name_stage(self, stage: str, run: str) -> None:
        """Name experiment and run, unless the configuration did; before the run is opened.

        Args:
            stage: such as `lm`, for the experiment.
            run: for the run.
        """
        if self._initialized:
            return
        if self._named_by_stage:
            self._experiment_name = stage
        if self._run_name is None:
            self._run_name = run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record figures under a step."""
        with self._held():
            super().log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Close the run; what the user stopped is KILLED, not FAILED.

        Args:
            status: success, failed or finished, as Lightning says.
        """
        with self._held():
            super().finalize(status)
            if self.stopped and self._initialized:
                self._mlflow_client.set_terminated(str(self._run_id), "KILLED")

    @rank_zero_only
    def resume(self, run_id: str) -> bool:
        """Go on with an earlier run; one that was opened meanwhile is removed.

        Returns:
            Whether the run is there, and neither it nor its experiment was deleted; if not, a new one will be opened.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._check_active(run_id)
        except (MlflowException, ValueError) as error:
            rank_zero_warn(f"a new MLflow run is opened, since the old one cannot be continued: {error}")
            return False
        if self._initialized and self._run_id != run_id:  # opened by something in a hurry
            self._mlflow_client.delete_run(str(self._run_id))
        self._run_id, self._experiment_id = run_id, run.info.experiment_id
        self._initialized = True
        self._mlflow_client.update_run(run_id, status="RUNNING")
        return True

    def _check_active(self, run_id: str) -> "Run":
        """A run that can be continued.

        Raises:
            ValueError: if it or its experiment was deleted.
            MlflowException: if it is not there at all.
        """
        run = self._mlflow_client.get_run(run_id)
        experiment = self._mlflow_client.get_experiment(run.info.experiment_id)
        for what, found in ((f"run {run_id}", run.info), (f"experiment {experiment.name}", experiment)):
            if found.lifecycle_stage != ACTIVE:
                raise ValueError(f"{what} must be active, but was deleted")
        return run

    def _free_name(self, name: str) -> str:
        """The name of an experiment, or with a number where MLflow keeps it for one that the user deleted."""
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
        """Record nested values as parameters with dotted names; what is recorded already stays as it is.

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
    return bool(getattr(rank_zero_only, "rank", 0) == 0)  # Lightning sets the attribute


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists as one with dotted names, such as `trainer.callbacks.0.dirpath`."""
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
