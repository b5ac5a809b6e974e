"""What a run leaves in a real MLflow store, and that a resumed run goes on with it."""

import json
import shutil
import warnings
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient

from spiritlm_pl.callbacks.export import ExportNetwork
from spiritlm_pl.callbacks.mlflow_logger import MLflowLogger, flatten, tracking_address
from spiritlm_pl.callbacks.record_run import RecordRun
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.runtime.provenance import code_version


class Exported(BoringModel):
    def __init__(self, base: str = "", note: str = "x") -> None:
        super().__init__()

    def training_step(self, batch, batch_idx):
        loss = self.step(batch)
        self.log("train/loss", loss)
        return {"loss": loss}

    def export(self, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        torch.save(self.state_dict(), Path(folder) / "weights.pt")


def fit(*arguments: str, ckpt_path: str | None = None) -> Trainer:
    cli = LightningCLI(
        Exported,
        BoringDataModule,
        save_config_callback=RecordRun,
        run=False,
        seed_everything_default=0,
        trainer_defaults={
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "limit_val_batches": 1,
            "default_root_dir": "run",
            "callbacks": [ModelCheckpoint("run/checkpoints", save_last=True)],
        },
        args=["--trainer.logger=spiritlm_pl.callbacks.mlflow_logger.MLflowLogger", *arguments],
    )
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=ckpt_path)
    return cli.trainer


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A database with its tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def here(tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["spiritlm"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    return tmp_path


@pytest.mark.filterwarnings(
    "ignore:Checkpoint directory .* exists and is not empty", "ignore:You're resuming from a checkpoint"
)
def test_a_run_records_its_configuration_and_a_resumed_one_continues_it(here):
    write_note("features", "hubert", [], run_id="abc")
    write_note("parent", "quantizer", ["features"], run_id="def")
    long = "y" * 2000
    trainer = fit("--trainer.max_steps=2", "--model.base=parent", f"--model.note={long}")
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("test_record_run").experiment_id])
    assert run.info.run_id == trainer.logger.run_id and run.info.status == "FINISHED"
    assert run.data.params["trainer.max_steps"] == "2"
    assert run.data.params["model.note"] == long[:500]
    tags = run.data.tags
    assert (tags["stage"], tags["command"]) == ("test_record_run", "fit")
    assert tags["code_version"] == code_version()
    assert run.info.run_name == "run"  # the last part of default_root_dir
    assert tags["parent_stage"] == "quantizer"
    assert (tags["parent.quantizer"], tags["parent.hubert"]) == ("def", "abc")
    assert tags["checkpoint.last"] == str(here / "run" / "checkpoints" / "last.ckpt")
    assert run.info.artifact_uri.startswith((here / "mlruns").as_uri())
    text = Path(client.download_artifacts(run.info.run_id, "config/config.yaml")).read_text()
    assert long in text and text == Path("run/config.yaml").read_text()
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [0, 1]

    again = fit("--trainer.max_steps=4", "--model.base=parent", ckpt_path="run/checkpoints/last.ckpt")
    assert again.logger.run_id == run.info.run_id
    run = client.get_run(run.info.run_id)
    assert (run.data.tags["resumed"], run.info.status) == ("1", "FINISHED")
    assert run.data.params["trainer.max_steps"] == "2"  # parameters cannot change
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [metric.step for metric in history] == [0, 1, 2, 3]
    files = {file.path for file in client.list_artifacts(run.info.run_id, "config")}
    assert files == {"config/config.yaml", "config/config_resumed_1.yaml"}

    fresh = fit("--trainer.max_steps=1")
    assert fresh.logger.run_id != run.info.run_id


@pytest.mark.filterwarnings(
    "ignore:Checkpoint directory .* exists and is not empty", "ignore:You're resuming from a checkpoint"
)
@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_what_was_deleted_is_not_continued_and_a_new_run_is_opened_with_a_word(here, deleted):
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    old = fit("--trainer.max_steps=1").logger
    if deleted == "run":
        client.delete_run(old.run_id)
        words = f"a new MLflow run is opened, .*: run {old.run_id} must be active, but was deleted"
        name = "test_record_run"
    else:
        client.delete_experiment(old.experiment_id)
        words = "runs go to the MLflow experiment test_record_run-2, since test_record_run was deleted"
        name = "test_record_run-2"
    for steps, said in ((2, pytest.warns(UserWarning, match=words)), (3, nullcontext())):
        with said, warnings.catch_warnings():
            if deleted == "experiment" and steps == 2:  # two words are told; the other's test is the other case
                warnings.filterwarnings("ignore", "a new MLflow run is opened")
            new = fit(f"--trainer.max_steps={steps}", ckpt_path="run/checkpoints/last.ckpt").logger
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert [run.info.run_id for run in runs] == [new.run_id] and new.run_id != old.run_id
    history = client.get_metric_history(new.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2]  # the third fit went on with the second's run
    assert client.get_run(old.run_id).info.lifecycle_stage == "deleted"


def test_a_deleted_run_that_is_named_is_refused(here):
    run = MLflowLogger("named")
    MlflowClient(f"sqlite:///{here}/mlflow.db").delete_run(run.run_id)
    with pytest.raises(ValueError, match=f"run {run.run_id} must be active, but was deleted"):
        _ = MLflowLogger("named", run_id=run.run_id).run_id


def test_memory_and_processor_are_recorded(here, monkeypatch):
    published, publish = Event(), SystemMetricsMonitor.publish_metrics

    def publish_and_tell(monitor, metrics):
        publish(monitor, metrics)
        published.set()

    monkeypatch.setattr(SystemMetricsMonitor, "publish_metrics", publish_and_tell)
    monkeypatch.setattr(Exported, "on_train_batch_end", lambda *_: published.wait(60), raising=False)
    fit("--trainer.max_steps=1")
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("test_record_run").experiment_id])
    assert "system/cpu_utilization_percentage" in run.data.metrics


def test_without_a_tracker_the_configuration_is_kept_as_a_file(here):
    fit("--trainer.max_steps=1", "--trainer.logger=false")
    assert "max_steps: 1" in Path("run/config.yaml").read_text()
    assert not Path("mlruns").exists()


def test_a_configuration_that_the_module_refuses_is_not_recorded(here, monkeypatch):
    def refuse(module, stage):
        raise ValueError("rate must be null with an adapter")

    monkeypatch.setattr(Exported, "setup", refuse)
    with pytest.raises(ValueError, match="with an adapter"):
        fit("--trainer.max_steps=1")
    assert not Path("run/config.yaml").exists()


def test_an_exported_network_names_its_run(here):
    logger = MLflowLogger("exports")
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=logger,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[ExportNetwork("exported")],
    )
    trainer.fit(Exported(), BoringDataModule())
    note = json.loads(Path("exported/tracking.json").read_text())
    assert (note["run_id"], note["stage"]) == (logger.run_id, "test_record_run")


def test_a_network_that_will_be_replaced_is_named_before_training(here, caplog):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    folder = Path("exported")
    folder.mkdir()
    for expected in (0, 1):
        with caplog.at_level("INFO"):
            ExportNetwork("exported").setup(trainer, Exported(), "fit")
        told = "exported holds the network of an earlier training, which this one replaces"
        assert caplog.messages.count(told) == expected
        (folder / "metrics.json").write_text("{}")


def test_a_module_without_export_is_refused_before_training(here):
    trainer = Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="module must have export .*, but LightningModule has no export"):
        ExportNetwork("exported").setup(trainer, LightningModule(), "fit")


def test_the_address_is_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_address() == "http://tracker:5000"
    assert tracking_address("sqlite:///other.db") == "sqlite:///other.db"


def test_flat_names():
    nested = {"a": {"b": [1, 2], "c": [{"d": None}, {}]}, "e": {}}
    assert flatten(nested) == {"a.b": [1, 2], "a.c.0.d": None, "a.c.1": {}, "e": {}}


def test_what_the_user_stopped_is_killed_and_not_failed(here):
    for stopped, status in ((True, "KILLED"), (False, "FAILED")):
        logger = MLflowLogger("stopped")
        logger.log_metrics({"loss": 1.0}, 0)
        logger.stopped = stopped
        logger.finalize("failed")
        assert MlflowClient(f"sqlite:///{here}/mlflow.db").get_run(logger.run_id).info.status == status
