"""A miniature: what is to be recorded and the tables beside it, written whole or not at all."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile
from torch import Tensor

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.measures import Measured, measure, pair_lines
from spiritlm_pl.benchmarks.make.speaking import say, to_level
from spiritlm_pl.benchmarks.make.treatments import Joined, Treatment
from spiritlm_pl.corpora.audio import SAMPLE_RATE, save_wav, to_int16
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.synthetic.spoken import SYNTHESIZER
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.parallel import parallel_map
from spiritlm_pl.runtime.provenance import code_version

INDEX = "index.json"
TABLE = "recordings.csv"


@dataclass(frozen=True)
class Part:
    """A text and the voice that says it."""

    text: str
    voice: Voice


@dataclass(frozen=True)
class Recording:
    """One file of audio.

    Attributes:
        file: path of the file below the benchmark's folder.
        parts: texts that are said in it.
        labels: what the benchmark knows of it, for the table of recordings.
        treatment: what is done with the speech.
        pair: name that the files of a pair share; empty if it is in no pair.
        correct: whether it is the right one of its pair.
        instruction: how a person would have to record it; empty for plain reading.
    """

    file: str
    parts: tuple[Part, ...]
    labels: Labels = field(default_factory=dict)
    treatment: Treatment = Joined()  # noqa: RUF009 - frozen
    pair: str = ""
    correct: bool = True
    instruction: str = ""

    @property
    def text(self) -> str:
        """Text that is said in the file."""
        return " ".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Miniature:
    """A benchmark before it is written.

    Attributes:
        kind: kind of benchmark, such as "swuggy".
        recordings: files of audio.
        files: contents of the text files, by their paths below the benchmark's folder.
        index: subsets to be added to `index.json`; empty for none.
        notes: sentences for the README: where words and texts come from, and what was left out.
    """

    kind: str
    recordings: Sequence[Recording]
    files: Mapping[str, str]
    index: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def entries(self) -> list[str]:
        """Names of the files and folders that it has at the top."""
        return sorted({path.partition("/")[0] for path in [*self.files, *(one.file for one in self.recordings)]})


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Write rows as a table with commas; None becomes an empty field.

    Args:
        rows: rows by their column names.
        columns: columns in their order; None for all that occur.
    """
    stream = io.StringIO()
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as JSON, one object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_miniature(
    out: str | Path, miniature: Miniature, *, arguments: Mapping[str, Any], text_only: bool, num_jobs: int | None
) -> list[str]:
    """Write a miniature; nothing of it is left after an error.

    Args:
        out: folder to write to, in which other benchmarks may lie.
        miniature: what to write.
        arguments: values that it was made with, for its README.
        text_only: whether to write the tables only, and no audio.
        num_jobs: number of processes; None for one a core.

    Returns:
        What the README says of the sizes and of the pairs, line by line.

    Raises:
        FileExistsError: if the folder already holds a file or folder that would be written.
    """
    out = Path(out)
    index = _read_index(out / INDEX)
    readme, table = f"README-{miniature.kind}.md", f"{miniature.kind}-{TABLE}"
    with _staged(out, [*miniature.entries, readme, table]) as folder:
        (folder / table).write_text(as_csv([_row(one) for one in miniature.recordings]), encoding="utf-8")
        if text_only:
            lines = [f"{len(miniature.recordings)} recordings to make, listed in {table}"]
        else:
            lines = _speak(folder, miniature.recordings, num_jobs)
        for path, content in miniature.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
        (folder / readme).write_text(_readme(miniature, arguments, lines, text_only), encoding="utf-8")
    if miniature.index:
        index["subsets"] = index.get("subsets", {}) | dict(miniature.index)
        (out / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return lines


@contextmanager
def _staged(out: Path, entries: Sequence[str]) -> Iterator[Path]:
    """Give a folder to write to, whose entries are moved to `out` if no error occurs."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out must be a folder, but {out} is a file instead")
    for entry in entries:
        if (out / entry).exists():
            raise FileExistsError(f"out must be without {entry}, but {out} has it: remove it or choose another folder")
    try:
        with temporary_folder(out / entries[0]) as folder:
            yield folder
            for made in sorted(folder.iterdir()):
                made.rename(out / made.name)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("nothing was written, run the same command again") from interrupt


def _speak(folder: Path, recordings: Sequence[Recording], num_jobs: int | None) -> list[str]:
    jobs = [(folder, one) for one in recordings]
    measured = list(parallel_map(make_recording, jobs, num_jobs, "speaking"))
    minutes = sum(one.seconds for one in measured) / 60
    peak = max(one.peak for one in measured)
    return [f"{len(measured)} recordings, {minutes:.1f} minutes, highest peak {peak:.2f}", *pair_lines(measured)]


def make_recording(job: tuple[Path, Recording]) -> Measured:
    """Say a recording and store it below a folder, at 16 kHz."""
    folder, recording = job
    waveform = to_level(recording.treatment([say(part.text, part.voice) for part in recording.parts]))
    path = folder / recording.file
    if path.suffix == ".flac":
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, to_int16(waveform).numpy(), SAMPLE_RATE)
    else:
        save_wav(path, waveform)
    return _measured(recording, waveform)


def _measured(recording: Recording, waveform: Tensor) -> Measured:
    return measure(recording.pair, recording.correct, waveform)


def _row(recording: Recording) -> dict[str, Any]:
    voices = " then ".join(dict.fromkeys(part.voice.name for part in recording.parts))
    row = {"file": recording.file, "text": recording.text, "speaker": voices, "how": recording.instruction}
    return row | {name: value for name, value in recording.labels.items() if name not in row}


def _readme(miniature: Miniature, arguments: Mapping[str, Any], lines: Sequence[str], text_only: bool) -> str:
    source = (
        "The audio is still to be recorded."
        if text_only
        else f"The speech is synthetic: made by {SYNTHESIZER} (a GPL-3.0-or-later program; its output is free of it)."
    )
    told = [f"- {line}" for line in [*lines, *miniature.notes]]
    return "\n".join(
        [
            f"# Miniature of a benchmark: {miniature.kind}",
            "",
            f"{source} It is no part of the published benchmark of this layout, and its figures cannot be compared",
            "with published ones.",
            "",
            *told,
            "",
            f"Made by `spiritlm prepare benchmark` ({code_version()}) with:",
            "",
            "```json",
            json.dumps(dict(arguments), ensure_ascii=False, indent=1),
            "```",
            "",
        ]
    )


def _read_index(path: Path) -> dict[str, Any]:
    """Read the index that another benchmark has left in the folder."""
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, but is not ({error}): remove it or choose another folder") from error
    if not isinstance(index, dict) or not isinstance(index.get("subsets", {}), dict):
        raise ValueError(f"{path} must hold subsets by their names, but holds other values: choose another folder")
    return index
