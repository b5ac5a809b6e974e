"""Output of the evaluation commands: JSON, tables, progress bars and audio."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rich.console import Console
from rich.progress import track

from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.storage.places import is_url

if TYPE_CHECKING:
    from torch import Tensor

    from spiritlm_pl.evaluation.tables import Figures

BESIDE = (".md", ".png", "")  # endings of tables, pictures and their folder, which are written beside a report
EXAMPLES = 4  # number of utterances of which audio and plots are written
Split = Literal["train", "validation", "test"]
Item = TypeVar("Item")


def check_reports(**files: str | Path | None) -> None:
    """Check before anything is measured that files can be written, so that nothing that was measured is lost.

    Args:
        files: paths by the names of the arguments that give them; None for a file that is not wanted.

    Raises:
        ValueError: if one is a folder or an address of object storage, lies where nothing can be written, has no ending
            or that of a table or a picture, which are written beside it, or is given twice.
    """
    given = {name: Path(file) for name, file in files.items() if file is not None}
    for name, path in given.items():
        if is_url(files[name]) or path.is_dir():
            what = "an address" if is_url(files[name]) else "a folder"
            raise ValueError(f"{name} must be a local file, but {files[name]} is {what}")
        if path.suffix.lower() in BESIDE:
            raise ValueError(
                f"{name} must have an ending such as .json, and none of what stands beside it, but is {files[name]}"
            )
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            what = "cannot be written to" if above.is_dir() else "is no folder"
            raise ValueError(f"{name} must be a file that can be written, but is {files[name]}, and {above} {what}")
    if len({path.absolute() for path in given.values()}) < len(given):
        raise ValueError(f"{' and '.join(given)} must be different files, but are one")


def write_report(out: str, values: dict[str, Any]) -> None:
    """Write measured values as JSON."""
    with atomic_path(Path(out)) as path:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_table(out: str, table: "Figures") -> None:
    """Print a table, and write it beside the JSON file as Markdown."""
    with atomic_path(Path(out).with_suffix(".md")) as path:
        path.write_text(table.markdown(), encoding="utf-8")
    table.show()


def followed(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    """Iterate over items with a progress bar."""
    return track(items, what, total=total, console=Console(stderr=True))


def save_wavs(folder: Path, name: str, waveforms: Mapping[str, "Tensor"], sample_rate: int) -> None:
    """Write waveforms (S,) as `<name>_<title>.wav`."""
    from spiritlm_pl.corpora.audio import save_wav

    for title, waveform in waveforms.items():
        save_wav(folder / f"{plain_name(name)}_{plain_name(title)}.wav", waveform, sample_rate)
