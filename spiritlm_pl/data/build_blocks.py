"""Building of training blocks from unit shards and text: one folder for each split and stream.

- speech: every utterance with units.
- aligned: every utterance with units and word times. A token belongs to the word in which its unit or code starts.
  Tokens before the first word go to the first word, and those of a pause to the word before it.
- text: documents of text files, and the transcripts of the corpora. Sources of texts that have names give a stream
  each, text-NAME.

Every document ends with the text tokenizer's end token, and may open with its begin token. The vocabulary of the blocks
records both, and the tokens are inserted when documents are cut into rows.

Documents are shuffled once over all blocks, by a hash of their ids and the seed. Inputs are read in tasks, and blocks
are made of what the tasks have sorted; both in any number of processes and machines, with the same result, and an
interrupted build goes on.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.block_vocabulary import block_vocabulary
from spiritlm_pl.data.blocks import (
    MANIFEST,
    STREAM_KINDS,
    TEXT_FINGERPRINT,
    read_manifest,
    stream_folder,
    write_manifest,
)
from spiritlm_pl.data.build_plan import identity_of, plan_tasks
from spiritlm_pl.data.build_tasks import BuildSettings, run_task
from spiritlm_pl.data.corpus_store import UnitCorpus, common_layout
from spiritlm_pl.data.shuffling import groups_of, write_group
from spiritlm_pl.data.text_streams import described, hashes, open_sources
from spiritlm_pl.data.workplace import Workplace
from spiritlm_pl.runtime.interrupts import interrupts_held
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.storage.places import local_place, place
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

FRESH = ".new"  # folder of a build that is not complete; the blocks of before stay until it is


def build_blocks(
    units: list[str],
    text_tokenizer: str,
    out: str,
    text: list[str] | dict[str, list[str]] | None = None,
    text_field: str | dict[str, str] = "text",
    text_documents: str | dict[str, str] = "line",
    splits: tuple[str, ...] = ("train", "validation", "test"),
    transcripts: bool = True,
    text_validation: float = 0.01,
    expressive: bool | None = None,
    num_tasks: int | None = None,
    multiple_of: int | None = None,
    end_of_document: bool | None = None,
    begin_of_document: bool | None = None,
    codebook_delay: int | None = None,
    block_tokens: int = 4_194_304,
    seed: int = 0,
    num_jobs: int | None = 1,
    skipped: Skipped | None = None,
    changed: Skipped | None = None,
) -> dict[str, dict[str, int]]:
    """Build training blocks; `spiritlm_pl.cli.build_blocks` describes the arguments.

    Besides, `skipped` and `changed` are where to count what is left out of the text files, and what is kept otherwise
    than it stands there; None forgets it, but for the manifests.

    Returns:
        For each "split/stream" its numbers of blocks, documents, text tokens and speech tokens; nothing in a process
        that a launcher has started as another than the first.

    Raises:
        FileNotFoundError: if an input file or folder is missing.
        ValueError: if inputs do not fit together, or hold no documents.
    """
    if not 0 <= text_validation < 1:
        raise ValueError(f"text_validation must be in [0, 1), but is {text_validation} instead")
    if block_tokens < 1:
        raise ValueError(f"block_tokens must be at least 1, but is {block_tokens} instead")
    local_place(out, "out")
    tokenizer = TextTokenizer.load(text_tokenizer)
    corpora = {split: _corpora(units, split) for split in splits}
    layout = common_layout([corpus for members in corpora.values() for corpus in members])
    vocabulary = block_vocabulary(
        layout,
        tokenizer,
        text_tokenizer,
        units,
        expressive=expressive,
        num_tasks=num_tasks,
        multiple_of=multiple_of,
        end_of_document=end_of_document,
        begin_of_document=begin_of_document,
        codebook_delay=codebook_delay,
    )
    from spiritlm_pl.text_tokenizers.check import check_text_tokenizer  # imports transformers, which takes two seconds

    check_text_tokenizer(text_tokenizer, vocabulary)
    texts = open_sources(text, text_field, text_documents)
    tasks = plan_tasks(corpora, texts)
    settings = BuildSettings(
        text_tokenizer=text_tokenizer,
        vocabulary=vocabulary,
        splits=splits,
        transcripts=transcripts,
        text_validation=text_validation,
        seed=seed,
    )
    work = Workplace(Path(out) / FRESH, len(tasks))
    try:
        if not work.begin(identity_of(settings, tasks, tokenizer.fingerprint, block_tokens=block_tokens)):
            return {}
        records = work.shared(
            tasks, lambda one: one.record(work.records), partial(run_task, work.records, settings), num_jobs, "reading"
        )
        of_texts = {stream_folder("text", name): source for name, source in texts.items()}
        made = _streams(records)
        _check_made(work, made, records, of_texts)
        groups = [
            group
            for name, stream in made.items()
            for group in groups_of(name, [work.records / file for file in stream.runs], stream.tokens, block_tokens)
        ]
        write = partial(write_group, work.folder, work.records, vocabulary)
        entries = work.shared(groups, lambda group: group.record(work.records), write, num_jobs, "writing")
        work.leave()
    except BaseException as error:
        work.fail(error)
        raise
    if work.rank:
        return {}
    common = {"seed": seed, TEXT_FINGERPRINT: tokenizer.fingerprint}
    for name, stream in made.items():
        split, _, folder = name.partition("/")
        own = [entry for group, some in zip(groups, entries, strict=True) if group.stream == name for entry in some]
        facts = common | _sources(corpora[split], folder, stream, of_texts.get(folder), records)
        write_manifest(work.folder / name, folder.partition("-")[0], vocabulary, own, facts)
    _put_in_place(work, Path(out), splits, units)
    for told, key in ((skipped, "skipped"), (changed, "changed")):
        if told is not None:
            for folder in of_texts:
                told.merge(_counted(records, folder, key))
    return {name: _summary(Path(out) / name) for name in made}


def _check_made(
    work: Workplace, made: dict[str, "_Stream"], records: Sequence[dict[str, Any]], of_texts: dict[str, TextSource]
) -> None:
    """Raise a ValueError if a source of texts has no documents, or nothing has."""
    for folder, source in of_texts.items():
        if not any(record["texts"].get(folder) for record in records):
            work.give_up()
            source.raise_empty(_counted(records, folder, "skipped"))
    if not made:
        work.give_up()
        raise ValueError("units and text must hold documents of these splits, but hold none")


@dataclass
class _Stream:
    """What the tasks have made of a stream."""

    runs: list[str]
    tokens: int = 0
    seconds: float = 0.0


def _streams(records: Sequence[dict[str, Any]]) -> dict[str, _Stream]:
    """Return the streams that have documents, in the order of splits and of names."""
    found: dict[str, _Stream] = {}
    for record in records:
        for run in record["runs"]:
            stream = found.setdefault(run["stream"], _Stream([]))
            stream.runs.append(run["file"])
            stream.tokens += run["tokens"]
    for record in records:
        for name, seconds in record["seconds"].items():
            found[name].seconds += seconds
    return dict(sorted(found.items(), key=lambda pair: _place(pair[0])))


def _place(name: str) -> tuple[int, str, int, str]:
    """Return the place of a stream among others: by split, then texts before speech and aligned."""
    split, _, folder = name.partition("/")
    orders = [list(SPLITS), [*STREAM_KINDS]]
    split_place, kind_place = (
        order.index(value) if value in order else len(order)
        for order, value in zip(orders, (split, folder.partition("-")[0]), strict=True)
    )
    return split_place, split, kind_place, folder


def _sources(
    corpora: Sequence[UnitCorpus],
    folder: str,
    stream: _Stream,
    source: TextSource | None,
    records: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return what a manifest says of the inputs of a stream."""
    found: dict[str, Any] = {"text": {} if source is None else hashes(source.files)}
    if source is not None:
        left_out, changed = (_counted(records, folder, key) for key in ("skipped", "changed"))
        found["text_options"] = described(source, left_out, changed)
    if folder in STREAM_KINDS:  # not a source of texts with a name
        found["units"] = {str(corpus.folder): corpus.manifest_sha256 for corpus in corpora}
    if folder != "text" and source is None:
        found["seconds"] = stream.seconds
    return found


def _counted(records: Sequence[dict[str, Any]], folder: str, key: str) -> Skipped:
    """Add up what the tasks have counted of a source of texts: what is "skipped", or "changed"."""
    found = Skipped()
    for record in records:
        if folder in record[key]:
            found.merge(Skipped(*record[key][folder]))
    return found


def _put_in_place(work: Workplace, out: Path, splits: Sequence[str], units: Sequence[str]) -> None:
    """Replace the streams of all splits by those that were built, and remove those that were not built again."""
    work.finish()  # from here on, what is left after a kill is not taken for work to go on with
    with interrupts_held():  # so that all splits have one vocabulary
        for split in splits:
            for name in {*_stream_names(work.folder / split), *_stream_names(out / split)}:
                fresh, folder = work.folder / split / name, out / split / name
                if folder.exists():
                    folder.rename(work.folder / f"{split}-{name}.old")
                if fresh.exists():
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    fresh.rename(folder)
        write_note(out, "build_blocks", units)
    shutil.rmtree(work.folder)


def _stream_names(folder: Path) -> list[str]:
    """Return the names of the streams that a split has."""
    named = (path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    return sorted(name for name in named if name.partition("-")[0] in STREAM_KINDS)


def _corpora(units: Sequence[str], split: str) -> list[UnitCorpus]:
    """Open the corpora that have this split; each must have a training split."""
    return [
        UnitCorpus(folder, split)
        for folder in map(place, units)
        if split == "train" or (folder / split / MANIFEST).is_file()
    ]


def _summary(folder: Path) -> dict[str, int]:
    manifest = read_manifest(folder)
    return {
        "blocks": len(manifest.blocks),
        "documents": manifest.num_documents,
        "text_tokens": sum(block.text_tokens for block in manifest.blocks),
        "speech_tokens": sum(block.speech_tokens for block in manifest.blocks),
    }
