"""`spiritlm train-text-tokenizer`: a SentencePiece model from text files and transcripts."""

from collections.abc import Iterator

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import open_source
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.utterances import spoken_text
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer


@writes("out")
def train(
    out: str,
    corpora: list[str] | None = None,
    units: list[str] | None = None,
    text: list[str] | None = None,
    text_field: str = "text",
    vocab_size: int | None = None,
) -> None:
    """Train a SentencePiece tokenizer (BPE with byte fallback) on training transcripts and text files.

    Examples:
        spiritlm train-text-tokenizer data/text_tokenizer --corpora '[data/corpora/mine]'
        spiritlm train-text-tokenizer data/text_tokenizer --text '[texts.txt]' --vocab-size 8000

    Args:
        out: folder to write tokenizer.model to.
        corpora: corpus folders, as written by spiritlm prepare.
        units: tokenised corpora, as written by spiritlm predict.
        text: files, folders and patterns of text, as for build-blocks.
        text_field: field or column of the text in JSON lines, Parquet and Arrow files.
        vocab_size: number of pieces; if left out, as many as the text gives, at most 1,000.
    """
    if not (corpora or units or text):
        raise ValueError("corpora, units or text must name what to train on, but all of them are missing")
    skipped = Skipped()
    lines = [*_corpus_texts(corpora or []), *_unit_texts(units or []), *_file_texts(text or [], text_field, skipped)]
    tokenizer = train_text_tokenizer(lines, vocab_size)
    tokenizer.save(out)
    words, characters = sum(len(line.split()) for line in lines), sum(map(len, lines))
    pieces = max(sum(len(tokenizer.encode(line)) for line in lines), 1)
    print(
        f"{out}: {tokenizer.vocab_size:,} pieces from {len(lines):,} texts, {words:,} words, "
        f"{pieces / max(words, 1):.2f} pieces a word, {characters / pieces:.2f} characters a piece"
    )
    for line in skipped.lines():
        print(f"Left out: {line}")


def _file_texts(patterns: list[str], field: str, skipped: Skipped) -> Iterator[str]:
    if patterns:
        for _, text in open_source(patterns, TextOptions(field=field)).all_texts(skipped):
            yield from text.splitlines()


def _corpus_texts(folders: list[str]) -> Iterator[str]:
    if not folders:
        return
    from spiritlm_pl.corpora.manifest import iterate_cuts, word_alignment

    for folder in folders:
        for cut in iterate_cuts(folder, "train"):
            yield " ".join(word.text for word in word_alignment(cut)) or cut.supervisions[0].text or ""


def _unit_texts(folders: list[str]) -> Iterator[str]:
    for folder in folders:
        for utterance in UnitCorpus(folder, "train"):
            yield spoken_text(utterance)
