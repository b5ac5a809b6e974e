"""Plan of a build: which tasks read which inputs, and by what an interrupted build knows that it is still the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.blocks import stream_folder
from spiritlm_pl.data.build_tasks import BuildSettings, Input, Task, TextPiece, UnitPart
from spiritlm_pl.data.unit_corpus import UnitCorpus

FORMAT = 4  # of runs and records; another number if a later version makes others of the same inputs
SMALLEST_TASK, LARGEST_TASK = 1 << 23, 1 << 26  # bytes of input
WANTED_TASKS = 64


@dataclass(frozen=True)
class BuildPlan:
    """Work of a build.

    Attributes:
        tasks: tasks, which depend on the inputs alone.
        identity: hash of all that the results depend on.
    """

    tasks: tuple[Task, ...]
    identity: str


def plan_build(
    settings: BuildSettings,
    corpora: Mapping[str, Sequence[UnitCorpus]],
    texts: Mapping[str | None, TextSource],
    fingerprint: str,
    **others: Any,
) -> BuildPlan:
    """Divide the inputs of a build into tasks of about equal size.

    Args:
        settings: settings of the tasks.
        corpora: tokenised corpora by split; they count by the checksums of their manifests.
        texts: sources of texts by name, None for the source without one; they count by name, size and time of their
            files.
        fingerprint: fingerprint of the text tokenizer.
        others: further settings that the results depend on, as JSON values.
    """
    tasks = tuple(_tasks(corpora, texts))
    manifests = [[split, corpus.manifest_sha256] for split, members in corpora.items() for corpus in members]
    return BuildPlan(tasks, _identity(settings, tasks, [FORMAT, fingerprint, others, manifests]))


def _tasks(
    corpora: Mapping[str, Sequence[UnitCorpus]], texts: Mapping[str | None, TextSource], wanted: int = WANTED_TASKS
) -> list[Task]:
    """Divide inputs into so many tasks, if these are not too small to be worth a process or too large for memory."""
    total = sum(file["bytes"] for members in corpora.values() for one in members for file in one.manifest["files"])
    total += sum(file.size for source in texts.values() for file in source.files)
    task_bytes = min(LARGEST_TASK, max(SMALLEST_TASK, total // wanted))
    tasks: list[Task] = []
    inputs: list[Input] = []
    size = 0
    for one in _inputs(corpora, texts, task_bytes):
        inputs.append(one)
        size += one.size
        if size >= task_bytes:
            tasks.append(Task(len(tasks), tuple(inputs)))
            inputs, size = [], 0
    return [*tasks, Task(len(tasks), tuple(inputs))] if inputs else tasks


def _inputs(
    corpora: Mapping[str, Sequence[UnitCorpus]], texts: Mapping[str | None, TextSource], piece_bytes: int
) -> Iterator[Input]:
    number = 0
    numbers: dict[str, int] = {}
    for split, members in corpora.items():
        for corpus in members:
            folder = str(corpus.folder.parent)
            own = numbers.setdefault(folder, len(numbers))
            for part, file in enumerate(corpus.manifest["files"]):
                yield UnitPart(number, file["bytes"], folder, split, part, own)
                number += 1
    for name, source in texts.items():
        for piece in source.pieces(piece_bytes):
            size = piece.file.size if piece.end is None and not piece.begin else piece_bytes
            yield TextPiece(number, size, stream_folder("text", name), piece, source.options)
            number += 1


def _identity(settings: BuildSettings, tasks: Sequence[Task], others: Sequence[Any]) -> str:
    digest = sha256(json.dumps([*others, settings.vocabulary.to_dict()]).encode())
    digest.update(repr((settings.splits, settings.transcripts, settings.text_validation, settings.seed)).encode())
    for task in tasks:
        for one in task.inputs:
            digest.update(f"{task.number} {one.number} {one.size}".encode())
            if isinstance(one, UnitPart):
                digest.update(f"{one.corpus} {one.split} {one.part}".encode())
            else:
                file = one.piece.file
                where = (one.stream, one.options, one.piece.begin, one.piece.end)
                digest.update(f"{file.name} {file.size} {file.changed} {where!r}".encode())
    return digest.hexdigest()
