"""Building of blocks of conversations, OUT/SPLIT/conversation, of prepared records and of tasks over tokenised corpora.

Conversations are rendered one by one, and shuffled over all blocks by a hash of their ids and the seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from spiritlm_pl.conversations.prepared import RECORDS_FILE, form_of, read_records
from spiritlm_pl.conversations.record import Conversation, Part
from spiritlm_pl.conversations.rendering import Rendered, Renderer
from spiritlm_pl.conversations.tasks import TASKS
from spiritlm_pl.conversations.template import ConversationTemplate
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.data.block_vocabulary import block_vocabulary
from spiritlm_pl.data.blocks import (
    CONVERSATION,
    MANIFEST,
    TEXT_FINGERPRINT,
    Manifest,
    read_manifest,
    replace_streams,
    streams_of,
    write_manifest,
)
from spiritlm_pl.data.conversations import Conversations, write_conversations
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.documents import Integers
from spiritlm_pl.data.rng import derive, derive_many, name_key
from spiritlm_pl.data.steps import in_steps
from spiritlm_pl.data.unit_corpus import UnitCorpus, check_named_once, common_layout, tokenizer_of, with_split
from spiritlm_pl.data.unit_index import UnitIndex
from spiritlm_pl.data.utterances import speech_of
from spiritlm_pl.runtime.interrupts import interrupts_held
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.runtime.model_description import TEMPLATES
from spiritlm_pl.streams import differences
from spiritlm_pl.text_tokenizers.check import check_text_tokenizer
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

TABLE = 4096  # conversations that become a table together


class _Speech:
    """Speech of parts: tokens as they are given, or those of an utterance of one of the corpora."""

    def __init__(self, corpora: Sequence[UnitCorpus], vocabulary: Vocabulary) -> None:
        self.corpora, self.vocabulary = corpora, vocabulary
        self.seconds, self.timed = 0.0, True  # of what was rendered; whether all speech has a length
        self._ids = {name: token for token, name in vocabulary.names().items()}
        self.current: tuple[UnitUtterance, UnitCorpus] | None = None  # of a task, which needs no search
        self._indices: list[UnitIndex] | None = None

    def __call__(self, part: Part) -> list[int]:
        if part.tokens is not None:
            self.timed = False
            return self._given(part.tokens)
        utterance, corpus = self._found(part.utterance or "")
        self.seconds += utterance.duration
        ids = speech_of(utterance, corpus.layout, self.vocabulary).ids(self.vocabulary)
        if not len(ids):
            raise ValueError("utterance without units")
        found: list[int] = in_steps(ids, self.vocabulary).tolist()
        return found

    def _given(self, tokens: str) -> list[int]:
        """Return the ids of a string such as `[Hu3][Hu7]`, with runs of equal units as one."""
        if self.vocabulary.layout.delays:
            raise ValueError("speech tokens in place of audio, which codebooks with delays need")
        found: list[int] = []
        for name in tokens.replace("]", "] ").split():
            token = self._ids.get(name)
            stream = None if token is None else self.vocabulary.stream_of(token)
            if token is None or stream is None:
                raise ValueError("speech tokens that the vocabulary lacks")
            if not (stream.deduplicated and found and found[-1] == token):
                found.append(token)
        return found

    def _found(self, name: str) -> tuple[UnitUtterance, UnitCorpus]:
        if self.current is not None and self.current[0].id == name:
            return self.current
        if self._indices is None:
            self._indices = [UnitIndex(corpus) for corpus in self.corpora]
        holders = [(index, corpus) for index, corpus in zip(self._indices, self.corpora, strict=True) if name in index]
        if len(holders) != 1:
            raise ValueError(f"utterance that is in {'several' if holders else 'none'} of the units")
        index, corpus = holders[0]
        return index[name], corpus


def build_conversations(
    out: str,
    text_tokenizer: str,
    units: Sequence[str],
    records: Sequence[str],
    tasks: Sequence[str],
    templates: Mapping[str, ConversationTemplate],
    *,
    splits: Sequence[str],
    block_tokens: int,
    seed: int,
    skipped: Skipped,
    vocabulary_options: Mapping[str, Any],
) -> dict[str, Manifest]:
    """Build blocks of conversations; `spiritlm_pl.cli.build_conversations` describes the arguments.

    Args:
        out: folder of the blocks.
        text_tokenizer: file or folder of the text tokenizer.
        units: folders of tokenised corpora.
        records: folders of prepared conversations.
        tasks: names of the tasks over the corpora.
        templates: form of each task, and of the records by `form_of` their folders.
        splits: splits to build.
        block_tokens: approximate number of tokens in one block.
        seed: seed of the order of the conversations.
        skipped: where to count what is left out.
        vocabulary_options: further arguments of `block_vocabulary`.

    Returns:
        The manifest of each split that has conversations.

    Raises:
        FileNotFoundError: if an input is missing.
        ValueError: if inputs do not fit together, or there is nothing to learn.
    """
    if not records and not tasks:
        raise ValueError("records or tasks must say where conversations come from, but both are empty instead")
    check_named_once(units, "units")
    check_named_once(records, "records")
    if len({*tasks}) < len(tasks):
        raise ValueError(f"tasks must name each once, but are {', '.join(tasks)}")
    if unknown := [task for task in tasks if task not in TASKS]:
        raise ValueError(f"tasks must be among {', '.join(TASKS)}, but one is {unknown[0]!r}")
    if tasks and not units:
        raise ValueError(f"units must name the corpora of the tasks {', '.join(tasks)}, but are empty instead")
    for folder in records:
        if not any((Path(folder) / RECORDS_FILE.format(split)).is_file() for split in splits):
            raise FileNotFoundError(
                f"records must be folders of `spiritlm prepare conversations`, but {folder} has no "
                f"{RECORDS_FILE.format(splits[0])}"
            )
    tokenizer = TextTokenizer.load(text_tokenizer)
    corpora = {split: with_split(units, split) for split in splits}
    layout = common_layout([corpus for members in corpora.values() for corpus in members]) if units else None
    vocabulary = block_vocabulary(layout, tokenizer, text_tokenizer, [*units], **vocabulary_options)
    check_text_tokenizer(text_tokenizer, vocabulary, text=tokenizer)
    _check_beside(Path(out), vocabulary)
    made: dict[str, Manifest] = {}
    sources = {
        "seed": seed,
        TEXT_FINGERPRINT: tokenizer.fingerprint,
        **tokenizer_of([corpus for members in corpora.values() for corpus in members]),
        TEMPLATES: {name: template.to_dict() for name, template in templates.items()},
    }
    with temporary_folder(Path(out) / CONVERSATION) as fresh:
        for split in splits:
            speech = _Speech(corpora[split], vocabulary)
            renderers = {
                name: Renderer(template, tokenizer, vocabulary, speech) for name, template in templates.items()
            }
            table = _table(_rendered(split, speech, renderers, records, tasks, skipped))
            if table is None:
                continue
            target = fresh / split / CONVERSATION
            target.mkdir(parents=True)
            entries = [
                write_conversations(target, number, table.take(places), vocabulary)
                for number, places in enumerate(_groups(table, block_tokens, seed))
            ]
            counts = {"seconds": speech.seconds} if speech.seconds and speech.timed else {}
            made[split] = write_manifest(target, CONVERSATION, vocabulary, entries, {**sources, **counts})
        if not made:
            raise ValueError(
                "conversations must have parts to learn, but none is left: "
                + ("; ".join(skipped.lines()) or "no input")
            )
        with interrupts_held():
            replace_streams(Path(out), fresh, splits, CONVERSATION)
            write_note(out, "build_conversations", [*units, *records])
    return made


def _rendered(
    split: str,
    speech: _Speech,
    renderers: Mapping[str, Renderer],
    records: Sequence[str],
    tasks: Sequence[str],
    skipped: Skipped,
) -> Iterator[tuple[str, Rendered]]:
    """Yield id and rendering of the conversations of a split."""
    for number, folder in enumerate(records):
        path, renderer = Path(folder) / RECORDS_FILE.format(split), renderers[form_of(folder)]
        for place, conversation in read_records(path, skipped):
            name = f"records {number}/{conversation.id}"  # by which the order does not depend on where folders lie
            yield from _one(renderer, speech, conversation, name, place, skipped)
    console = Console(stderr=True)
    for number, corpus in enumerate(speech.corpora if tasks else ()):
        for utterance in track(
            corpus,
            f"{split} of {corpus.folder.parent.name}",
            total=len(corpus),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            speech.current = utterance, corpus
            for task in tasks:
                place = f"{corpus.folder}: {utterance.id}"
                try:
                    conversation = TASKS[task](utterance)
                except ValueError:
                    skipped.add(f"utterance without what {task} needs", place)
                    continue
                name = f"units {number}/{conversation.id}"
                yield from _one(renderers[task], speech, conversation, name, place, skipped)


def _one(
    renderer: Renderer, speech: _Speech, conversation: Conversation, name: str, place: str, skipped: Skipped
) -> Iterator[tuple[str, Rendered]]:
    before = speech.seconds, speech.timed
    try:
        yield name, renderer(conversation)
    except ValueError as error:
        speech.seconds, speech.timed = before
        skipped.add(str(error), place)


def _table(found: Iterator[tuple[str, Rendered]]) -> Conversations | None:
    """Gather rendered conversations in one table; None if there are none."""
    tables: list[Conversations] = []
    keys: list[int] = []
    sequences: list[tuple[Integers, Any, Integers]] = []

    def close() -> None:
        if sequences:
            tables.append(Conversations.of(sequences, keys))
            sequences.clear()
            keys.clear()

    for name, one in found:
        keys.append(name_key(name))
        sequences.append((one.tokens, one.learnt, one.turns))
        if len(sequences) == TABLE:
            close()
    close()
    return Conversations.concatenate(tables) if tables else None


def _groups(table: Conversations, block_tokens: int, seed: int) -> Iterator[Integers]:
    """Yield the conversations of each block, shuffled over all blocks."""
    order = np.argsort(derive_many(derive(0, seed), table.keys), kind="stable")
    ends = np.cumsum(np.diff(table.starts)[order])
    numbers = (ends - 1) // block_tokens
    yield from np.split(order, np.flatnonzero(np.diff(numbers)) + 1)


def _check_beside(out: Path, vocabulary: Vocabulary) -> None:
    """Refuse a folder with blocks of another vocabulary."""
    for path in sorted(out.glob(f"*/*/{MANIFEST}")):
        if path.parent.name == CONVERSATION or path.parent.name not in streams_of(path.parent.parent):
            continue
        theirs = read_manifest(path.parent).vocabulary
        if theirs != vocabulary:
            own, other = differences(vocabulary.to_dict(), theirs.to_dict())
            raise ValueError(
                f"out must hold blocks of the same vocabulary, with {own}, but {path.parent} is of {other}"
            )
