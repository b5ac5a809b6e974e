"""Plan of a build: which tasks read which inputs, and by what an interrupted build knows that it is still the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.blocks import stream_folder
from spiritlm_pl.data.build_tasks import BuildSettings, Input, Task, TextPiece, UnitPart
from spiritlm_pl.data.corpus_store import UnitCorpus

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
    for one in _inputs(corpora, texts, task_bytes):
        inputs.append(one)
        if sum(member.size for member in inputs) >= task_bytes:
            tasks.append(Task(len(tasks), tuple(inputs)))
            inputs = []
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
        tasks: tasks with their inputs; corpora count by the checksums of their parts, texts by size and time of files.
        fingerprint: fingerprint of the text tokenizer.
        others: further settings, as JSON values.
    """
    digest = sha256(json.dumps([FORMAT, fingerprint, others, settings.vocabulary.to_dict()]).encode())
    digest.update(repr((settings.splits, settings.transcripts, settings.text_validation, settings.seed)).encode())
    for task in tasks:
        for one in task.inputs:
            digest.update(repr(one).encode())
            path = Path(one.folder) / one.split / "manifest.json" if isinstance(one, UnitPart) else one.piece.file.path
            state = path.stat()
            digest.update(f"{task.number} {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()
