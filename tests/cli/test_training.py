"""Trainer commands as they are typed: several devices, resuming, checkpoints that do not fit."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger

from spiritlm_pl.cli.main import run, told
from spiritlm_pl.cli.strategies import check_strategy
from spiritlm_pl.cli.training import (
    SpiritCLI,
    device_advice,
    leave_out_without_logger,
    own_checkpoints_since,
    raised_in,
)
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.runtime.checkpoint import check_is_checkpoint, mismatch, newest_checkpoint
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine

PROGRAM = Path(sys.executable).with_name("spiritlm")


def clusters_command(corpus: Path, *words: str, num_units: int = 4) -> list[str]:
    """Fit k-means to MFCCs, a trainer command that takes a second once it has been imported."""
    return [
        *("fit", "--config", "quantizer/quickstart_mfcc", f"--data.init_args.corpora=[{corpus}]"),
        *(f"--model.init_args.config.num_units={num_units}", "--model.init_args.start_frames=100"),
        *("--trainer.callbacks.init_args.dirpath=tokenizer", "--trainer.enable_checkpointing=true"),
        *("--trainer.default_root_dir=run", "--trainer.logger=false", *words),
    ]


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(python: Path) -> list[str | Path]:
    """`spiritlm` in a process whose libraries are imported already."""
    return [python, "-m", "spiritlm_pl"]


@pytest.fixture
def fit_clusters(program: list[str | Path], tmp_path: Path) -> Run:
    """Runs `clusters_command` in a folder."""

    def fit(corpus: Path, *words: str, num_units: int = 4) -> subprocess.CompletedProcess[str]:
        command = [*program, *clusters_command(corpus, *words, num_units=num_units)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)

    return fit


@pytest.mark.parametrize(
    ("accelerator", "devices", "found", "expected"),
    [
        ("gpu", "auto", 0, "--trainer.accelerator cpu"),
        ("cuda", 4, 2, "--trainer.devices"),
        ("gpu", "4", 2, "--trainer.devices"),
        ("gpu", "0,2", 2, "--trainer.devices"),
        ("gpu", [0, 1], 2, ""),
        ("gpu", [2], 2, "--trainer.devices"),
        ("gpu", 2, 2, ""),
        ("gpu", -1, 2, ""),
        ("gpu", "auto", 2, ""),
        ("cpu", 0, 0, ""),
        ("auto", "auto", 0, ""),
    ],
)
def test_advice_on_devices(accelerator: str, devices: object, found: int, expected: str) -> None:
    advice = device_advice(accelerator, devices, found)
    assert expected in advice and bool(expected) == bool(advice)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    arguments = ["fit", "--config", "pitch/quickstart", "--trainer.logger=false", "--trainer.accelerator=gpu"]
    with pytest.raises(ValueError, match=r"\(--trainer.accelerator cpu where there is none\)"):
        run(arguments)


def test_a_strategy_that_cannot_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    words = ["--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.devices=2"]
    for strategy, rule in (
        ("ddp_spawn", "one of which each process runs the command itself, such as ddp, but is ddp_spawn"),
        ("deepspeed_stage_3", "one that runs on a CPU, such as parts/strategy/zero3, but is deepspeed_stage_3"),
    ):
        with pytest.raises(ValueError, match=f"^--trainer.strategy must be {rule}"):
            run(["fit", "--config", "vocoder/quickstart", *words, f"--trainer.strategy={strategy}"])


def test_a_setting_within_another_is_named_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    option = "--model.init_args.optimizer.muon_lr"
    with pytest.raises(ValueError) as caught:
        run(["fit", "--config", "lm/base_quickstart", "--trainer.logger=false", f"{option}=-1"])
    assert told(caught.value) == f"{option} must be in [0, inf), but is -1.0 instead"


@pytest.mark.parametrize(
    ("subcommand", "limit"),
    [
        ("fit", "limit_train_batches"),
        ("fit", "max_steps"),
        ("fit", "max_epochs"),
        ("validate", "limit_val_batches"),
        ("test", "limit_test_batches"),
        ("predict", "limit_predict_batches"),
    ],
)
def test_a_command_without_batches_is_refused(
    subcommand: str, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    config = "tokenize/quickstart_mfcc" if subcommand == "predict" else "pitch/quickstart"
    option = f"--trainer.{limit}"
    with pytest.raises(ValueError, match=f"^{option} must be above 0, as `{subcommand}` would do nothing, but is 0"):
        run([subcommand, "--config", config, f"{option}=0", "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert not any(tmp_path.iterdir())


def test_where_an_error_came_from() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())
    assert raised_in(error.value, torch.nn.Module.load_state_dict)
    assert mismatch(error.value).startswith("size mismatch for weight")
    with pytest.raises(RuntimeError) as error:
        raise RuntimeError("loading state_dict")
    assert not raised_in(error.value, torch.nn.Module.load_state_dict)


@pytest.mark.slow
def test_two_devices_from_one_command(tone_corpus: Path, tmp_path: Path) -> None:
    command = [PROGRAM, *clusters_command(tone_corpus, "--trainer.devices=2", "--trainer.strategy=ddp")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MEMBER: 2/2" in done.stderr
    assert (tmp_path / "tokenizer" / "config.json").is_file()


@pytest.mark.slow
def test_resuming_and_checkpoints_that_do_not_fit(
    fit_clusters: Run, program: list[str | Path], tone_corpus: Path, tmp_path: Path
) -> None:
    done = fit_clusters(tone_corpus)
    assert done.returncode == 0, done.stderr[-2000:]
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("*.ckpt")
    figures = json.loads((tmp_path / "tokenizer" / "metrics.json").read_text())
    assert figures["train/active"] == 1.0

    shutil.rmtree(tmp_path / "tokenizer")  # as if killed before the export
    again = fit_clusters(tone_corpus, f"--ckpt-path={checkpoint}")
    assert again.returncode == 0, again.stderr[-2000:]
    assert (tmp_path / "tokenizer" / "config.json").is_file()

    other = fit_clusters(tone_corpus, f"--ckpt-path={checkpoint}", num_units=5)
    assert other.returncode == 2 and "checkpoint must be of the module and size" in other.stderr
    assert "Traceback" not in other.stderr

    stranger = torch.load(checkpoint, weights_only=False)
    torch.save({**stranger, "stage_module": "HubertModule"}, tmp_path / "hubert.ckpt")
    of_another = fit_clusters(tone_corpus, "--ckpt-path=hubert.ckpt")
    assert of_another.returncode == 2
    assert "checkpoint must be of KMeansModule, but is of HubertModule instead" in of_another.stderr

    command = [*program, "validate", "--config", "quantizer/quickstart_mfcc", "--ckpt-path=last"]
    command += [f"--data.init_args.corpora=[{tone_corpus}]", "--trainer.default_root_dir=elsewhere"]
    command += ["--trainer.callbacks=null", "--trainer.enable_checkpointing=true", "--trainer.logger=false"]
    untrained = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert untrained.returncode == 2 and "there is no last one in" in untrained.stderr

    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    damaged = fit_clusters(tone_corpus, f"--ckpt-path={checkpoint}")
    assert damaged.returncode == 2 and f"but {checkpoint} cannot be read" in damaged.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_stopped_fit_says_how_to_go_on(
    program: list[str | Path], tone_corpus: Path, tmp_path: Path, stop: str, code: int, word: str
) -> None:
    words = ("--trainer.max_steps=-1", "--trainer.max_epochs=100000", "--model.init_args.start_frames=1")
    process = subprocess.Popen(
        [*program, *clusters_command(tone_corpus, *words)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not any(checkpoints.glob("*.ckpt")):
        time.sleep(0.05)
    process.send_signal(signal.Signals[stop])
    _, told = process.communicate(timeout=100)
    assert process.returncode == code, told[-2000:]
    assert f"spiritlm: {word}; add --ckpt-path=last to go on from {checkpoints}" in told and "Traceback" not in told


def test_the_newest_whole_checkpoint_is_the_last(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for number, name in enumerate(("step=8.ckpt", "step=16.ckpt")):
        torch.save({}, tmp_path / name)
        os.utime(tmp_path / name, (number, number))
    (tmp_path / "half.ckpt").write_bytes(b"PK")
    sharded = tmp_path / "sharded.ckpt"
    sharded.mkdir()
    (tmp_path / "last.ckpt").symlink_to("gone.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "step=16.ckpt"
    (sharded / "latest").write_text("checkpoint")
    assert newest_checkpoint(tmp_path) == sharded
    os.utime(sharded / "latest", (0.5, 0.5))
    (sharded / "universal").mkdir()  # of a conversion, long after it was saved
    assert newest_checkpoint(tmp_path) == tmp_path / "step=16.ckpt"


def test_a_job_that_starts_again_knows_its_own_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    torch.save({}, tmp_path / "hpc_ckpt_1.ckpt")
    assert own_checkpoints_since(tmp_path) == math.inf
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert own_checkpoints_since(tmp_path) == math.inf
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert 0 < own_checkpoints_since(tmp_path) < time.time()
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert own_checkpoints_since(tmp_path) == (tmp_path / "hpc_ckpt_1.ckpt").stat().st_mtime
    assert own_checkpoints_since(tmp_path / "empty") == math.inf


def test_checkpoints_of_another_strategy_are_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "one.ckpt")
    shards = tmp_path / "sharded.ckpt" / "checkpoint"
    shards.mkdir(parents=True)
    for kind in ("model", "optim"):
        (shards / f"zero_pp_rank_0_mp_rank_00_{kind}_states.pt").touch()
    plain = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    check_strategy(None, plain)
    check_strategy(str(tmp_path / "one.ckpt"), plain)
    with pytest.raises(ValueError, match=r"must be .*, DeepSpeed for .*sharded.ckpt, but is another \(Single"):
        check_strategy(str(tmp_path / "sharded.ckpt"), plain)
    zero = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, strategy=Zero3Strategy())
    check_strategy(str(tmp_path / "sharded.ckpt"), zero)
    with pytest.raises(ValueError, match=r"another for .*one.ckpt, but is DeepSpeed \(Zero3Strategy\)"):
        check_strategy(str(tmp_path / "one.ckpt"), zero)
    (tmp_path / "fsdp2.ckpt" / "shards").mkdir(parents=True)
    fsdp2 = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, strategy=FSDP2Strategy())
    check_strategy(str(tmp_path / "fsdp2.ckpt"), fsdp2)
    with pytest.raises(ValueError, match=r"FSDP2 for .*fsdp2.ckpt, but is DeepSpeed \(Zero3Strategy\)"):
        check_strategy(str(tmp_path / "fsdp2.ckpt"), zero)
    with pytest.raises(ValueError, match=r"another for .*one.ckpt, but is FSDP2 \(FSDP2Strategy\)"):
        check_strategy(str(tmp_path / "one.ckpt"), fsdp2)


def test_the_folder_of_a_trainer_is_named_as_it_is_typed(
    tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    Path("file").touch()
    with pytest.raises(OSError, match=r"^--trainer.default_root_dir must be a folder, but file is a file"):
        run(clusters_command(tone_corpus, "--trainer.default_root_dir=file"))
    Path("run").mkdir()
    owner = {"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}
    Path(f"run/.checkpoints{WRITER}.1.json").write_text(json.dumps(owner))
    with pytest.raises(ValueError, match=r"^--trainer.default_root_dir must be a folder that no other process writes"):
        run(clusters_command(tone_corpus))


def test_what_is_no_checkpoint_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--ckpt-path must be a checkpoint, or last for the newest one, but .*is not"):
        check_is_checkpoint(str(tmp_path / "gone.ckpt"), "--ckpt-path")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(
        ValueError, match="--ckpt-path must be a checkpoint, but .*checkpoints is a folder that is none$"
    ):
        check_is_checkpoint(str(folder), "--ckpt-path")
    torch.save({}, folder / "one.ckpt")
    with pytest.raises(ValueError, match=r"is a folder that is none: did you mean .*one.ckpt\?"):
        check_is_checkpoint(str(folder), "--ckpt-path")
    (folder / "latest").touch()
    for path in ("last", "s3://a/b.ckpt", str(folder), str(folder / "one.ckpt")):
        check_is_checkpoint(path, "--ckpt-path")
    cli = SimpleNamespace(config={"subcommand": "fit", "fit": {"ckpt_path": str(tmp_path / "gone.ckpt")}})
    with pytest.raises(ValueError, match="gone.ckpt is not there"):
        SpiritCLI._parse_ckpt_path(cast(Any, cli))


class Muttering(LightningModule):
    """Module that is only trained."""


class Reciting(Muttering):
    """Module that predict runs, and whose results its caller takes."""

    def predict_step(self, *batch: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Muttering(), "model must be one that predict runs over a corpus, .* but is Muttering instead"),
        (TokenizeModule("tokenizer"), "trainer.callbacks must have WriteUnits, without which no units are written"),
        (Reciting(), None),
    ],
)
def test_predict_is_refused_where_nothing_would_be_written(model: LightningModule, message: str | None) -> None:
    cli = SimpleNamespace(model=model, trainer=Trainer(accelerator="cpu", logger=False))
    refused = nullcontext() if message is None else pytest.raises(ValueError, match=message)
    with refused:
        SpiritCLI.before_predict(cast(Any, cli))


def test_callbacks_that_only_log_are_left_out_without_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for logger in (False, DummyLogger()):
            trainer = Trainer(accelerator="cpu", logger=logger, callbacks=[LearningRateMonitor(), DeviceStatsMonitor()])
            leave_out_without_logger(trainer)
            kinds = {type(callback) for callback in trainer.callbacks}
            assert ({LearningRateMonitor, DeviceStatsMonitor} <= kinds) == bool(logger)
            assert {LearningRateMonitor, DeviceStatsMonitor}.isdisjoint(kinds) == (not logger)
