"""A command: `spiritlm count-words CORPUS`."""

from spiritlm_pl.corpora.manifest import load_cuts


def count_words(corpus: str, split: str = "train") -> None:
    """Count the words of a corpus.

    Args:
        corpus: folder of a prepared corpus.
        split: train, validation or test.
    """
    words = [word for cut in load_cuts(corpus, split) for word in (cut.supervisions[0].text or "").split()]
    print(f"{corpus}, {split}: {len(words)} words, {len(set(words))} different ones")
