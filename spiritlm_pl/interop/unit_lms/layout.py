"""Ids of a language model of units alone, as others lay them out.

Two layouts are told by the files of a model's folder. slamkit writes `tokeniser_config.json`: its special tokens come
first, the units follow the highest of them, and one token both begins and ends a document. TWIST has `offset` in
`config.json`, the id of the first unit; its documents have neither a begin nor an end. Any other layout is given by
the user, since a wrong one would give scores that look like right ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.model_description import CONFIG_FILE
from spiritlm_pl.streams import UNIT, Stream, spirit_lm_streams
from spiritlm_pl.vocabulary import Vocabulary

SLAMKIT_FILE, TWIST_KEY = "tokeniser_config.json", "offset"
WRAPPER = "speech_language_model"  # model type of slamkit, a model of `transformers` under another name
EXAMPLE = "'{first_unit: 2, num_units: 500, begin: 1, end: 1}'"


@dataclass(frozen=True, kw_only=True)
class UnitLayout:
    """Ids of a language model of units alone.

    Args:
        first_unit: id of the first unit; the others follow it.
        num_units: number of units, which is that of the speech tokenizer.
        begin: id that opens every document; None for none, and then the first unit of a document is never scored.
        end: id that ends every document; None for none.
        deduplicated: whether the model was trained on units of which equal neighbours are one.

    Raises:
        ValueError: if a value is out of its range.
    """

    first_unit: int
    num_units: int
    begin: int | None = None
    end: int | None = None
    deduplicated: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, lowest in (("first_unit", 0), ("num_units", 1), ("begin", 0), ("end", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole and value >= lowest) and not (value is None and name in ("begin", "end")):
                raise ValueError(f"{name} of a unit layout must be a number from {lowest} on, but is {value!r} instead")
        if not isinstance(self.deduplicated, bool):
            raise ValueError(f"deduplicated of a unit layout must be true or false, but is {self.deduplicated!r}")

    @classmethod
    def given(cls, values: Mapping[str, Any] | Path) -> "UnitLayout":
        """Make a layout of what a user gives.

        Args:
            values: values by name, or a YAML file with them.

        Raises:
            ValueError: if a value is missing, unknown or out of its range, or the file cannot be read.
            FileNotFoundError: if there is no such file.
        """
        if isinstance(values, Path):
            if not values.is_file():
                raise FileNotFoundError(f"--unit-layout must be {EXAMPLE}, or a YAML file, but {found_at(values)}")
            try:
                read = yaml.safe_load(values.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise ValueError(f"--unit-layout must be a YAML file, but {values} cannot be read: {error}") from error
            if not isinstance(read, dict):
                raise ValueError(f"--unit-layout must be as {EXAMPLE}, but {values} holds {read!r}")
            values = read
        known = [field.name for field in fields(cls)]
        unknown = [str(name) for name in values if name not in known]
        lacking = [name for name in known[:2] if name not in values]
        if unknown or lacking:
            what = f"has {', '.join(unknown)}" if unknown else f"lacks {', '.join(lacking)}"
            raise ValueError(f"--unit-layout must be as {EXAMPLE}, with {', '.join(known)}, but {what}")
        return cls(**values)

    def vocabulary(self, num_rows: int) -> Vocabulary:
        """Return the vocabulary of a model.

        Args:
            num_rows: number of rows of the model's embedding.

        Raises:
            ValueError: if the embedding has no room for the units, or a special token is one of them.
        """
        if self.first_unit + self.num_units > num_rows:
            raise ValueError(
                f"units [{self.first_unit}, {self.first_unit + self.num_units}) must be below the {num_rows} rows of "
                "the model's embedding, but are not: other ids are given by --unit-layout"
            )
        streams = spirit_lm_streams(self.num_units)
        if not self.deduplicated:
            streams = (Stream(name=UNIT, prefix="Hu", size=self.num_units, deduplicated=False, order=2),)
        return Vocabulary(
            num_text=self.first_unit,
            streams=streams,
            multiple_of=num_rows,
            begin_of_document=self.begin,
            end_of_document=self.end,
            speech_alone=True,
        )


def find_layout(folder: Path, config: dict[str, Any], num_rows: int) -> UnitLayout:
    """Tell the layout of a model by the files of its folder.

    Args:
        folder: folder of the model.
        config: values of its `config.json`.
        num_rows: number of rows of its embedding.

    Raises:
        ValueError: if the folder is neither of slamkit nor of TWIST, or its file is damaged.
    """
    if (folder / SLAMKIT_FILE).is_file():
        return _slamkit(read_object(folder / SLAMKIT_FILE), folder / SLAMKIT_FILE)
    if config.get("model_type") != WRAPPER and isinstance(config.get(TWIST_KEY), int):
        first = config[TWIST_KEY]
        return UnitLayout(first_unit=first, num_units=num_rows - first)  # compared with the speech tokenizer's number
    raise ValueError(
        f"language model must have spiritlm.json (ours), {SLAMKIT_FILE} (slamkit) or {TWIST_KEY!r} in {CONFIG_FILE} "
        f"(TWIST), but {folder} has none: give the ids of another model of units by --unit-layout {EXAMPLE}"
    )


def _slamkit(values: dict[str, Any], path: Path) -> UnitLayout:
    """Lay out slamkit's ids: units after the highest special token, which is begin and end at once or padding."""
    try:
        special = values["bos_eos_token_id"], values["pad_token_id"]
        return UnitLayout(
            first_unit=max(special) + 1,
            num_units=values["num_units"],
            begin=special[0],
            end=special[0],
            deduplicated=values["dedup"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must have the numbers bos_eos_token_id, pad_token_id and num_units and the switch dedup, as that "
            f"of slamkit's units, but has not ({error}): give the ids by --unit-layout {EXAMPLE}"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: if the file holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, but cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, but holds {found!r}")
    return found
