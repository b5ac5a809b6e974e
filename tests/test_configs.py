"""Every shipped configuration is built whole, with callbacks and logger, the 7B ones included; overlays on their bases.

The trainer alone is another one: the machine at hand may lack the devices of a configuration.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from lightning import LightningDataModule, LightningModule

from spiritlm_pl.cli.configs import config_folder, find_config, shipped_configs
from spiritlm_pl.cli.training import SpiritCLI

# What the machine at hand may lack; the strategies themselves are built below, without their devices.
HERE = [
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.num_nodes=1",
    "--trainer.strategy=auto",
    "--trainer.precision=32-true",
]


PARTS = [
    path
    for kind in ("callbacks", "logger", "strategy")
    for path in sorted(config_folder().glob(f"parts/{kind}/*.yaml"))
]


def base_of(name: str) -> list[str]:
    """The configurations to give before this one: an overlay names them in its first comment line."""
    first = find_config(name).read_text().splitlines()[0]
    words = first.removeprefix("#").split()
    named = [words[i + 1] for i, word in enumerate(words) if word == "--config"]
    return named or [name]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all, as making its tables takes some seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def elsewhere(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)


def build(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> SpiritCLI:
    """What `spiritlm fit` builds before it trains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr("sys.argv", ["spiritlm", *arguments])
        return SpiritCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_kwargs={"parser_mode": "omegaconf+"},
            auto_configure_optimizers=False,
            run=False,
        )


def names(built: Sequence[object]) -> set[str]:
    return {f"{type(one).__module__}.{type(one).__qualname__}" for one in built}


def kinds(built: Sequence[object]) -> set[str]:
    """Names of the classes of objects and of all that these are made from."""
    return {f"{kind.__module__}.{kind.__qualname__}" for one in built for kind in type(one).__mro__}


def class_names(given: Any) -> set[str]:
    """Names of the classes of a callback, a logger or a list of them; what is switched on or off has none."""
    described = [one for one in (given if isinstance(given, list) else [given]) if not isinstance(one, bool | None)]
    places = [one["class_path"].rpartition(".") for one in described]
    classes = [getattr(import_module(module), name) for module, _, name in places]
    return {f"{found.__module__}.{found.__qualname__}" for found in classes}


@pytest.mark.parametrize("name", shipped_configs())
def test_it_is_built(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = build(monkeypatch, *(f"--config={find_config(config)}" for config in base_of(name)), *HERE)
    assert isinstance(cli.model, LightningModule) and isinstance(cli.datamodule, LightningDataModule)
    trainer = cli.config["trainer"]
    assert class_names(trainer["callbacks"]) <= kinds(cast(Any, cli.trainer).callbacks)
    assert class_names(trainer["logger"]) == names(
        [one for one in cli.trainer.loggers if trainer["logger"] is not True]
    )
    with warnings.catch_warnings(record=True) as lost:  # as an error, the parser would take it for another value's
        warnings.simplefilter("always")
        cli.parser.dump(cli.config, skip_none=False)  # what a run records
    assert not lost
    own = [one for one in cast(Any, cli.trainer).callbacks if type(one).__module__.startswith("spiritlm_pl")]
    ForkingPickler.dumps([*own, cli.datamodule])  # as ddp_spawn does from Python


@pytest.mark.parametrize("part", PARTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_part_of_a_trainer_is_built(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        f"--config={find_config('lm/base_quickstart')}",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
    ]
    cli = build(
        monkeypatch,
        *given,
        {
            "callbacks": f"--trainer.callbacks=[{part}]",
            "logger": f"--trainer.logger={part}",
            "strategy": f"--trainer.strategy={part}",
        }[part.parent.name],
    )
    described = yaml.safe_load(part.read_text(encoding="utf-8"))
    built = [*cast(Any, cli.trainer).callbacks, *cli.trainer.loggers, cli.trainer.strategy]
    assert class_names(described) <= kinds(built)
    assert described is not False or not cli.trainer.loggers


def test_every_config_says_how_it_is_run() -> None:
    for path in config_folder().rglob("*.yaml"):
        if "parts" not in path.parts:
            first = path.read_text().splitlines()[0]
            assert first.startswith("# spiritlm "), f"{path} must open with the command that runs it"
