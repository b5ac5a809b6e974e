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

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from spiritlm_pl.corpora.layout import SPLITS
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import TextSource
from spiritlm_pl.data.block_vocabulary import block_vocabulary
from spiritlm_pl.data.blocks import TEXT_FINGERPRINT, Manifest, replace_streams, write_manifest
from spiritlm_pl.data.build_plan import plan_build
from spiritlm_pl.data.build_records import built_streams, is_whole
from spiritlm_pl.data.build_tasks import BuildSettings, TaskReader
from spiritlm_pl.data.shuffling import GroupWriter, groups_of
from spiritlm_pl.data.text_streams import open_sources
from spiritlm_pl.data.unit_corpus import UnitCorpus, check_named_once, common_layout, tokenizer_of, with_split
from spiritlm_pl.data.workplace import ALL_ARE_WORTH_IT, Workplace
from spiritlm_pl.runtime.interrupts import interrupts_held
from spiritlm_pl.runtime.lineage import write_note
from spiritlm_pl.runtime.parallel import in_background, num_workers, start_server
from spiritlm_pl.storage.places import local_place
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, modules_of

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
    corpora = _corpora(units, splits)
    if num_workers(num_jobs, ALL_ARE_WORTH_IT) > 1:
        # Workers find what they need: pyarrow imports its data sets when it reads Parquet, and pandas, if it is there,
        # when it converts something.
        start_server(__name__, "pyarrow.dataset", "pyarrow.pandas_compat", "pandas", *modules_of(text_tokenizer))
    tokenizer = TextTokenizer.load(text_tokenizer)
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

    check_text_tokenizer(text_tokenizer, vocabulary, text=tokenizer)
    texts = open_sources(text, text_field, text_documents)
    settings = BuildSettings(
        text_tokenizer=text_tokenizer,
        vocabulary=vocabulary,
        splits=splits,
        transcripts=transcripts,
        text_validation=text_validation,
        seed=seed,
    )
    plan = plan_build(settings, corpora, texts, tokenizer.fingerprint, block_tokens=block_tokens)
    work = Workplace(Path(out) / FRESH)
    with work.claimed() as check:
        work.begin(plan.identity, partial(is_whole, work.folder))
        hashing = in_background(partial(_hashes, {} if work.rank else texts))
        read = TaskReader(work.records, settings, tokenizer)
        records = work.shared(
            plan.tasks, lambda one: one.record(work.records), read, num_jobs, "reading", lambda one: one.size
        )
        with work.given_up():
            streams = built_streams(records, corpora, texts, hashing.result(), skipped, changed)
        groups = [
            group
            for stream in streams
            for group in groups_of(
                stream.name, [work.records / file for file in stream.runs], stream.tokens, block_tokens
            )
        ]
        write = GroupWriter(work.folder, work.records, vocabulary)
        entries = work.shared(groups, lambda group: group.record(work.records), write, num_jobs, "writing")
        work.leave()
        if work.rank:
            return {}
        made_by = tokenizer_of([corpus for members in corpora.values() for corpus in members])
        common = {"seed": seed, TEXT_FINGERPRINT: tokenizer.fingerprint, **made_by}
        made = {}
        for stream in streams:
            own = [some for group, some in zip(groups, entries, strict=True) if group.stream == stream.name]
            made[stream.name] = write_manifest(
                work.folder / stream.name, stream.kind, vocabulary, chain.from_iterable(own), common | stream.sources
            )
        check()
        work.finish(num_jobs)  # from here on, what is left after a kill is not taken for work to go on with
        with interrupts_held():  # so that all splits have one vocabulary
            replace_streams(Path(out), work.folder, splits)
            write_note(out, "build_blocks", units)
        work.remove()
    return {name: _summary(manifest) for name, manifest in made.items()}


def _hashes(texts: Mapping[str | None, TextSource]) -> dict[str | None, dict[str, str]]:
    return {name: source.hashes() for name, source in texts.items()}


def _corpora(units: Sequence[str], splits: Sequence[str]) -> dict[str, list[UnitCorpus]]:
    """Open the corpora that have each split; each must have a training split where that is asked for.

    Raises:
        FileNotFoundError: if a folder has no split of a tokenised corpus.
        ValueError: if a corpus is named twice, or no corpus has a split of an unusual name.
    """
    check_named_once(units, "units")
    found = {split: with_split(units, split) for split in splits}
    lacking = next((split for split, members in found.items() if not members and split not in SPLITS), None)
    if units and lacking is not None:
        hint = ": a list is written '[a, b]'" if "," in lacking else ""
        raise ValueError(f"splits must be of the corpora, but none has {lacking!r}{hint}")
    return found


def _summary(manifest: Manifest) -> dict[str, int]:
    return {
        "blocks": len(manifest.blocks),
        "documents": manifest.num_documents,
        "text_tokens": sum(block.text_tokens for block in manifest.blocks),
        "speech_tokens": sum(block.speech_tokens for block in manifest.blocks),
    }
