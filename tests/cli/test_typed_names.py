"""Messages name arguments as they are typed: options of a command, settings of a trainer's configuration."""

import pytest

from spiritlm_pl.cli.typed_names import settings_of, settings_spelt, spelt

OPTIONS = {name: f"--{name.replace('_', '-')}" for name in ("speaker", "test_fraction", "validation_fraction", "text")}
OPTIMIZER = {"optimizer": {"class_path": "a.Adam", "init_args": {"lr": 1e-3, "groups": {"lr": 1e-4}, "eps": 1e-8}}}
CONFIG = {
    "model": {
        "class_path": "modules.VocoderModule",
        "init_args": {"network": {"checkpoint": "a", "seed": 1}, "seed": 0, **OPTIMIZER},
    },
    "data": {"class_path": "data.UnitWaveformDataModule", "init_args": {"corpora": ["a"], "units": ["b"], "seed": 0}},
    "trainer": {
        "precision": "16",
        "callbacks": [
            {"class_path": "callbacks.GenerateSamples", "init_args": {"speaker": "ann"}},
            {"class_path": "callbacks.WriteUnits", "init_args": {"folder": "units"}},
        ],
    },
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("speaker must be one of ann", "--speaker must be one of ann"),
        ("vocoder 'x' does not fit: speaker must be ann", "vocoder 'x' does not fit: --speaker must be ann"),
        ("own.yaml: text must be given", "own.yaml: text must be given"),  # fields of files, not options
        ("line 3 of own.tsv: speaker must be one word", "line 3 of own.tsv: speaker must be one word"),
        (
            "validation_fraction + test_fraction must be below 1, but is 2",
            "--validation-fraction + --test-fraction must be below 1, but is 2",
        ),
        ("text and speaker must be given", "--text and --speaker must be given"),
        ("text tokenizer must be there: text must be", "text tokenizer must be there: text must be"),
        ("text and other must be given", "text and other must be given"),
        ("no such file", "no such file"),
    ],
)
def test_a_rule_names_options(message: str, expected: str) -> None:
    assert spelt(message, OPTIONS) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("corpora must be there", "--data.init_args.corpora must be there"),
        ("precision must be 32-true", "--trainer.precision must be 32-true"),
        ("speaker must be one of bob", "speaker of the callback GenerateSamples must be one of bob"),
        ("folder must be another", "--trainer.callbacks.init_args.folder must be another"),
        ("seed must be at least 0", "seed must be at least 0"),  # of the model or of the data
        ("network.seed must be at least 0", "--model.init_args.network.seed must be at least 0"),
        ("checkpoint must be whole", "checkpoint must be whole"),  # perhaps that of --ckpt-path
        ("network.checkpoint must be there", "--model.init_args.network.checkpoint must be there"),
        ("eps must be below 1", "--model.init_args.optimizer.init_args.eps must be below 1"),
        ("lr must be above 0", "lr must be above 0"),  # of the optimizer or of its groups
        ("optimizer.lr must be above 0", "--model.init_args.optimizer.init_args.lr must be above 0"),
        ("trainer.precision must be 32-true", "--trainer.precision must be 32-true"),
        ("data.units must be there", "--data.init_args.units must be there"),
        ("model.init_args.network must be new", "--model.init_args.network must be new"),
    ],
)
def test_a_rule_names_settings(message: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught, settings_spelt(CONFIG):
        raise ValueError(message)
    assert str(caught.value) == expected


def test_a_configuration_may_lack_parts() -> None:
    trainer = {"callbacks": "--trainer.callbacks", "trainer.callbacks": "--trainer.callbacks"}
    assert settings_of({"model": None, "trainer": {"callbacks": None}}) == trainer
    one = {"trainer": {"callbacks": {"class_path": "a.B", "init_args": {"units": "u"}}}}
    assert settings_of(one)["units"] == "--trainer.callbacks.init_args.units"
    assert settings_of({"trainer": {"callbacks": []}}) == trainer
    assert "units" not in settings_of({"trainer": {"callbacks": [*[one["trainer"]["callbacks"]] * 2]}})
