"""`spiritlm train-text-tokenizer`: a SentencePiece model from text files and transcripts."""

from collections.abc import Iterator
from pathlib import Path

from spiritlm_pl.data.build_blocks import file_texts
from spiritlm_pl.data.corpus_store import UnitCorpus
from spiritlm_pl.data.utterances import spoken_text
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer


def train(
    out: str,
    corpora: list[str] | None = None,
    units: list[str] | None = None,
    text: list[str] | None = None,
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
        text: text files with one sentence or paragraph per line.
        vocab_size: number of pieces; if left out, as many as the text gives, at most 1,000.
    """
    lines = [
        *_corpus_texts(corpora or []),
        *_unit_texts(units or []),
        *(line for name in text or [] for _, line in file_texts(Path(name))),
    ]
    tokenizer = train_text_tokenizer(lines, vocab_size)
    tokenizer.save(out)
    words = sum(len(line.split()) for line in lines)
    pieces = sum(len(tokenizer.encode(line)) for line in lines)
    print(
        f"{out}: {tokenizer.vocab_size:,} pieces from {len(lines):,} texts, "
        f"{words:,} words, {pieces / max(words, 1):.2f} pieces a word"
    )


def _corpus_texts(folders: list[str]) -> Iterator[str]:
    if not folders:
        return
    from spiritlm_pl.corpora.manifest import load_cuts, word_alignment

    for folder in folders:
        for cut in load_cuts(folder, "train"):
            yield " ".join(word.text for word in word_alignment(cut)) or cut.supervisions[0].text or ""


def _unit_texts(folders: list[str]) -> Iterator[str]:
    for folder in folders:
        for utterance in UnitCorpus(folder, "train"):
            yield spoken_text(utterance)
