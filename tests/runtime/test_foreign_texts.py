"""Every text of another library that is read here is raised by that library as it is now."""

import logging
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from pydantic import BaseModel, Field, ValidationError, field_validator
from torch.utils.data import DataLoader

from spiritlm_pl.cli.main import told
from spiritlm_pl.cli.training import _is_no_advert, run_trainer
from spiritlm_pl.runtime import foreign_texts
from spiritlm_pl.runtime.foreign_texts import (
    ADVERT,
    AFTER_STEP,
    MISSING,
    OF_NONE,
    OTHER_TYPE,
    OWN_CODE,
    OWN_MESSAGE,
    PARSER_DETAILS,
    RULE_BEGINS,
    RULE_ENDS,
    UNKNOWN_IN_CLASS,
    UNKNOWN_KEY,
    WRONG_VALUE,
)


@dataclass
class Yin:
    """One of two classes that a value may be meant for."""

    longest: int = 1

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ValueError(f"longest must be at least 1, but is {self.longest} instead")


class Network:
    """The other one."""

    def __init__(self, folder: str) -> None:
        self.folder = folder


def test_details_of_the_parser() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--f0", type=Yin | Network | None)
    with pytest.raises(Exception) as error:  # noqa: PT011  of the type that the parser raises
        parser.parse_object({"f0": {"longest": "many"}})
    lines = [line.strip().removeprefix("- ") for line in str(error.value).splitlines()]
    for detail in PARSER_DETAILS:
        assert any(line.startswith(detail) or f": {detail}" in line for line in lines), (detail, lines)
    said = told(error.value)
    assert "\n" not in said and not any(detail in said for detail in PARSER_DETAILS)


@pytest.mark.parametrize(
    "words", [["--network.init_args.foldr=x"], ["--network={class_path: KIND, init_args: {foldr: x}}"]]
)
def test_an_option_that_a_class_lacks(words: list[str]) -> None:
    kind = f"{__name__}.Network"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=Network | None)
    with pytest.raises(ArgumentError) as error:
        parser.parse_args([f"--network={kind}", *(word.replace("KIND", kind) for word in words)])
    text = str(error.value)
    found = UNKNOWN_IN_CLASS.search(text)
    assert found is not None and found["kind"] == kind and (found["named"] or found["named_at"]) == "foldr", text
    assert OF_NONE in text


def test_a_value_that_an_argument_cannot_have() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--row_length", type=int)
    with pytest.raises(ArgumentError) as error:
        parser.parse_args(["--row_length=long"])
    found = WRONG_VALUE.match(str(error.value))
    assert found is not None and (found["key"], found["value"]) == ("row_length", "long")


def test_a_key_that_no_option_has() -> None:
    parser, sub = (ArgumentParser(exit_on_error=False) for _ in range(2))
    sub.add_argument("--rate", type=int)
    sub.add_argument("--config", action="config")
    parser.add_subcommands().add_subcommand("fit", sub)
    for words, one in ((["fit"], parser), ([], sub)):
        with pytest.raises(ArgumentError) as error:
            one.parse_args([*words, "--config", "{a: {b: 1}}"])
        found = UNKNOWN_KEY.match(str(error.value))
        assert found is not None and found["key"] == "a.b", str(error.value)


def test_arguments_that_are_missing() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("first")
    parser.add_argument("second")
    with pytest.raises(ArgumentError) as error:
        parser.parse_args([])
    assert str(error.value) == f"{MISSING}first, second"


def test_an_argument_of_another_class() -> None:
    with pytest.raises(TypeError, match=OTHER_TYPE):
        Network(longest=3)  # type: ignore[call-arg]


def test_the_advert_is_told_by_lightning_and_by_nobody_here(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("lightning.pytorch.utilities.rank_zero"), "filters", [])  # of tests before
    with caplog.at_level(logging.INFO):
        Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    adverts = [record for record in caplog.records if ADVERT in record.getMessage()]
    assert adverts and not any(map(_is_no_advert, adverts))


def load() -> None:
    CombinedLoader([[1]], "sequential")


class Stepping(LightningModule):
    """Module that steps its optimizer itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: torch.Tensor) -> None:
        """Do one step."""
        optimizer: Any = self.optimizers()
        optimizer.step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build one."""
        return torch.optim.SGD(self.parameters(), 0.1)


def step() -> None:
    with TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        saving = ModelCheckpoint(folder, every_n_train_steps=1)
        trainer = Trainer(accelerator="cpu", max_steps=1, log_every_n_steps=1, callbacks=[saving], **settings)
        trainer.fit(Stepping(), DataLoader(torch.zeros(1)))  # type: ignore[arg-type]  # which is a dataset, too


@pytest.mark.parametrize(("text", "make"), [(OWN_CODE, load), (AFTER_STEP, step)])
def test_a_warning_that_is_not_for_users_is_told_by_its_library_and_by_no_trainer_command(
    text: str, make: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make()
        assert any(str(warning.message).startswith(text) for warning in told)
        told.clear()
        monkeypatch.setattr("spiritlm_pl.cli.training.SpiritCLI", lambda *given, **named: make())
        monkeypatch.setattr(sys, "argv", sys.argv)
        run_trainer(["fit"])
    assert not any(str(warning.message).startswith(text) for warning in told)


class Request(BaseModel):
    """What a client sends."""

    number: int = Field(1, ge=1)
    items: list[int] = Field([1], min_length=1)
    name: str = ""

    @field_validator("name")
    @classmethod
    def _check(cls, value: str) -> str:
        if value:
            raise ValueError("must be empty, but is not")
        return value


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ({"number": 0}, [RULE_BEGINS]),
        ({"items": []}, [RULE_BEGINS, RULE_ENDS]),
        ({"number": "x"}, [RULE_BEGINS]),
        ({"name": "x"}, [OWN_MESSAGE]),
    ],
)
def test_rules_of_requests(given: dict[str, object], texts: list[str]) -> None:
    with pytest.raises(ValidationError) as error:
        Request.model_validate(given)
    (found,) = error.value.errors()
    assert all(text in found["msg"] for text in texts), found["msg"]


def test_all_are_tried() -> None:
    tried = {"PARSER_DETAILS", "WRONG_VALUE", "OTHER_TYPE", "ADVERT", "RULE_BEGINS", "RULE_ENDS", "OWN_MESSAGE"}
    tried |= {"OF_NONE", "UNKNOWN_IN_CLASS", "OWN_CODE", "AFTER_STEP", "MISSING", "UNKNOWN_KEY"}
    assert {name for name in vars(foreign_texts) if name.isupper()} == tried
