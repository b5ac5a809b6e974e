"""Plan of a build: which tasks read which inputs, and by what an interrupted build knows that it is still the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.blocks import stream_folder
from spiritlm_pl.data.build_tasks import BuildSettings, Input, Task, TextPiece, UnitPart
from spiritlm_pl.data.corpus_store import MANIFEST, UnitCorpus
from spiritlm_pl.storage.places import Place, place

FORMAT = 1  # of runs and records; another number if a later version makes others of the same inputs
SMALLEST_TASK, LARGEST_TASK = 1 << 20, 1 << 26  # bytes of input
WANTED_TASKS = 64


def plan_tasks(
    corpora: Mapping[str, Sequence[UnitCorpus]], texts: Mapping[str | None, TextSource], wanted: int = WANTED_TASKS
) -> list[Task]:
    """Divide inputs into tasks of about equal size, which depend on the inputs alone.

    Args:
        corpora: tokenised corpora by split.
        texts: sources of texts by name; None is the name of the source without one.
        wanted: number of tasks, if these are not too small or too large to be worth a process and to fit in memory.
    """
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
    for split, members in corpora.items():
        for corpus in members:
            for part, file in enumerate(corpus.manifest["files"]):
                yield UnitPart(number, file["bytes"], str(corpus.folder.parent), split, part)
                number += 1
    for name, source in texts.items():
        for piece in source.pieces(piece_bytes):
            size = piece.file.size if piece.end is None and not piece.begin else piece_bytes
            yield TextPiece(number, size, stream_folder("text", name), piece, source.options)
            number += 1


def identity_of(settings: BuildSettings, tasks: Sequence[Task], fingerprint: str, **others: Any) -> str:
    """Hash all that the results of a build depend on.

    Args:
        settings: settings of the tasks.
        tasks: tasks with their inputs; corpora count by the checksums of their manifests, texts by name, size and time
            of their files.
        fingerprint: fingerprint of the text tokenizer.
        others: further settings, as JSON values.
    """
    digest = sha256(json.dumps([FORMAT, fingerprint, others, settings.vocabulary.to_dict()]).encode())
    digest.update(repr((settings.splits, settings.transcripts, settings.text_validation, settings.seed)).encode())
    corpora: dict[Place, str] = {}
    for task in tasks:
        for one in task.inputs:
            digest.update(f"{task.number} {one.number} {one.size}".encode())
            if isinstance(one, UnitPart):
                path = place(one.folder) / one.split / MANIFEST
                corpora[path] = corpora.get(path) or sha256(path.read_bytes()).hexdigest()
                digest.update(f"{corpora[path]} {one.split} {one.part}".encode())
            else:
                file = one.piece.file
                changed = file.path.stat().st_mtime_ns
                where = (one.stream, one.options, one.piece.begin, one.piece.end)
                digest.update(f"{file.name} {file.size} {changed} {where!r}".encode())
    return digest.hexdigest()
