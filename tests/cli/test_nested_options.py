"""Misspelt options of classes within classes: the nearest one is named, with its place."""

import re
from argparse import ArgumentError
from dataclasses import dataclass
from pathlib import Path

import pytest

from spiritlm_pl.cli.parser import command_parser, run_command


@dataclass
class Shape:
    """Data class within another class."""

    layers: int = 2


class Inner:
    """Class within another class."""

    def __init__(self, rate: float = 1.0) -> None: ...


class Outer:
    """Class that a configuration names."""

    def __init__(self, inner: Inner | None = None, shape: Shape = Shape(), steps: int = 1) -> None: ...  # noqa: B008


def test_help_shows_options_of_a_data_class_as_those_beside_it() -> None:
    def build(shape: Shape = Shape(), width: int = 3) -> None:  # noqa: B008
        """Do something.

        Args:
            shape: what is built.
            width: number of columns.
        """

    told = " ".join(command_parser(build, "spiritlm do").format_help().split())
    assert "--width N number of columns (default: 3)" in told
    assert "--shape.layers N" in told and "(default: 2)" in told and "(type: int" not in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--part.init_args.stepz=3"], "--part.init_args.stepz is not .*Outer; did you mean --part.init_args.steps[?]"),
        (["--part.stepz=3"], "--part.stepz is not an option of .*Outer; did you mean --part.steps[?]"),
        (["--part.init_args.iner.rate=3"], "did you mean --part.init_args.inner.rate[?]"),
        (["--part.init_args.shape.layerz=3"], "did you mean --part.init_args.shape.layers[?]"),
        (["--part.init_arg.steps=3"], "did you mean --part.init_args.steps[?]"),
        (
            [f"--part.init_args.inner={__name__}.Inner", "--part.init_args.inner.init_args.rat=3"],
            "--part.init_args.inner.init_args.rat is .*Inner; did you mean --part.init_args.inner.init_args.rate[?]",
        ),
        (["--part.init_args.zzz=3"], "--part.init_args.zzz is not .*Outer; it has inner, .*steps"),
    ],
)
def test_the_nearest_option_of_a_class_is_named_with_its_place(words: list[str], message: str) -> None:
    def build(part: Outer | None = None) -> None:
        """Do something.

        Args:
            part: what the configuration names.
        """

    parser = command_parser(build, "spiritlm do")
    with pytest.raises(ArgumentError, match=message) as raised:
        run_command(build, parser, [f"--part={__name__}.Outer", *words])
    assert "\n" not in str(raised.value)


def test_an_option_of_a_class_is_named_where_a_file_has_it(tmp_path: Path) -> None:
    def build(part: Outer | None = None) -> None:
        """Do something.

        Args:
            part: what the configuration names.
        """

    (tmp_path / "own.yaml").write_text(f"part: {{class_path: {__name__}.Outer, init_args: {{stepz: 2}}}}")
    with pytest.raises(ArgumentError, match="stepz is not an option of .*Outer; did you mean steps[?]"):
        run_command(build, command_parser(build, "spiritlm do"), ["--config", str(tmp_path / "own.yaml")])


class Variant(Outer):
    """Class of a list's item; the parser tries the type of all items, too."""


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "--parts.0.init_args.steps=3",
            "--parts.0.init_args.steps is not an option of spiritlm do; --parts.init_args.steps changes the last item "
            "of a list, and another one is changed in a file that has the whole list, given as a further --config",
        ),
        ("--parts[1].steps=3", "--parts[1].steps is not an option of spiritlm do; --parts.steps changes the last"),
        (
            "--names.0=x",
            "--names.0 is not an option of spiritlm do; a list is given as a whole, as in --names '[a, b]'",
        ),
        ("--parts.stepz=3", f"--parts.stepz is not an option of {__name__}.Variant; did you mean --parts.steps?"),
        ("--count.x=3", "--count.x is not an option of spiritlm do; did you mean --count?"),
    ],
)
def test_what_reaches_an_item_of_a_list_is_told(word: str, message: str) -> None:
    def build(parts: list[Outer] | Outer | None = None, names: list[str] | None = None, count: int = 1) -> None:
        """Do something.

        Args:
            parts: what the configuration names.
            names: some names.
            count: a number.
        """

    parser = command_parser(build, "spiritlm do")
    with pytest.raises(ArgumentError, match=re.escape(message)):
        run_command(build, parser, [f"--parts=[{{class_path: {__name__}.Variant}}]", word])
