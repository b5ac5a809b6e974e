"""`spiritlm build-blocks`: tokenised corpora and text to training blocks."""

from pathlib import Path

from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.data.blocks import read_manifest
from spiritlm_pl.data.build_blocks import build_blocks as build
from spiritlm_pl.runtime.found import held_in

SPLITS = ("train", "validation", "test")
SHOWN = 3  # names in a message; further ones are counted


def build_blocks(
    units: list[str],
    text_tokenizer: str,
    out: str,
    text: list[str] | dict[str, list[str]] | None = None,
    text_field: str | dict[str, str] = "text",
    text_documents: str | dict[str, str] = "line",
    splits: tuple[str, ...] = SPLITS,
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
    num_jobs: int | None = None,
) -> None:
    """Turn tokenised corpora and text into training blocks, OUT/SPLIT/{text,speech,aligned}.

    All utterances go into the speech stream, those with word times into the aligned stream, text files and
    transcripts into the text stream. Sources of text with names of their own get a stream each, text-NAME, which a
    training can weigh by itself. Documents that cannot be read are left out, counted and reported. Blocks that were
    there before are replaced once the new ones are complete.

    Examples:
        spiritlm build-blocks '[data/units/mine]' data/base_lm/llama-2-7b data/blocks --text '[texts.txt]'
        spiritlm build-blocks '[data/units/mine]' lm data/blocks --text '{web: [web/*.jsonl.zst], books: [books]}'
        spiritlm build-blocks '[data/units/a, data/units/b]' data/text_tokenizer data/blocks --end-of-document false

    Args:
        units: folders of tokenised corpora, or their addresses in object storage, all of one speech tokenizer; several
            are written as '[a, b]', here and in the other options.
        text_tokenizer: SentencePiece .model, or a folder with one or with a transformers tokenizer, which is read as
            AutoTokenizer reads it; one whose ids an export could not keep is refused. The folder of a language model
            with speech tokens (of extend-vocab, import-release or a training) gives their ids, too.
        out: folder to write the blocks to.
        text: files, folders and patterns of text for the text stream; or several such lists by names, each for a stream
            of its own. Plain text, JSON lines (.jsonl, .ndjson, .json), both also compressed (.gz, .bz2, .xz, .zst),
            Parquet, Arrow, and folders of Dataset.save_to_disk. Of a folder, all files with such endings are read. All
            may be addresses in object storage, such as s3://bucket/web/*.jsonl.zst.
        text_field: field or column of the text in JSON lines, Parquet and Arrow files; for all sources, or by name.
        text_documents: what a document of a plain text file is: "line"; "blank_line", the lines up to the next blank
            one; or "file"; for all sources, or by name.
        splits: splits to build; a corpus that has no validation or test split is left out of that split.
        transcripts: whether the transcripts of the corpora also go into the text stream.
        text_validation: share of the documents of text files that goes to validation.
        expressive: false drops pitch and style codes of shards that have them; left out, as the language model, or else
            all of them are kept.
        num_tasks: number of task markers, 2 for ASR and TTS pairs; left out, as the language model, or else 0.
        multiple_of: the number of embedding rows is padded to a multiple of this; left out, as the language model, or
            else 256.
        end_of_document: true puts the text tokenizer's end token after every document, so that the model learns to
            stop; false never does, as in the paper. Left out, true where the tokenizer has one, but false for a
            published model.
        begin_of_document: true opens every document, and every row's rest of one, with the token that the base model
            begins texts with, such as `<s>`. Left out, as the language model, or else false.
        codebook_delay: number of frames by which each codebook of a neural codec lags behind the one before it, within
            each stretch of speech. Left out, as the language model, or else 0, which keeps all codes of a frame
            together.
        block_tokens: approximate number of tokens in one block.
        seed: seed of the shuffle of the documents.
        num_jobs: number of processes; one per core if left out. Processes that torchrun or SLURM starts share the work.

    Raises:
        ValueError: if an argument is wrong, or `out` holds something else than blocks.
        FileNotFoundError: if units, the text tokenizer or texts are missing.
    """
    _check_out(Path(out), splits)
    skipped, changed = Skipped(), Skipped()
    summary = build(
        units,
        text_tokenizer,
        out,
        text,
        text_field=text_field,
        text_documents=text_documents,
        splits=splits,
        transcripts=transcripts,
        text_validation=text_validation,
        expressive=expressive,
        num_tasks=num_tasks,
        multiple_of=multiple_of,
        end_of_document=end_of_document,
        begin_of_document=begin_of_document,
        codebook_delay=codebook_delay,
        block_tokens=block_tokens,
        seed=seed,
        num_jobs=num_jobs,
        skipped=skipped,
        changed=changed,
    )
    if not summary:
        return  # the first process tells what was built
    ending = read_manifest(Path(out) / next(iter(summary))).vocabulary.end_of_document
    if ending is None:
        print("Documents have no end token: a model of these blocks does not stop by itself (--end-of-document).")
    else:
        print(f"Every document ends with token {ending} of the text tokenizer (--end-of-document).")
    print(f"{'':<20}{'blocks':>8}{'documents':>12}{'text tokens':>14}{'speech tokens':>15}")
    for name, row in summary.items():
        print(
            f"{name:<20}{row['blocks']:>8,}{row['documents']:>12,}{row['text_tokens']:>14,}{row['speech_tokens']:>15,}"
        )
    for told, found in (("Left out", skipped), ("Changed", changed)):
        for line in found.lines():
            print(f"{told}: {line}")


def _check_out(out: Path, splits: tuple[str, ...]) -> None:
    """Raise a ValueError if a folder holds something, but no blocks; hidden files do not count."""
    held = held_in(out)
    if held and not {*splits, *SPLITS}.intersection(held):
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        raise ValueError(f"out must be empty or hold blocks, but {out} holds {', '.join(held[:SHOWN])}{more}")
